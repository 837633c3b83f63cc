"""What must hold whatever went wrong: each promise as a function that returns, in words, what breaks it.

The numbers are those of the design: (1) every update receipted as received is applied or rejected exactly
once; (2) no update is applied twice; (3) the model is a deterministic function of the ledger; (4) within a
run, versions only grow; (5) an agent that does nothing never delays the others; (6) memory and disk are
bounded; (7) a federation with one live agent keeps moving. (5) and (7) show as a run that does not end.
"""

from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs.errors import StateError
from antiphon.coordinator.ledger.replay import replay
from antiphon.simulation.evidence import LedgerView, read_ledger, read_outbox
from antiphon.simulation.ordeal import Ordeal
from antiphon.simulation.parties import AGENT, FEDERATION
from antiphon.simulation.tap import Name, Story

DISK = {"coordinator": 16 << 20, "agent": 1 << 20}
"""Bytes on a disk: some hundred small versions with everything that went into them; a few updates."""

RETAINED = 2 << 20
"""Bytes that the broker retains: slots of small models."""


def judge(ordeal: Ordeal) -> list[str]:
    """Return everything that is broken."""
    ledger = read_ledger(ordeal.parties.coordinator.disk, FEDERATION)
    return [
        *ordeal.tap.contradictions,
        *ordeal.overdue,
        *ordeal.vanished,
        *ordeal.unbalanced,
        *ended_by_errors(ordeal),
        *kept_words(ordeal, ledger),
        *applied_once(ledger),
        *same_versions(ordeal, ledger),
        *replayed(ordeal),
        *nothing_left(ordeal),
        *bounded(ordeal),
    ]


def ended_by_errors(ordeal: Ordeal) -> list[str]:
    """Nothing that a peer, the broker, a crash or a full disk does ends a service."""
    errors = [error for host in ordeal.parties.hosts.values() for error in host.errors]
    return list(dict.fromkeys(errors))


def kept_words(ordeal: Ordeal, ledger: LedgerView) -> list[str]:
    """(1) What was received has one outcome, and every outcome that was said is the ledger's."""
    stories = [(name, story) for name, story in ordeal.tap.updates.items() if name.run == ledger.run]
    sentences = [_broken_word(name, story, ledger) for name, story in stories]
    return [sentence for sentence in sentences if sentence]


def _broken_word(name: Name, story: Story, ledger: LedgerView) -> str:
    kept, said = ledger.outcomes.get((name.agent, name.id)), story.final
    if story.received is not None and kept is None:
        where = "still waits" if (name.agent, name.id) in ledger.waiting else "is not in the ledger"
        return f"{name} was received at {story.received:.3f} s and {where} at the end"
    if said is None or said.type == "settled":
        return ""
    if kept is None:
        return f"{name} was {said.type}, which is not in the ledger"
    if (said.type, said.version, said.reason) != (kept.type, kept.version, kept.reason):
        return f"{name} was {said.type} {said.version} {said.reason}, in the ledger it is {kept}"
    return ""


def applied_once(ledger: LedgerView) -> list[str]:
    """(2) An update is in one version at most, the one that its outcome names."""
    found: list[str] = []
    for (agent, id), versions in ledger.places.items():
        kept = ledger.outcomes.get((agent, id))
        if len(versions) != 1 or kept is None or (kept.type, kept.version) != ("applied", versions[0]):
            found.append(f"update {id.sequence} of {agent} is in versions {versions}, its outcome is {kept}")
    return found


def same_versions(ordeal: Ordeal, ledger: LedgerView) -> list[str]:
    """(4) The versions that were announced are those of the ledger, the newest too."""
    found = [
        f"version {number} was announced with another digest than the ledger's"
        for (run, number), digest in ordeal.tap.versions.items()
        if run == ledger.run and ledger.versions.get(number) != digest[:16]
    ]
    runs = {run for run, _ in ordeal.tap.versions}
    if len(runs) > 1:
        found.append(f"{len(runs)} runs were announced instead of one")
    newest = ordeal.tap.newest
    if newest is None or newest.number != max(ledger.versions, default=-1):
        found.append("the newest version of the ledger was never announced")
    return found


def replayed(ordeal: Ordeal) -> list[str]:
    """(3) The ledger, played again, gives the announced model bit for bit."""
    newest = ordeal.tap.newest
    try:
        again = replay(FEDERATION / "state", ordeal.parties.coordinator.disk)
    except StateError as error:
        return [f"the ledger cannot be replayed: {error}"]
    if newest is None or (again.last, again.digest) != (newest.number, newest.digest):
        return [f"replay ends at version {again.last} ({again.digest.hex()[:16]}), not at the announced one"]
    return []


def nothing_left(ordeal: Ordeal) -> list[str]:
    """The run is over: nothing waits in the ledger, and no agent that could leave keeps an update."""
    if ordeal.parties.coordinator.up:
        return []
    found: list[str] = []
    for host in ordeal.parties.agents:
        kept = read_outbox(host.disk, AGENT)
        if kept and host.name not in ordeal.scenario.silent:
            states = ", ".join(f"{id.sequence} {state}" for id, (state, _) in kept.items())
            found.append(f"{host.name} keeps updates after the end of the run: {states}")
    return found


def bounded(ordeal: Ordeal) -> list[str]:
    """(6) Disks and the broker hold no more than configured."""
    found = [
        f"{name} had {most} bytes on its disk"
        for name, most in ordeal.peaks.disk.items()
        if most > DISK["coordinator" if name == COORDINATOR else "agent"]
    ]
    if ordeal.peaks.retained > RETAINED:
        found.append(f"the broker retained {ordeal.peaks.retained} bytes")
    return found
