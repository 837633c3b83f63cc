"""The coordinator's parts, put together: who is told what. Decides nothing itself."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from antiphon.broker_config.connection import Connection
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.topics import Topics
from antiphon.codecs.errors import Rejected, StateError
from antiphon.codecs.messages import Announcement, Note, UpdateId
from antiphon.coordinator.admission import Situation
from antiphon.coordinator.aggregation.history import Arrival, admitted, init_state
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.answers import Answers, outcome_receipt
from antiphon.coordinator.broadcast import Broadcast, Voice
from antiphon.coordinator.buffer import Accepted, Buffer
from antiphon.coordinator.commits import Commits
from antiphon.coordinator.ending import Course, Report, why_over
from antiphon.coordinator.epochs import EpochKeys
from antiphon.coordinator.flushing import Flushing, Tools
from antiphon.coordinator.intake import Desk, Intake
from antiphon.coordinator.keys import GroupRing, Identity, Peer
from antiphon.coordinator.ledger.ledger import Ledger
from antiphon.coordinator.ledger.records import (
    CloseUpload,
    Operation,
    Outcome,
    PutGroupKey,
    PutState,
    Recovered,
    Settle,
)
from antiphon.coordinator.norms import euclidean
from antiphon.coordinator.notes import Notes
from antiphon.coordinator.outgoing import Outgoing
from antiphon.coordinator.receipts import Newest, Receipts
from antiphon.coordinator.remembered import Remembered
from antiphon.coordinator.reporting import Events, Status
from antiphon.coordinator.roster import Roster
from antiphon.coordinator.run_clock import RunClock, latest
from antiphon.coordinator.session import Hooks, Session
from antiphon.coordinator.settings import CoordinatorSettings
from antiphon.coordinator.slot_store import LedgerAccess, SlotStore
from antiphon.coordinator.spool import Update
from antiphon.coordinator.steady import Steady
from antiphon.coordinator.transfers import Transfers

SPREAD_AGENTS = 200
"""Agents a second whose first offers after a start are no crowd."""


class Parts:
    """Everything that one run of the coordinator consists of."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        rule: Rule,
        identity: Identity,
        ledger: Ledger,
        found: Recovered,
        folder: Path,
        connection: Connection,
        environment: Environment,
        steady: Steady,
        status: Callable[..., bytes],
    ) -> None:
        """Wire them.

        Args:
            settings, rule, identity, ledger, connection, environment: See their modules.
            found: What the ledger held; `recover` takes it over.
            folder: The state folder.
            steady: Runs everything that touches the ledger.
            status: ``status(state, **more)`` composes the status message.
        """
        limits = settings.limits
        self.settings, self.rule, self.identity = settings, rule, identity
        self.ledger, self.run, self.folder = ledger, found.run, folder
        self.connection, self.environment, self._compose = connection, environment, status
        self.steady, self.topics = steady, Topics(identity.prefix)
        self.over = self.closed = False
        self._former: list[str] = []
        self.clock = RunClock(environment.now, latest(found))
        self.remembered = Remembered(limits)
        self.commits = Commits(ledger.commit, steady, self.trouble)
        self.epochs, self.ring = EpochKeys(found.epochs), GroupRing.of(found.group_keys)
        if not found.group_keys:
            self.commits.put(PutGroupKey(self.ring.current))
        self._key_counter = 0
        self.roster = Roster(identity, limits.live)
        self.buffer = Buffer()
        self.events = Events(folder, self.topics, connection, environment, limits)
        self.receipts = Receipts(identity, self.run, self._newest, connection, limits.receipts)
        self.outgoing = Outgoing(connection, environment, limits.resend)
        self.transfers = Transfers(
            limits, environment, self.roster, self.receipts, self.commits, ledger.hold, ledger.release
        )
        self.session = Session(connection, self.topics, identity.signing.public, self._hooks())
        self.broadcast = Broadcast(
            self._voice(found.started),
            connection,
            environment,
            self.outgoing,
            self._slot_store(),
            limits,
            self.session.online,
            lambda reason: self.events.add_rarely("refused", "", "broker", reason),
        )
        self.flushing = Flushing(
            Tools(
                rule=rule,
                environment=environment,
                clock=self.clock,
                ledger=ledger,
                steady=steady,
                commits=self.commits,
                broadcast=self.broadcast,
                buffer=self.buffer,
                remembered=self.remembered,
                roster=self.roster,
                events=self.events,
                reject=self.reject,
                applied=self.applied,
                trouble=self.trouble,
            ),
            settings.end.max_versions,
        )
        self.answers = Answers(ledger, self.commits, self.receipts, self.events)
        self.notes = Notes(
            self.receipts, self.transfers, self.answers, self.broadcast, self.events, self._send_keys_again
        )
        self.intake = Intake(
            Desk(
                identity=identity,
                run=self.run,
                epochs=self.epochs,
                limits=limits,
                environment=environment,
                folder=folder / "spool",
                roster=self.roster,
                ledger=ledger,
                commits=self.commits,
                receipts=self.receipts,
                events=self.events,
                transfers=self.transfers,
                answers=self.answers,
                situation=self._situation,
                waiting=self.buffer.count,
                hold=ledger.hold,
                note=self._note,
            )
        )
        self.status = Status(self.topics, connection, self._status)

    def _voice(self, started: float) -> Voice:
        limits, ledger = self.settings.limits, self.ledger
        return Voice(
            identity=self.identity,
            run=self.run,
            started=started,
            term=lambda: ledger.term,
            epochs=self.epochs,
            ring=self.ring,
            frame=limits.frame,
            offer=limits.offer,
            packet=limits.packet,
            spread=self._spread,
            hints=self.settings.hints,
        )

    def _slot_store(self) -> SlotStore:
        sync = self.settings.durability == "fsync"
        access = LedgerAccess(self._committed, self.commits.put, self.trouble, sync)
        folder, budget = self.folder / "published", self.settings.limits.slot_bytes
        return SlotStore(folder, self.identity, self.run, self.environment, access, budget)

    async def recover(self, found: Recovered) -> None:
        """Take over what a former process left. The roster was read: what nobody may send any more goes.

        Raises:
            StateError: A file cannot be read.
        """
        run, disk = self.environment.run, self.environment.disk
        self._former = await run(disk.names, self.folder / "runs")
        self.remembered.recover(found, self.environment.now())
        version, state = found.version, init_state()
        if version is not None:
            state = version.rule_state
            self.broadcast.model = version.model
            self.remembered.norms.model = await run(euclidean, version.model.vector)
        for admission in found.admissions:
            state = admitted(self.rule, state, admission.agent, admission.at)
        self.flushing.recover(version, state)
        model, keys = self.broadcast.model, {key.id: key for key in self.ring.keys}
        await self.broadcast.slot_store.restore(found.slots, found.pins, model, keys)
        for received in found.waiting:
            update, offer = received.update, received.update.offer
            arrival = Arrival(
                update.agent, offer.base_number, offer.examples, received.admitted_at, received.checked.sumsq
            )
            self.buffer.add(Accepted(update, received.checked, arrival))
            self.intake.waits(update)
        for opened in found.uploads:
            if opened.agent in self.roster.peers:
                await self.intake.restore(opened)
            else:
                self.commits.put(CloseUpload(opened.file))
        if found.over and why_over(self.settings.end, self.course()):
            self.over = self.closed = True
            self.broadcast.state = "over"
        elif found.over:  # the operator raised its bound
            self.commits.put(PutState(over=False))
        gone = [waiting for waiting in self.buffer.all() if waiting.update.agent not in self.roster.peers]
        self.flushing.reject_all(gone, "revoked", "the agent's admission was taken back")
        for agent in [agent for agent in self.reports if agent not in self.roster.peers]:
            del self.reports[agent]

    async def outrank(self, term: int) -> None:
        """Make our term larger than one that was seen at the broker.

        Raises:
            StateError: The disk does not take it.
        """
        try:
            await self.steady(self.ledger.outrank, term)
        except OSError as error:
            raise StateError(
                f"cannot write {self.folder}: {error.strerror or error}; make room or repair the disk, then "
                "start again"
            ) from None

    async def _committed(self, operation: Operation) -> None:
        """Return when an operation is durable, however long the disk takes nothing."""
        done = asyncio.Event()
        self.commits.put(operation, done.set)
        await done.wait()

    def trouble(self, error: OSError) -> None:
        """The disk did not take something."""
        detail = f"the disk takes nothing ({error.strerror or error}): make room; what waits is tried again"
        self.events.add_rarely("disk", "", "disk", detail)

    @property
    def reports(self) -> dict[str, Report]:
        """The latest report of each agent."""
        return self.remembered.reports

    def course(self) -> Course:
        """How far the run is."""
        return Course(self.broadcast.number, self.remembered.since, self.remembered.reports)

    def applied(self, batch: Sequence[Accepted], number: int) -> None:
        """These updates are in a version that was committed and is announced: tell their agents."""
        for accepted in batch:
            update = accepted.update
            self._tell(update, Outcome("applied", update.offer.digest, number))
            self._let_go(update)

    def tell_again(self, batch: Sequence[tuple[str, UpdateId]]) -> None:
        """Tell the agents of the newest version's updates once more: the last word may never have left."""
        for agent, id in batch:
            peer, outcome = self.roster.peers.get(agent), self.ledger.outcome(agent, id)
            if peer is not None and outcome is not None:
                self.receipts.put(peer, outcome_receipt(id, outcome, outcome.digest))

    def reject(self, accepted: Accepted, reason: str, detail: str) -> None:
        """Settle an update that was received against its agent, which hears of it when that is durable."""
        update, error = accepted.update, Rejected(reason, detail)
        outcome = Outcome("rejected", update.offer.digest, -1, error.reason, error.detail)

        def done() -> None:
            # The ledger's word counts: a version whose commit was given up at a stop may be there after all.
            counts = self.ledger.outcome(update.agent, update.id) or outcome
            self._tell(update, counts)
            if counts.type == outcome.type:
                self.events.add("rejected", agent=update.agent, reason=reason, detail=detail[:300])
            self._let_go(update)

        self.commits.put(Settle(update.agent, update.id, outcome), done)

    def _tell(self, update: Update, outcome: Outcome) -> None:
        peer = self.roster.peers.get(update.agent) or self.roster.removed.get(update.agent)
        if peer is not None:
            self.receipts.put(peer, outcome_receipt(update.id, outcome, outcome.digest, update.transfer))

    def _let_go(self, update: Update) -> None:
        self.ledger.release(update.offer.base_number)
        self.intake.unspooled(update)

    def close(self, why: str) -> None:
        """Nothing counts any more: what waits is rejected, and so is what is complete later."""
        self.over = self.closed = True
        self.flushing.reject_all(self.buffer.all(), "run-over", why)

    def send_keys(self, peer: Peer) -> None:
        """Publish an agent's group keys."""
        self._key_counter += 1
        term, counter = self.ledger.term, self._key_counter
        self.outgoing.put(
            self.topics.keys(peer.id), lambda: self.ring.frame(self.identity, self.run, peer, term, counter)
        )

    def _send_keys_again(self, peer: Peer) -> None:
        self._key_counter += 1
        term, counter = self.ledger.term, self._key_counter
        self.outgoing.put_again(
            self.topics.keys(peer.id), lambda: self.ring.frame(self.identity, self.run, peer, term, counter)
        )

    def _hooks(self) -> Hooks:
        return Hooks(
            take=lambda message: self.intake.take(message),
            connected=self._connected,
            is_own=lambda raw: self.broadcast.is_own(raw),
            is_current=lambda raw: self.broadcast.is_current(raw),
            repeat=lambda: self.broadcast.repeat(),
            is_own_status=lambda payload: self.status.is_own(payload),
            publish_status=lambda: self.status.publish(),
            knows=self._knows,
            term=lambda: self.ledger.term,
            now=self.environment.now,
        )

    def _knows(self, said: Announcement) -> bool:
        if said.run != self.run:
            return said.run.hex() in self._former
        return said.number < 0 or self.ledger.is_base(said.number, said.digest)

    async def _connected(self) -> None:
        for _, peer in sorted(self.roster.peers.items()):
            self.send_keys(peer)
        await self.status.publish()
        self.receipts.wake()

    def _newest(self) -> Newest:
        return Newest(self.ledger.term, self.broadcast.number)

    def _spread(self) -> float:
        wanted = self.settings.spread
        return wanted if wanted >= 0 else len(self.roster.peers) / SPREAD_AGENTS

    def _status(self, state: str) -> bytes:
        model = self.broadcast.model
        digest = model.digest.hex()[:16] if model else ""
        return self._compose(state, term=self.ledger.term, version=self.broadcast.number, digest=digest)

    def _situation(self) -> Situation:
        model = self.flushing.model
        return Situation(
            schema=model.schema if model else None,
            number=model.number if model else -1,
            over=self.over,
            is_base=self.ledger.is_base,
            keeps_base=self.ledger.keeps,
            median_staleness=self.remembered.influence.median_staleness,
        )

    def _note(self, peer: Peer, note: Note) -> None:
        self.notes.take(peer, note)


def public_metrics(parts: Parts) -> dict[str, Any]:
    """Return the flat numbers for ``metrics/coordinator``."""
    now = asyncio.get_running_loop().time()
    staleness = parts.remembered.influence.recent_staleness()
    return {
        "version": parts.broadcast.number,
        "agents_live": parts.roster.live(now),
        "agents_admitted": len(parts.roster.peers),
        "updates_received": parts.ledger.received,
        "updates_applied": parts.ledger.applied,
        "updates_rejected": parts.ledger.rejected,
        "buffer": len(parts.buffer),
        "k": parts.flushing.last_k,
        "staleness_mean": round(sum(staleness) / len(staleness), 4) if staleness else 0.0,
        "staleness_max": max(staleness, default=0),
        "bytes_in": parts.intake.received_bytes,
        "bytes_out": parts.receipts.sent_bytes + parts.outgoing.sent_bytes + parts.broadcast.sent_bytes,
        "frames_dropped": parts.intake.dropped + parts.transfers.strays + parts.connection.dropped,
        **{
            f"influence_{agent}": round(share, 6)
            for agent, share in parts.remembered.influence.shares().items()
        },
    }
