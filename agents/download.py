"""Pulls the model that an announcement names: from inside it, or chunk by chunk out of its slot.

Guarantees: only frames whose digest the signed announcement vouches for are opened; a window of exact topics
is subscribed at a time, never a wildcard; silence is reported and waited for, and a pull is given up only
when its slot is superseded *and* gone, or after an hour. Two pulls lost that way ask for a pin.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from antiphon.agents.announcements import Announcements
from antiphon.agents.bell import ANNOUNCED, PULL, SESSION
from antiphon.agents.groupkeys import KeyRing
from antiphon.agents.line import Line
from antiphon.agents.model import Building, Model, matches, open_broadcast, read_inline
from antiphon.codecs import messages
from antiphon.codecs.errors import MalformedError, TransportError
from antiphon.codecs.frames import Kind
from antiphon.codecs.messages import Announcement, Manifest, Note, NoteType, Page
from antiphon.codecs.sealing import SymmetricKey

log = logging.getLogger("antiphon.agents")

DIGEST = 32
NAMED = 256
"""Chunks or pages in one `absent` note, at most."""

LONGEST_GAP = 30.0
"""Seconds between two chunks that pass for a slow line; what takes longer was absent for a while."""


QUICK, SLOW = 1.0, 3.0
"""Seconds between two chunks below which more are asked for at once, and above which fewer are."""

Take = Callable[[int, bytes], Awaitable[None]]
"""Takes the frame of one chunk or page in."""


class Lost(Exception):
    """The pull cannot be finished: its slot holds something else by now, or it took too long."""


@dataclass(slots=True)
class _Pull:
    """One pull: what it waits for, and what has come."""

    version: Announcement
    key: SymmetricKey
    started: float
    waiting: dict[str, tuple[Kind, int, bytes]]  # topic -> what should be there
    arrived: deque[tuple[Kind, int, bytes]]
    session: int = 0
    quiet: float = 0.0  # loop time of the last arrival or subscription
    absent: float = float("-inf")
    pulling: float = float("-inf")
    foreign: bool = False  # something else, or nothing, lies on one of the topics
    asked: dict[str, None] = field(default_factory=dict[str, None])  # every topic so far
    done: list[str] = field(default_factory=list[str])  # topics to unsubscribe


class Download:
    """The receiving half of an agent."""

    def __init__(self, line: Line, announcements: Announcements, keys: KeyRing) -> None:
        """No pull yet."""
        self._line, self._announcements, self._keys = line, announcements, keys
        self._pull: _Pull | None = None
        self._losses = 0
        self._gap = 0.0  # seconds between two arrivals, at most; slowly forgotten
        self._window = 1

    @property
    def heard(self) -> float:
        """When the running pull began or last got something; minus infinity while nothing is pulled."""
        return self._pull.quiet if self._pull is not None else float("-inf")

    def take(self, topic: str, payload: bytes) -> None:
        """Take a message on a topic of a slot in; what no pull waits for is ignored."""
        pull = self._pull
        expected = pull.waiting.get(topic) if pull is not None else None
        if pull is None or expected is None:
            if pull is not None and topic in pull.asked:
                pull.quiet = self._line.now  # a second copy: it took the line, nothing is absent
            return
        if len(payload) > self._line.settings.limits.frame or not matches(payload, expected[2]):
            pull.foreign = True
        else:
            del pull.waiting[topic]
            pull.done.append(topic)
            now = self._line.now
            # What had to be asked for again was lost, not late: only the time since then is the line's.
            gap = now - max(pull.quiet, pull.absent)
            self._gap = min(max(gap, 0.9 * self._gap), LONGEST_GAP)
            self._widen(gap)
            pull.quiet = now
            pull.arrived.append((expected[0], expected[1], payload))
        self._line.bell.ring(PULL)

    def _widen(self, gap: float) -> None:
        """Ask for more at once while chunks come fast; on a slow line they would queue, and seem lost."""
        if gap < QUICK:
            self._window = min(2 * self._window, self._line.settings.limits.window)
        elif gap > SLOW:
            self._window = max(1, self._window // 2)

    async def pull(self, version: Announcement) -> Model | None:
        """Return the model of ``version``; None if it is gone and a newer one must be pulled instead.

        Raises:
            PeerError: What the coordinator signed does not hold together.
            ConfigError: The model is larger than the configured bound.
        """
        limits = self._line.settings.limits

        async def wanted() -> bool:
            newest = await self._announcements.refresh()
            return newest is None or newest.key == version.key

        key = await self._keys.get(version.key, wanted)
        if key is None:
            return None
        if version.slot < 0:
            return await self._line.environment.run(
                read_inline, version, key, limits.announcement, limits.schema, limits.model
            )
        pull = _Pull(version, key, self._line.now, {}, deque())
        if self._losses >= 2:
            await self._note(pull, "pin")
        self._pull = pull
        try:
            model = await self._from_slot(pull)
        except Lost as reason:
            self._losses += 1
            log.info("gave up pulling version %d: %s", version.number, reason)
            return None
        finally:
            self._pull = None
            pull.done.extend(pull.waiting)
            await self._unsubscribe(pull)
        self._losses = 0
        return model

    async def _from_slot(self, pull: _Pull) -> Model:
        version, limits, run = pull.version, self._line.settings.limits, self._line.environment.run
        pages: dict[int, Page] = {}

        async def page(index: int, payload: bytes) -> None:
            plain = open_broadcast(
                payload, version, Kind.MANIFEST_PAGE, index, version.pages, pull.key, limits.frame
            )
            pages[index] = messages.decode(plain, Page, limits.frame)

        await self._collect(pull, Kind.MANIFEST_PAGE, {0: version.page}, page)
        others = _digests(pages[0].others, version.pages - 1)
        await self._collect(pull, Kind.MANIFEST_PAGE, dict(enumerate(others, 1)), page)
        whole = b"".join(pages[index].piece for index in range(version.pages))
        manifest = messages.decode(whole, Manifest, len(whole))
        digests = _digests(manifest.digests, version.chunks)
        building = await run(Building, version, manifest.schema, version.chunks, limits.schema, limits.model)

        async def chunk(index: int, payload: bytes) -> None:
            await run(_add, building, payload, index, pull.key, limits.frame)

        await self._collect(pull, Kind.MODEL_CHUNK, dict(enumerate(digests)), chunk)
        return await run(building.finish)

    async def _collect(self, pull: _Pull, kind: Kind, digests: dict[int, bytes], take: Take) -> None:
        """Fetch the frames with these digests, a window at a time, and hand each to ``take``.

        Raises:
            Lost: The slot is gone.
        """
        todo = deque(digests)
        while todo or pull.waiting or pull.arrived:
            window = self._window
            if pull.arrived:
                _, index, payload = pull.arrived.popleft()
                await take(index, payload)
                if len(pull.waiting) > window // 2 or not todo:
                    continue
            if pull.waiting and pull.session != self._line.session:
                todo.extendleft(index for _, index, _ in reversed(pull.waiting.values()))
                pull.waiting.clear()
            if todo and len(pull.waiting) <= window // 2:
                await self._subscribe(pull, kind, todo, digests, window - len(pull.waiting))
            elif not pull.arrived:
                await self._patience(pull)

    async def _subscribe(
        self, pull: _Pull, kind: Kind, todo: deque[int], digests: dict[int, bytes], count: int
    ) -> None:
        line, topics, slot = self._line, self._line.topics, pull.version.slot
        if not line.ready:
            await line.bell.wait(topics=SESSION)
            return
        batch = [todo.popleft() for _ in range(min(count, len(todo)))]
        where = topics.page if kind is Kind.MANIFEST_PAGE else topics.chunk
        names = {where(slot, index): (kind, index, digests[index]) for index in batch}
        pull.session = line.session
        pull.waiting.update(names)
        pull.asked.update(dict.fromkeys(names))
        try:
            await line.connection.subscribe(*names)
        except TransportError as error:
            log.debug("a pull's subscription failed: %s", error)
            for name, (_, index, _) in names.items():
                if pull.waiting.pop(name, None) is not None:
                    todo.append(index)
            await line.bell.wait(line.settings.timers.rto, SESSION)
        pull.quiet = line.now
        await self._unsubscribe(pull)

    async def _patience(self, pull: _Pull) -> None:
        """Nothing has come: wait, say so now and then, or see that the slot is gone."""
        line, timers = self._line, self._line.settings.timers
        if line.now - pull.started > timers.pull:
            raise Lost("it took too long")
        # On a slow line chunks are far apart: silence is what is much longer than that.
        patience = max(line.trip.silence, 4 * self._gap)
        silent = line.now - pull.quiet >= patience
        if pull.foreign or line.now - pull.quiet >= 2 * patience:
            newest = await self._announcements.refresh()
            if newest is not None and newest.transfer != pull.version.transfer and newest.number >= 0:
                raise Lost("its slot holds another version")
        if line.now - pull.pulling >= timers.pulling:
            pull.pulling = line.now
            await self._note(pull, "pulling")
        if silent and line.now - pull.absent >= timers.absent:
            pull.absent = line.now
            await self._note(pull, "absent")
        # What came while a note went out has rung already.
        if not pull.arrived and pull.session == line.session:
            await line.bell.wait(patience, PULL | SESSION | ANNOUNCED)

    async def _unsubscribe(self, pull: _Pull) -> None:
        done, pull.done = pull.done, []
        if done and self._line.ready:
            await self._line.connection.unsubscribe(*done)

    async def _note(self, pull: _Pull, type: NoteType) -> None:
        line, transfer = self._line, pull.version.transfer
        named: dict[Kind, list[int]] = {Kind.MODEL_CHUNK: [], Kind.MANIFEST_PAGE: []}
        if type == "absent":
            for kind, index, _ in list(pull.waiting.values())[:NAMED]:
                named[kind].append(index)
        note = Note(
            type=type,
            incarnation=line.incarnation,
            counter=line.counter(),
            transfer=transfer,
            chunks=named[Kind.MODEL_CHUNK],
            pages=named[Kind.MANIFEST_PAGE],
        )
        try:
            await line.note(note)
        except TransportError as error:
            log.debug("%s was not sent: %s", type, error)


def _add(building: Building, payload: bytes, index: int, key: SymmetricKey, limit: int) -> None:
    total = building.version.chunks
    plain = open_broadcast(payload, building.version, Kind.MODEL_CHUNK, index, total, key, limit)
    building.add(index, plain)


def _digests(joined: bytes, count: int) -> list[bytes]:
    if len(joined) != DIGEST * count:
        raise MalformedError(f"a manifest of {len(joined)} bytes cannot name {count} frames")
    return [joined[start : start + DIGEST] for start in range(0, len(joined), DIGEST)]
