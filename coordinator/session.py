"""The coordinator's line: sets up every session, and watches over its own two topics.

Guaranteed: nothing is published on a session before its subscriptions stand; an announcement or a status that
is not ours is replaced within seconds; a second coordinator with our keys and a later term stops this one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from antiphon.broker_config.connection import Connected, Connection, Lost, Message
from antiphon.broker_config.topics import COORDINATOR, Topics
from antiphon.codecs import announcements
from antiphon.codecs.errors import (
    ConfigError,
    NotConnected,
    PeerError,
    StateError,
    TransportError,
)
from antiphon.codecs.messages import Announcement

LOOK = 1.0
"""Seconds after SUBACK in which a retained announcement must have come; after that there is none."""

RETRY = 0.5
"""Seconds between two tries to subscribe on a line that stands."""

FRESH = 900.0
"""Seconds: a living coordinator signs its announcement at least every 600."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the broker showed under our key before our first announcement: its term, and its publication."""

    term: int = 0
    publication: bytes = b""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the session tells the rest, and asks it.

    Attributes:
        take: A message on ``updates/+``.
        connected: The subscriptions of a new session stand.
        is_own, is_current: Judge a message on our announcement's topic.
        repeat: Publish the newest version again.
        is_own_status: Judge a message on our status topic.
        publish_status: Publish the status again.
        term: This start's term.
        now: Wall time, seconds.
    """

    take: Callable[[Message], Awaitable[None]]
    connected: Callable[[], Awaitable[None]]
    is_own: Callable[[bytes], bool]
    is_current: Callable[[bytes], bool]
    repeat: Callable[[], None]
    is_own_status: Callable[[bytes], bool]
    publish_status: Callable[[], Awaitable[None]]
    knows: Callable[[Announcement], bool]
    term: Callable[[], int]
    now: Callable[[], float]


class Session:
    """See the module."""

    def __init__(self, connection: Connection, topics: Topics, public: bytes, hooks: Hooks) -> None:
        """``public``: our own verify key."""
        self._connection, self._topics, self._public, self._hooks = (
            connection,
            topics,
            public,
            hooks,
        )
        self._ready = asyncio.Event()
        self._new = asyncio.Event()
        self._looked = asyncio.Event()
        self._announcing = self._seen_current = False
        self._wrong_status = self._wrong_announcement = False
        self._found = b""

    async def online(self) -> None:
        """Return when there is a session whose subscriptions stand."""
        await self._ready.wait()

    async def look(self, *, take_over: bool) -> Seen:
        """Look at what is announced before our first announcement.

        Raises:
            StateError: Another coordinator with our keys is at work, or our ledger is older than what it
                announced itself, and ``take_over`` is false.
        """
        await self._looked.wait()
        self._announcing = True
        theirs = self._ours(self._found)
        if theirs is None:
            return Seen()
        alive = theirs.state == "running" and self._hooks.now() - theirs.issued < FRESH
        if alive and not take_over:
            if theirs.term > self._hooks.term():
                raise StateError(
                    "another coordinator of this federation announced itself a moment ago, in a later term: "
                    "stop that one, or start this one with --take-over"
                )
            if not self._hooks.knows(theirs):
                raise StateError(
                    f"version {theirs.number} of run {theirs.run.hex()[:8]} was announced a moment ago under "
                    "this federation's key, and this ledger does not know it: another coordinator is at "
                    "work, or the state folder is an older copy. Stop that one, or bring the newest state "
                    "folder; --take-over starts all the same, and what only the other one knows is lost"
                )
        return Seen(theirs.term, theirs.transfer)

    async def pump(self) -> None:
        """Take what the broker sends, in order, for ever.

        Raises:
            ConfigError: The broker refuses us for good, or another client took our id.
            StateError: A second coordinator runs with our keys.
        """
        async for event in self._connection.events():
            match event:
                case Connected():
                    self._ready.clear()
                    self._new.set()
                case Lost():
                    self._ready.clear()
                case Message(topic=topic) if topic == self._topics.broadcast:
                    self._see_announcement(event)
                case Message(topic=topic) if topic == self._topics.status(COORDINATOR):
                    self._wrong_status |= not self._hooks.is_own_status(event.payload)
                case Message():
                    await self._hooks.take(event)

    async def set_up(self) -> None:
        """Set up every session, for ever.

        Raises:
            ConfigError: The broker does not let us subscribe.
        """
        while True:
            await self._new.wait()
            self._new.clear()
            self._seen_current, announcing = False, self._announcing
            if not await self._subscribe():
                continue
            self._ready.set()
            await self._hooks.connected()
            await asyncio.sleep(LOOK)
            self._looked.set()
            if announcing and not self._seen_current:  # what lay there before our first is for `look`
                self._wrong_announcement = True

    async def _subscribe(self) -> bool:
        """Return whether the subscriptions stand; False if the line went."""
        topics = self._topics
        while self._connection.connected and not self._new.is_set():
            try:
                await self._connection.subscribe(
                    topics.all_updates, topics.broadcast, topics.status(COORDINATOR)
                )
                return not self._new.is_set()
            except NotConnected:
                await asyncio.sleep(RETRY)
            except TransportError as error:
                raise ConfigError(
                    f"the broker does not let the coordinator subscribe: {error}; check its rules"
                ) from None
        return False

    async def mend(self) -> None:
        """Put right what others did to our topics. Called every second, which bounds how often."""
        if self._wrong_status:
            self._wrong_status = False
            await self._hooks.publish_status()
        if self._wrong_announcement:
            self._wrong_announcement = False
            self._hooks.repeat()

    def _see_announcement(self, message: Message) -> None:
        raw = message.payload
        if not self._announcing:
            self._found = raw or self._found
            self._looked.set()
            return
        if self._hooks.is_current(raw):
            # Only what lay there proves that the broker kept it, and with it the chunks of the slots.
            self._seen_current |= message.retain
            return
        if self._hooks.is_own(raw) and not message.retain:
            return
        theirs = self._ours(raw)
        if theirs is not None and theirs.term > self._hooks.term():
            raise StateError(
                f"another coordinator of this federation took over in term {theirs.term}; this one stops"
            )
        self._wrong_announcement = True

    def _ours(self, raw: bytes) -> Announcement | None:
        """Read an announcement under our own key; None if it is none."""
        if not raw:
            return None
        try:
            return announcements.verify(raw, self._public, len(raw))
        except PeerError:
            return None
