"""What the coordinator does beside merging: checks what is complete, re-reads the roster, keeps order.

Each coroutine here is a task of the service and ends only when it is cancelled.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from antiphon.broker_config.folders import RosterEntry
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs.errors import ConfigError, Rejected, TransportError
from antiphon.codecs.messages import NO_DIGEST
from antiphon.coordinator.aggregation.history import Arrival
from antiphon.coordinator.buffer import Accepted
from antiphon.coordinator.checking import Checked, check_each
from antiphon.coordinator.ending import mean_metric
from antiphon.coordinator.ledger.records import CloseUpload, DropEpoch, PutEpoch, Receive
from antiphon.coordinator.parts import Parts, public_metrics
from antiphon.coordinator.receipts import receipt
from antiphon.coordinator.reporting import to_json
from antiphon.coordinator.spool import Update

ROSTER_EVERY = 2.0
"""Seconds between two readings of the roster."""

SWEEP_EVERY = 5.0
"""Seconds between two looks at idle uploads, old keys and silent agents."""

TOGETHER = 64
"""Small updates of one check: some milliseconds, after which their agents hear of them."""

SMALL = 1 << 16
"""Elements that a small update has at most: of nothing but zeros, a large one fits into its offer too."""

REVOKED = ("revoked", "the agent's admission was taken back")
RUN_OVER = ("run-over", "the run has ended")
TOO_LATE = ("unknown-base", "another first version came before this one")


async def check_updates(parts: Parts) -> None:
    """Take complete updates: check, write down, hand to the buffer.

    Small ones that are there together are checked in one job, and so become durable in one commit; but for
    the very first, of which each may tell what is normal for the next.
    """
    queue = parts.intake.complete
    while True:
        await parts.commits.room()
        batch = [await queue.get()]
        most = TOGETHER if parts.remembered.norms.known else 1
        while _is_small(batch[-1]) and len(batch) < most and not queue.empty():
            batch.append(queue.get_nowait())
        large = [] if _is_small(batch[-1]) else [batch.pop()]  # who sent little does not wait for its check
        for together in (batch, large):
            if together:
                await _check(parts, together)


def _is_small(update: Update) -> bool:
    return update.inline and update.schema.size <= SMALL


async def _check(parts: Parts, batch: Sequence[Update]) -> None:
    bound = parts.remembered.norms.bound()
    # Before the first version there is nothing to compare with: the whole model is the update.
    norms = [float("inf") if update.offer.base == NO_DIGEST else bound for update in batch]
    pairs = list(zip(batch, norms, strict=True))
    found = await parts.environment.run(check_each, pairs, parts.environment.disk)
    for update, result in zip(batch, found, strict=True):
        match result:
            case Rejected():
                _reject(parts, update, result)
            case OSError():
                _postpone(parts, update, result)
            case _:
                _accept(parts, update, result)


def _accept(parts: Parts, update: Update, checked: Checked) -> None:
    try:
        if (objection := _objection(parts, update)) is not None:
            raise Rejected(*objection)
        parts.ledger.check_incarnation(update.agent, update.id)
    except Rejected as error:
        _reject(parts, update, error)
        return
    if parts.ledger.outcome(update.agent, update.id) is not None:
        # It came in two transfers at once, which no honest agent does: the first one counts.
        parts.intake.concluded(update)
        _drop_file(parts, update)
        return
    now = parts.clock()
    parts.commits.put(
        Receive(update, checked, now, update.frame),
        lambda: _received(parts, update, checked, now),
        lambda error: _postpone(parts, update, error),
    )


def _objection(parts: Parts, update: Update) -> tuple[str, str] | None:
    """Return why an update counts no more, although its offer was admitted: reason and detail."""
    if update.agent not in parts.roster.peers:
        return REVOKED
    if parts.closed:
        return RUN_OVER
    # Merged as a change to the first version, it would add a whole model to it.
    if update.offer.base == NO_DIGEST and parts.flushing.model is not None:
        return TOO_LATE
    return None


def _received(parts: Parts, update: Update, checked: Checked, now: float) -> None:
    """The update is durable: it counts, and its agent may hear of it."""
    offer, peer = update.offer, parts.roster.peers.get(update.agent)
    parts.intake.concluded(update)
    arrival = Arrival(update.agent, offer.base_number, offer.examples, now, checked.sumsq)
    accepted = Accepted(update.received(), checked, arrival)
    parts.flushing.admit(update.agent, now)
    parts.buffer.add(accepted)
    parts.remembered.accepted(update.agent, offer, checked.sumsq)
    parts.events.add("accepted", agent=update.agent, version=offer.base_number)
    # Its agent may have been revoked, or the run ended, while it was written down.
    if (objection := _objection(parts, update)) is not None:
        parts.flushing.reject_all([accepted], *objection)
    elif peer is not None:
        word = receipt("received", update.id, digest=offer.digest, transfer=update.transfer)
        parts.receipts.put(peer, word)
    parts.flushing.wake()


def _reject(parts: Parts, update: Update, error: Rejected) -> None:
    peer = parts.roster.peers.get(update.agent) or parts.roster.removed.get(update.agent)
    parts.intake.concluded(update)
    if peer is not None:
        parts.answers.settle(peer, update.offer, error, "rejected", update.transfer)
    _drop_file(parts, update)


def _postpone(parts: Parts, update: Update, error: OSError) -> None:
    """A full or failing disk is ours, not the agent's: it keeps its update and tries again.

    What came is dropped: it makes room, and nobody knows what a disk that failed once has written.
    """
    parts.intake.concluded(update)
    parts.events.add_rarely("disk", update.agent, "disk", str(error.strerror))
    if (peer := parts.roster.peers.get(update.agent)) is not None:
        parts.answers.wait(peer, update.id, update.offer.digest, update.transfer)
    _drop_file(parts, update)


def _drop_file(parts: Parts, update: Update) -> None:
    parts.ledger.release(update.offer.base_number)
    parts.intake.unspooled(update)
    if not update.inline:
        # At once, without waiting for the ledger: a full disk needs the room.
        parts.outgoing.later(lambda: parts.environment.disk.remove(update.path))
        parts.commits.put(CloseUpload(update.path.name))


def turn_keys(parts: Parts) -> None:
    """Supersede the epoch key when it is a day old, and destroy those that nobody needs any more."""

    def durable(operation: PutEpoch | DropEpoch) -> None:
        before = parts.epochs.newest
        parts.epochs.take(operation)
        if parts.epochs.newest != before:
            parts.broadcast.sign_again()

    for operation in parts.epochs.plan(parts.environment.now()):
        parts.commits.put(operation, partial(durable, operation))


async def keep_roster(parts: Parts, source: Callable[[], Mapping[str, RosterEntry]]) -> None:
    """Re-read the roster; new agents get keys, revoked ones lose what is not applied."""
    while True:
        try:
            await read_roster(parts, source)
        except ConfigError as error:
            # Somebody is just writing a file, or wrote a wrong one: what was read before stays.
            parts.events.add_rarely("roster", "", "roster", str(error))
        await asyncio.sleep(ROSTER_EVERY)


async def read_roster(parts: Parts, source: Callable[[], Mapping[str, RosterEntry]]) -> None:
    """Read the roster once.

    Raises:
        ConfigError: A file cannot be read.
    """
    change = parts.roster.change(await parts.environment.run(source))
    for id in change.added:
        parts.send_keys(parts.roster.peers[id])
    for id in change.refused:
        parts.events.add_rarely("roster", id, "low-order-key", "its public key is one that nobody may have")
    for peer in change.removed:
        await parts.transfers.forget(peer.id)
        parts.flushing.reject_all(parts.buffer.of(peer.id), *REVOKED)
        parts.broadcast.slot_store.forget(peer.id)
        if peer.id not in parts.roster.peers:
            parts.outgoing.put(parts.topics.keys(peer.id), bytes)
        parts.reports.pop(peer.id, None)
        parts.events.add("revoked", agent=peer.id)


async def keep_order(parts: Parts) -> None:
    """Every second: mend our topics, send what waits; now and then: lapse, forget, sign again."""
    last_sweep = 0.0
    said, said_at = (0, ""), float("-inf")
    while True:
        await asyncio.sleep(1.0)
        now = asyncio.get_running_loop().time()
        await parts.session.mend()
        parts.receipts.wake()
        news = (parts.broadcast.number, parts.status.state)
        # Every agent reads this: a new version alone, which the announcement tells, is no reason to hurry.
        if news[1] != said[1] or (news != said and now - said_at >= parts.settings.metrics.interval):
            said, said_at = news, now
            await parts.status.publish()
        if now - last_sweep >= SWEEP_EVERY:
            last_sweep = now
            await parts.transfers.sweep()
            turn_keys(parts)
            parts.broadcast.slot_store.keep_pins()
            parts.broadcast.refresh()
            for agent in parts.roster.left(now):
                parts.events.add("left", agent=agent)


async def send_metrics(parts: Parts) -> None:
    """Publish the metrics when they changed, at most once a second."""
    last: dict[str, Any] = {}
    while True:
        await asyncio.sleep(parts.settings.metrics.interval)
        values = metrics_now(parts)
        if values != last and await publish_metrics(parts, values):
            last = values


def metrics_now(parts: Parts) -> dict[str, Any]:
    """Return the flat numbers, with the means that the operator made public."""
    values = public_metrics(parts)
    for name in parts.settings.metrics.public:
        mean, agents = mean_metric(name, parts.reports)
        if agents:
            values[f"mean_{name}"] = round(mean, 6)
    return values


async def publish_metrics(parts: Parts, values: dict[str, Any]) -> bool:
    """Publish the numbers; returns whether there was a line."""
    payload = to_json({**values, "timestamp": round(parts.environment.now(), 3)})
    try:
        await parts.connection.publish(parts.topics.metrics(COORDINATOR), payload, qos=0, retain=True)
    except TransportError:
        return False
    return True
