"""Who subscribed to what: the table that a broker looks up for each message."""

from antiphon.broker_config.access import matches
from antiphon.simulation.matching import is_wildcard
from antiphon.simulation.session import Session


class Subscriptions:
    """Sessions by filter, in the order in which they subscribed; a session's own filters are its to keep."""

    def __init__(self) -> None:
        """Nobody subscribed to anything."""
        self._exact: dict[str, dict[Session, None]] = {}
        self._wild: dict[str, dict[Session, None]] = {}
        self._known: dict[str, tuple[Session, ...]] = {}  # answers, until somebody comes or goes

    def add(self, session: Session, topic_filter: str) -> None:
        """The session wants what the filter takes."""
        self._known.clear()
        session.filters[topic_filter] = None
        self._table(topic_filter).setdefault(topic_filter, {})[session] = None

    def remove(self, session: Session, topic_filter: str) -> None:
        """The session does not want it any more, if it did."""
        self._known.clear()
        if session.filters.pop(topic_filter, 0) is None:
            table = self._table(topic_filter)
            del table[topic_filter][session]
            if not table[topic_filter]:
                del table[topic_filter]

    def remove_all(self, session: Session) -> None:
        """The session is over."""
        for topic_filter in list(session.filters):
            self.remove(session, topic_filter)

    def takers(self, topic: str) -> tuple[Session, ...]:
        """Return who gets a message on this topic: once for each filter that takes it."""
        known = self._known.get(topic)
        if known is None:
            found = list(self._exact.get(topic, ()))
            for topic_filter, sessions in self._wild.items():
                if matches(topic_filter, topic):
                    found += sessions
            known = self._known[topic] = tuple(found)
        return known

    def _table(self, topic_filter: str) -> dict[str, dict[Session, None]]:
        return self._wild if is_wildcard(topic_filter) else self._exact
