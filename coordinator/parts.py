"""The coordinator's parts, put together: who is told what. Decides nothing itself."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from antiphon.broker_config.connection import Connection
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.topics import Topics
from antiphon.codecs.messages import Note
from antiphon.coordinator.admission import Situation
from antiphon.coordinator.aggregation.anchor import Current
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.answers import Answers, outcome_receipt
from antiphon.coordinator.bases import Bases
from antiphon.coordinator.broadcast import Broadcast, Voice
from antiphon.coordinator.buffer import Accepted, Buffer, Influence
from antiphon.coordinator.commits import Commits
from antiphon.coordinator.ending import Course, Report
from antiphon.coordinator.epochs import EpochKeys
from antiphon.coordinator.flushing import Flushing, Tools
from antiphon.coordinator.intake import Desk, Intake
from antiphon.coordinator.keys import GroupRing, Identity, Peer
from antiphon.coordinator.ledger import Ledger, Outcome
from antiphon.coordinator.norms import Norms
from antiphon.coordinator.notes import Notes
from antiphon.coordinator.outgoing import Outgoing
from antiphon.coordinator.receipts import Newest, Receipts
from antiphon.coordinator.reporting import Events, Status
from antiphon.coordinator.roster import Roster
from antiphon.coordinator.session import Hooks, Session
from antiphon.coordinator.settings import CoordinatorSettings
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
        run: bytes,
        folder: Path,
        connection: Connection,
        environment: Environment,
        status: Callable[..., bytes],
    ) -> None:
        """Wire them. ``folder``: the state folder; ``status(state, **more)`` composes the status message."""
        limits = settings.limits
        self.settings, self.rule, self.identity = settings, rule, identity
        self.ledger, self.run, self.folder = ledger, run, folder
        self.connection, self.environment, self._compose = connection, environment, status
        self.topics = Topics(identity.prefix)
        self.over = self.closed = False
        self.applied = self.rejected = 0
        self.reports: dict[str, Report] = {}
        self.ring = GroupRing.of()
        self._key_counter = 0
        self.roster = Roster(identity, limits.live)
        self.buffer, self.influence, self.norms = Buffer(), Influence(), Norms(limits)
        self.events = Events(folder, self.topics, connection, environment, limits)
        self.receipts = Receipts(identity, run, self._newest, connection, limits.receipts)
        self.outgoing = Outgoing(connection, environment, limits.resend)
        self.bases = Bases(folder / "bases", limits.base_bytes, needed=isinstance(rule.anchor, Current))
        self.commits = Commits(ledger.apply, environment.run, self._trouble)
        self.transfers = Transfers(
            limits,
            environment,
            self.roster,
            self.receipts,
            self.commits,
            self.bases.hold,
            self.bases.release,
        )
        self.epochs = EpochKeys()
        for operation in self.epochs.plan(environment.now()):
            self.epochs.take(operation)
        self.session = Session(connection, self.topics, identity.signing.public, self._hooks())
        self.broadcast = Broadcast(
            Voice(
                identity=identity,
                run=run,
                started=environment.now(),
                term=lambda: ledger.term,
                epochs=self.epochs,
                ring=self.ring,
                frame=limits.frame,
                offer=limits.offer,
                packet=limits.packet,
                spread=self._spread,
                hints=settings.hints,
            ),
            connection,
            environment,
            self.outgoing,
            folder / "published",
            limits,
            self.session.online,
        )
        self.flushing = Flushing(
            Tools(
                run=run,
                rule=rule,
                environment=environment,
                ledger=ledger,
                broadcast=self.broadcast,
                bases=self.bases,
                buffer=self.buffer,
                influence=self.influence,
                norms=self.norms,
                roster=self.roster,
                events=self.events,
                settle=self.settle,
            )
        )
        self.answers = Answers(ledger, self.commits, self.receipts, self.events, self._count)
        self.notes = Notes(
            self.receipts,
            self.transfers,
            self.answers,
            self.broadcast,
            self.events,
            self._send_keys_again,
        )
        self.intake = Intake(
            Desk(
                identity=identity,
                run=run,
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
                hold=self.bases.hold,
                note=self._note,
            )
        )
        self.status = Status(self.topics, connection, self._status)

    def course(self) -> Course:
        """How far the run is."""
        first = self.flushing.first_at
        since = 0.0 if first is None else asyncio.get_running_loop().time() - first
        return Course(self.broadcast.number, since, self.reports)

    def settle(self, accepted: Accepted, outcome: Outcome) -> None:
        """An update that was received has its outcome: into the ledger, to its agent, out of the spool."""
        update = accepted.update
        outcome = self.ledger.settle(update.agent, update.id, outcome)
        self._count(outcome)
        peer = self.roster.peers.get(update.agent) or self.roster.removed.get(update.agent)
        if peer is not None:
            self.receipts.put(peer, outcome_receipt(update.id, outcome, outcome.digest, update.transfer))
        if outcome.type != "applied":
            self.events.add(
                "rejected", agent=update.agent, reason=outcome.reason, detail=outcome.detail[:300]
            )
        self.bases.release(update.offer.base_number)
        self.intake.unspooled(update)
        self.outgoing.later(lambda: self.environment.disk.remove(update.path))

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
            term=lambda: self.ledger.term,
            now=self.environment.now,
        )

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
            keeps_base=self.bases.keeps,
            median_staleness=self.influence.median_staleness,
        )

    def _note(self, peer: Peer, note: Note) -> None:
        self.notes.take(peer, note)

    def _trouble(self, error: OSError) -> None:
        self.events.add_rarely("disk", "", "disk", f"cannot write the ledger: {error.strerror}; tried again")

    def _count(self, outcome: Outcome) -> None:
        if outcome.type == "applied":
            self.applied += 1
        else:
            self.rejected += 1


def public_metrics(parts: Parts) -> dict[str, Any]:
    """Return the flat numbers for ``metrics/coordinator``."""
    now = asyncio.get_running_loop().time()
    staleness = parts.influence.recent_staleness()
    return {
        "version": parts.broadcast.number,
        "agents_live": parts.roster.live(now),
        "agents_admitted": len(parts.roster.peers),
        "updates_received": parts.ledger.received,
        "updates_applied": parts.applied,
        "updates_rejected": parts.rejected,
        "buffer": len(parts.buffer),
        "k": parts.flushing.last_k,
        "staleness_mean": round(sum(staleness) / len(staleness), 4) if staleness else 0.0,
        "staleness_max": max(staleness, default=0),
        "bytes_in": parts.intake.received_bytes,
        "bytes_out": parts.receipts.sent_bytes + parts.outgoing.sent_bytes + parts.broadcast.sent_bytes,
        "frames_dropped": parts.intake.dropped + parts.transfers.strays + parts.connection.dropped,
        **{f"influence_{agent}": round(share, 6) for agent, share in parts.influence.shares().items()},
    }
