"""Receipts on their way to agents: sealed when they leave, the newest word on each update, in order.

Guaranteed: (term, counter) grows in the order in which the broker gets them; what the broker did not
    acknowledge waits for the next session. Bounded by `Limits.receipts`, and by `SHARE` for one agent, so
    that nobody crowds the others out by asking: beyond either the oldest goes, its agent will ask.
Nothing that calls `Receipts.put` ever waits.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from antiphon.broker_config.connection import Connection
from antiphon.broker_config.topics import Topics
from antiphon.codecs import frames, messages
from antiphon.codecs.errors import NotConnected, TransportError
from antiphon.codecs.frames import Kind
from antiphon.codecs.messages import FINAL, Receipt, ReceiptType, UpdateId
from antiphon.coordinator.keys import Identity, Peer, to_agent

PIPELINE = 32
"""Receipts without PUBACK: enough to fill a line of 100 ms at 300 receipts a second."""

SHARE = 1024
"""Receipts of one agent that wait."""

Key = tuple[str, bytes, int, bytes]

LASTING: frozenset[str] = FINAL | {"received", "wait"}
"""What is still worth saying after a lost line; windows are not, the agent probes."""


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest published version, named in every receipt."""

    term: int
    number: int


def receipt(type: ReceiptType, update: UpdateId | None = None, **more: Any) -> Receipt:
    """Return a receipt; its place in the order is filled in when it leaves. ``more``: fields of `Receipt`."""
    if update is not None:
        more |= {"incarnation": update.incarnation, "sequence": update.sequence}
    return Receipt(type=type, term=0, counter=0, newest_term=0, newest_number=-1, **more)


class Receipts:
    """What is to be said, by (agent, what it is about)."""

    def __init__(
        self,
        identity: Identity,
        run: bytes,
        newest: Callable[[], Newest],
        connection: Connection,
        most: int,
    ) -> None:
        """``newest`` is asked when a receipt leaves; ``most``: how many may wait."""
        self._identity, self._run = identity, run
        self._newest, self._connection, self._most = newest, connection, most
        self._topics = Topics(identity.prefix)
        # With the counter under which a word was sent that did not arrive; infinity before it was.
        self._waiting: OrderedDict[Key, tuple[Peer, Receipt, float]] = OrderedDict()
        self._of: dict[str, OrderedDict[Key, None]] = {}
        self._some = asyncio.Semaphore(0)  # wakes senders, one each
        self._left = asyncio.Event()
        self._counter = 0
        self._flying = 0
        self.sent_bytes = 0
        self.dropped = 0

    def put(self, peer: Peer, word: Receipt) -> None:
        """Say it soon; a later word on the same update takes its place."""
        key = (peer.id, word.incarnation, word.sequence, word.transfer if word.sequence < 0 else b"")
        if key in self._waiting:
            self._pop(key)
        self._keep(key, peer, word, float("inf"))
        if len(self._of[peer.id]) > SHARE:
            self._pop(next(iter(self._of[peer.id])))
            self.dropped += 1
        elif len(self._waiting) > self._most:
            self._pop(next(iter(self._waiting)))
            self.dropped += 1
        self._wake_one()

    def _wake_one(self) -> None:
        if self._some.locked():  # otherwise one is awake already, and they go on while there is anything
            self._some.release()

    def _keep(self, key: Key, peer: Peer, word: Receipt, sent: float) -> None:
        self._waiting[key] = (peer, word, sent)
        self._of.setdefault(peer.id, OrderedDict())[key] = None

    def _pop(self, key: Key) -> tuple[Peer, Receipt, float]:
        mine = self._of[key[0]]
        del mine[key]
        if not mine:
            del self._of[key[0]]
        return self._waiting.pop(key)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def wake(self) -> None:
        """There is a line again."""
        for _ in range(min(len(self._waiting), PIPELINE)):
            self._wake_one()

    async def run(self) -> None:
        """Send what is put, for ever."""
        async with asyncio.TaskGroup() as group:
            for n in range(PIPELINE):
                group.create_task(self._sender(), name=f"receipts-{n}")

    async def _sender(self) -> None:
        """Send one after the other, while there are any and there is a line."""
        while True:
            await self._some.acquire()
            going = True
            while going and self._waiting and self._connection.connected:
                going = await self._send_next()

    async def _send_next(self) -> bool:
        """Send the oldest; returns whether there was a line."""
        key = next(iter(self._waiting))
        peer, word, _ = self._pop(key)
        data, sent = self._seal(peer, word)
        self._flying += 1
        try:
            await self._connection.publish(self._topics.receipts(peer.id), data)
            self.sent_bytes += len(data)
        except NotConnected:
            newer = key in self._waiting and self._waiting[key][2] > sent
            if word.type in LASTING and not newer:
                self._keep(key, peer, word, sent)
            return False
        except TransportError:
            self.dropped += 1
        finally:
            self._flying -= 1
            self._left.set()
        return True

    def _seal(self, peer: Peer, word: Receipt) -> tuple[bytes, int]:
        """Return the frame, and the counter in it."""
        self._counter += 1
        newest = self._newest()
        dated = msgspec.structs.replace(
            word,
            term=newest.term,
            counter=self._counter,
            newest_term=newest.term,
            newest_number=newest.number,
        )
        header = to_agent(self._identity, self._run, peer.id, Kind.RECEIPT)
        return frames.seal_frame(header, peer.receipt, messages.encode(dated)), self._counter

    async def drain(self, timeout: float) -> None:
        """Wait until what is put has left, at most ``timeout`` seconds, or until the line is lost."""
        try:
            async with asyncio.timeout(timeout):
                while (self._waiting or self._flying) and self._connection.connected:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            return
