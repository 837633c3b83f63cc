"""What comes from the broker, handed to whom it concerns. Decides nothing, and never waits.

Guarantees: receipts come from the coordinator and never go back in (term, counter) within a run; retained
ones are dropped; what does not open is counted and dropped.
"""

import logging
from collections.abc import Callable

from antiphon.agents.announcements import Announcements
from antiphon.agents.bell import SESSION
from antiphon.agents.delivery import Delivery
from antiphon.agents.download import Download
from antiphon.agents.groupkeys import KeyRing
from antiphon.agents.line import CONTROL_LIMIT, NO_RUN, Line
from antiphon.agents.outcomes import Outcomes
from antiphon.agents.status import Reporter, read_status
from antiphon.broker_config.connection import Connected, Lost, Message
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs import messages
from antiphon.codecs.errors import PeerError
from antiphon.codecs.frames import Kind
from antiphon.codecs.messages import Receipt

log = logging.getLogger("antiphon.agents")


class Inbox:
    """Reads the connection's events, as long as the agent lives."""

    def __init__(
        self,
        line: Line,
        *,
        announcements: Announcements,
        keys: KeyRing,
        download: Download,
        delivery: Delivery,
        outcomes: Outcomes,
        reporter: Reporter,
    ) -> None:
        """Nothing has come yet."""
        self._line = line
        self._announcements, self._download = announcements, download
        self._delivery, self._outcomes = delivery, outcomes
        self._orders = {
            NO_RUN: (-1, -1)
        }  # (term, counter): of the run believed in, and of all others together
        topics, id = line.topics, line.identity.id
        self._receipts = topics.receipts(id)
        self._takers: dict[str, Callable[[bytes], None]] = {
            topics.broadcast: announcements.take,
            self._receipts: self._receipt,
            topics.keys(id): keys.take,
            topics.status(COORDINATOR): self._coordinator,
            topics.status(id): reporter.take,
        }
        self.dropped = 0
        """Frames on our receipt topic that were not the coordinator's."""

    async def run(self) -> None:
        """Dispatch until the connection is closed.

        Raises:
            ConfigError: The broker refuses this agent for good.
        """
        line = self._line
        async for event in line.connection.events():
            match event:
                case Message():
                    self._message(event)
                case Connected(session):
                    log.debug("session %d with the broker", session)
                    line.session = session
                    line.bell.ring(SESSION)
                case Lost(reason):
                    log.debug("connection lost: %s", reason)
                    line.session = 0
                    line.bell.ring(SESSION)

    def _message(self, message: Message) -> None:
        take = self._takers.get(message.topic)
        if take is None:
            self._download.take(message.topic, message.payload)
        elif not (message.retain and message.topic == self._receipts):
            take(message.payload)

    def _receipt(self, payload: bytes) -> None:
        line = self._line
        try:
            header, plain = line.open(payload, Kind.RECEIPT)
            receipt = messages.decode(plain, Receipt, CONTROL_LIMIT)
        except PeerError as error:
            self.dropped += 1
            log.debug("dropped a receipt: %s", error)
            return
        if not self._in_order(header.run, (receipt.term, receipt.counter)):
            return
        line.heard = line.now
        self._announcements.named(header.run, receipt.newest_term, receipt.newest_number)
        # Of a run that we do not know yet, only its existence counts: its announcement must come first.
        if header.run == line.run or line.run == NO_RUN:
            self._delivery.take(receipt)
            self._outcomes.take(receipt)

    def _in_order(self, run: bytes, order: tuple[int, int]) -> bool:
        """Whether a receipt is newer than those before it.

        A run begins with terms of its own: smaller ones, if the coordinator's clock was ahead in the last.
        """
        own = self._line.run
        if own not in self._orders:
            self._orders = {NO_RUN: self._orders[NO_RUN], own: (-1, -1)}
        which = run if run == own else NO_RUN
        if order <= self._orders[which]:
            return False
        self._orders[which] = order
        return True

    def _coordinator(self, payload: bytes) -> None:
        """The coordinator's status: a hint for how patient to be."""
        state = read_status(payload).get("state")
        if state is None:
            return
        online = state == "online"
        if online == self._line.online:
            return
        self._line.online = online
        if online:
            self._delivery.hurry()
