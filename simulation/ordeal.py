"""One federation in bad weather: its storm, and the quiet in which everything must settle.

The services are the real ones. While the storm lasts whatever `antiphon.simulation.scenario` drew happens;
then every fault ends, the coordinator is started anew with an end condition a few versions away, and within
a bounded virtual time the run must be over and every agent gone.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field

from antiphon.agents.settings import AgentSettings
from antiphon.broker_config.connection import Limits as LineLimits
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs.messages import UpdateId
from antiphon.coordinator.keys import meet
from antiphon.coordinator.settings import CoordinatorSettings, End, LedgerSettings, Limits
from antiphon.simulation import conservation
from antiphon.simulation.evidence import read_ledger, read_outbox
from antiphon.simulation.faults import NONE
from antiphon.simulation.memory_broker import MemoryBroker
from antiphon.simulation.parties import AGENT, FEDERATION, Host, Parties, Role
from antiphon.simulation.pipe import Line
from antiphon.simulation.scenario import STORM, Accident, Scenario
from antiphon.simulation.tap import Tap
from antiphon.simulation.walker import Walker, first_params

KEEPALIVE = 20
"""Seconds; shorter than in earnest, so that half-open lines are noticed within the storm."""

MORE = 3
"""Versions that must come after the storm before the run is over."""

PATIENCE = 3600.0
"""Virtual seconds after the storm within which the run must be over: three versions, each at most the slowest
live agent's training and a deadline (10 min) late."""

LINGER = 90.0
"""Virtual seconds for which the coordinator answers after the end: longer than anybody's line stays down."""

LEAVING = 300.0
"""Virtual seconds after the end of the run within which every agent must have left."""

GOODBYE = 60.0
"""Virtual seconds in which a service that was asked to stop must stop."""

LOOK = 15.0
"""Virtual seconds between two looks at what is bounded."""

SAVED = 3
"""Looks for which a broker remembers what it retained, as one that saves it now and then."""

SOON = 10.0
"""Virtual seconds after which a party dies that did not come to the step where it was to die."""

GRACE = 60.0
"""Virtual seconds for which the storm goes on when somebody has yet to die."""

RETRY = 1.0
"""Virtual seconds after which a death that found its party down is tried again."""


@dataclass(slots=True)
class Peaks:
    """The most that was seen of what must be bounded.

    Attributes:
        disk: Bytes on each host's disk, by name.
        retained: Bytes that the broker retains.
    """

    disk: dict[str, int] = field(default_factory=dict[str, int])
    retained: int = 0


class Ordeal:
    """One federation; `run` it once, in a virtual loop.

    Attributes:
        scenario, parties, tap, peaks: For whoever judges.
        overdue: What did not happen in time, in sentences.
        vanished: Updates that left their agent's disk without an outcome, in sentences.
        unbalanced: What was trained and is not where it should be, in sentences.
        calm_at: Virtual seconds at which the storm was over.
        over_at: Virtual seconds at which the coordinator had ended its run; infinity: never.
    """

    def __init__(self, scenario: Scenario) -> None:
        """Everybody is there, nobody runs."""
        self.scenario = scenario
        limits = LineLimits(keepalive=KEEPALIVE)
        broker = MemoryBroker(protocol=scenario.protocol, limits=limits, seed=scenario.seed)
        for seat in scenario.seats:
            broker.lines[seat.id] = Line(seat.latency, seat.bandwidth)
        initial = first_params(scenario.elements) if scenario.initial else None
        self.parties = Parties(_roles(scenario), _settings(scenario), initial, broker, scenario.seed)
        identity, roster = self.parties.identity, self.parties.roster
        peers = {id: meet(identity, id, entry.public, False) for id, entry in roster.items()}
        self.tap = Tap(identity, peers)
        broker.tap = self.tap.hear
        self.peaks = Peaks()
        self.overdue: list[str] = []
        self.vanished: list[str] = []
        self.unbalanced: list[str] = []
        self._kept: dict[str, tuple[UpdateId, ...]] = {}
        self._planned: list[Accident] = []
        self._saved: deque[dict[str, bytes]] = deque(maxlen=SAVED)
        self.calm_at, self.over_at = 0.0, float("inf")

    async def run(self) -> None:
        """Storm, quiet, end."""
        watch = asyncio.create_task(self._watch(), name="watch")
        try:
            await self._storm()
            await self._calm()
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    # The storm.

    async def _storm(self) -> None:
        parties = self.parties
        for name in parties.hosts:
            parties.start(name)
        parties.broker.faults = self.scenario.faults
        for accident in self.scenario.accidents:
            await _until(accident.at)
            self._happen(accident)
        await _until(STORM)
        while self._planned and _now() < STORM + GRACE:
            await _until(_now() + RETRY)
        self._planned.clear()

    def _happen(self, accident: Accident) -> None:
        parties, broker, party = self.parties, self.parties.broker, accident.party
        match accident.trouble:
            case "crash" | "power" | "torn":
                self._planned.append(accident)
                self._crash(accident)
            case "cut":
                broker.cut(party)
            case "half-open":
                broker.half_open(party)
            case "restart":
                broker.restart(accident.seconds)
            case "stale":
                broker.restart(accident.seconds)
                broker.retained.update(self._saved[0])
            case "full":
                self._fill(parties.hosts[party], accident.seconds)
            case "jump":
                parties.jump(party, accident.seconds)

    def _crash(self, accident: Accident) -> None:
        """At the planned step, or soon after; a party that is down dies when it is up again."""
        parties, name, power = self.parties, accident.party, accident.trouble == "power"

        def back() -> None:
            self._planned.remove(accident)
            parties.revive(name, accident.seconds)

        def at_last() -> None:
            if accident in self._planned and parties.hosts[name].up:
                parties.crash(name, power=power)
                back()
            elif accident in self._planned:
                _later(RETRY, at_last)

        if parties.hosts[name].up and accident.trouble == "torn":
            parties.crash_in_disk(name, accident.steps, then=back)
        elif parties.hosts[name].up:
            parties.crash_after(name, accident.steps, power=power, then=back)
        _later(SOON, at_last)

    @staticmethod
    def _fill(host: Host, seconds: float) -> None:
        host.disk.full = True

        def empty() -> None:
            host.disk.full = False

        _later(seconds, empty)

    # The quiet.

    async def _calm(self) -> None:
        parties = self.parties
        parties.broker.faults = NONE
        for session in list(parties.broker.sessions.values()):
            if session.silent:
                parties.broker.cut(session.client_id)
        for host in parties.hosts.values():
            host.disk.full = False
        self.calm_at = _now()
        self._weigh()
        for host in parties.agents:
            if self.scenario.lonely and host.name in self.scenario.silent:
                parties.bury(host.name)
        await self._restart_coordinator()
        for host in parties.agents:
            if not self.scenario.lonely or host.name not in self.scenario.silent:
                parties.start(host.name)
        parties.start(COORDINATOR)
        await self._all_gone([parties.coordinator], PATIENCE, "the run is not over")
        if parties.coordinator.up:
            return
        self.over_at = _now()
        leaving = [host for host in parties.agents if host.name not in self.scenario.silent]
        await self._all_gone(leaving, LEAVING, "the run is over, and still there")
        for host in parties.agents:
            parties.stop(host.name)
        await self._all_gone(parties.agents, GOODBYE, "it was asked to stop, and still there")

    def _weigh(self) -> None:
        """Compare what was trained with what is there, before the end of the run makes leftovers."""
        parties, elements = self.parties, self.scenario.elements
        disk = parties.coordinator.disk
        given = conservation.sums(disk, FEDERATION, elements)
        known = conservation.comparable(disk, FEDERATION, given)
        for number, host in enumerate(parties.agents):
            if host.name in known:
                words = conservation.balance(number, host.name, host.disk, AGENT, given, elements)
                self.unbalanced += [words] if words else []

    async def _restart_coordinator(self) -> None:
        """In good order, with an end in sight."""
        parties = self.parties
        parties.stop(COORDINATOR)
        await self._all_gone([parties.coordinator], GOODBYE, "it was asked to stop, and still there")
        if parties.coordinator.up:
            parties.crash(COORDINATOR)
        newest = self.tap.newest.number if self.tap.newest is not None else -1
        parties.settings = _settings(self.scenario, End(max_versions=max(newest, 0) + MORE, linger=LINGER))

    async def _all_gone(self, hosts: list[Host], seconds: float, what: str) -> None:
        """Wait until nothing runs on these hosts, or note who did not end in time."""
        until = _now() + seconds
        while (up := [host.name for host in hosts if host.up]) and _now() < until:
            self.parties.ended.clear()
            try:
                async with asyncio.timeout(until - _now()):
                    await self.parties.ended.wait()
            except TimeoutError:
                break
        if up:
            self.overdue.append(f"{what} after {seconds:g} s: {', '.join(up)}")

    async def _watch(self) -> None:
        while True:
            self._look()
            await asyncio.sleep(LOOK)

    def _look(self) -> None:
        peaks, parties = self.peaks, self.parties
        self._saved.append(dict(parties.broker.retained))
        for name, host in parties.hosts.items():
            peaks.disk[name] = max(peaks.disk.get(name, 0), host.disk.used)
        peaks.retained = max(peaks.retained, sum(map(len, parties.broker.retained.values())))
        if self.tap.newest is not None and self.tap.newest.state == "running":
            self._compare_outboxes()

    def _compare_outboxes(self) -> None:
        """While the run goes on, an update leaves its agent's disk only when the ledger has its outcome."""
        outcomes = None
        for host in self.parties.agents:
            before, now = self._kept.get(host.name, ()), tuple(read_outbox(host.disk, AGENT))
            self._kept[host.name] = now
            for id in before:
                if id in now:
                    continue
                if outcomes is None:
                    outcomes = read_ledger(self.parties.coordinator.disk, FEDERATION).outcomes
                if (host.name, id) not in outcomes:
                    what = f"update {id.sequence} of {host.name} left its disk without an outcome"
                    self.vanished.append(f"before {_now():.3f} s {what}")


def _roles(scenario: Scenario) -> list[Role]:
    def role(number: int) -> Role:
        seat = scenario.seats[number]
        settings = AgentSettings(encoding=seat.encoding, may_initialise=number == 0 and not scenario.initial)
        return Role(seat.id, lambda: Walker(number, scenario.elements), seat.seconds, settings)

    return [role(number) for number in range(len(scenario.seats))]


def _settings(scenario: Scenario, end: End | None = None) -> CoordinatorSettings:
    return CoordinatorSettings(
        preset=scenario.preset,
        aggregation=scenario.aggregation,
        limits=Limits(frame=scenario.frame, packet=scenario.packet, offer=scenario.offer),
        end=end or End(),
        durability=scenario.durability,
        ledger=LedgerSettings(keep_versions=scenario.keep),
        roles={"n": "max"},
    )


def _later(seconds: float, what: Callable[[], None]) -> None:
    """In a context of its own: what happens belongs to no party."""
    asyncio.get_running_loop().call_later(seconds, what, context=Context())


async def _until(when: float) -> None:
    await asyncio.sleep(max(0.0, when - _now()))


def _now() -> float:
    return asyncio.get_running_loop().time()
