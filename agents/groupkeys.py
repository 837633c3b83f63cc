"""The group keys under which model versions are sealed, as the coordinator sent them to this agent."""

import logging
from collections.abc import Awaitable, Callable

from antiphon.agents.bell import ANNOUNCED, SESSION
from antiphon.agents.line import CONTROL_LIMIT, Line
from antiphon.agents.pace import backoff
from antiphon.codecs import messages
from antiphon.codecs.errors import PeerError, TransportError
from antiphon.codecs.frames import Kind
from antiphon.codecs.messages import GroupKeys, Note
from antiphon.codecs.sealing import SymmetricKey

log = logging.getLogger("antiphon.agents")


class KeyRing:
    """The keys of the newest message; older messages are ignored."""

    def __init__(self, line: Line) -> None:
        """No keys yet."""
        self._line = line
        self._keys: dict[bytes, SymmetricKey] = {}
        self._order = (-1, -1)

    def take(self, payload: bytes) -> None:
        """Take a message from the agent's key topic in; what is not the coordinator's is dropped."""
        if not payload:
            return
        try:
            _, plain = self._line.open(payload, Kind.GROUP_KEYS)
            keys = messages.decode(plain, GroupKeys, CONTROL_LIMIT)
        except PeerError as error:
            log.warning("dropped a group key message: %s", error)
            return
        if (keys.term, keys.counter) < self._order:
            return
        self._order = (keys.term, keys.counter)
        self._keys = {key.id: SymmetricKey(key.key) for key in keys.keys}
        self._line.bell.ring(ANNOUNCED)

    async def get(self, id: bytes, wanted: Callable[[], Awaitable[bool]]) -> SymmetricKey | None:
        """Return a key, asking for it until it comes; None once nobody wants it any more.

        A key that was changed before this agent got it never comes.
        """
        timers = self._line.settings.timers
        tries, due = 0, self._line.now + self._line.trip.silence
        while await wanted():
            if (key := self._keys.get(id)) is not None:
                return key
            if self._line.ready and self._line.now >= due:
                due = self._line.now + backoff(
                    timers.key, timers.longest_key, tries, self._line.environment.rng
                )
                tries += 1
                await self._ask()
            else:
                await self._line.bell.wait(max(0.0, due - self._line.now) or None, ANNOUNCED | SESSION)
        return None

    async def _ask(self) -> None:
        log.info("asking the coordinator for the group key")
        try:
            await self._line.note(
                Note(type="need-key", incarnation=self._line.incarnation, counter=self._line.counter())
            )
        except TransportError as error:
            log.debug("need-key was not sent: %s", error)
