"""What an agent says at every connect, and what it keeps asking while it is connected.

At each session: subscribe, `hello` until the coordinator answers, `ask` for open outcomes. While connected:
`ask` again every 10 minutes, `absent` when the announcement itself is missing, `frozen` when the broker
serves an old one.
"""

import logging
from dataclasses import dataclass

from antiphon.agents.announcements import Announcements
from antiphon.agents.bell import SESSION
from antiphon.agents.line import NO_RUN, Line
from antiphon.agents.outcomes import Outcomes
from antiphon.agents.pace import backoff
from antiphon.broker_config.topics import COORDINATOR
from antiphon.codecs.errors import PublishRefused, TransportError
from antiphon.codecs.messages import Note, NoteType

log = logging.getLogger("antiphon.agents")


PATIENT = 5
"""Greetings without an answer until a person hears of it: half a minute or so."""


@dataclass(slots=True)
class _Due:
    """When each thing is to be said next (loop time, seconds)."""

    connected: float
    hello: float
    ask: float
    absent: float
    frozen: float
    hellos: int = 0


class Greeting:
    """The polite half of an agent."""

    def __init__(self, line: Line, announcements: Announcements, outcomes: Outcomes) -> None:
        """Nothing said yet."""
        self._line, self._announcements, self._outcomes = line, announcements, outcomes

    async def run(self) -> None:
        """Greet in each session, as long as the agent lives."""
        line = self._line
        while True:
            if line.session == 0 or not line.connection.connected:
                await line.bell.wait(topics=SESSION)
                continue
            try:
                await self._session(line.session)
            except PublishRefused as error:
                log.warning("the broker does not let this agent say or hear what it must: %s", error)
                await line.bell.wait(line.patience, SESSION)
            except TransportError as error:
                log.debug("the session needs another try: %s", error)
                await line.bell.wait(line.settings.timers.rto, SESSION)

    async def _session(self, session: int) -> None:
        line, timers = self._line, self._line.settings.timers
        id, topics = line.identity.id, line.topics
        if line.subscribed != session:
            await line.connection.subscribe(
                topics.broadcast,
                topics.receipts(id),
                topics.keys(id),
                topics.status(COORDINATOR),
                topics.status(id),
            )
            line.subscribed = session
            line.bell.ring(SESSION)
        now = line.now
        due = _Due(now, now, now, now + line.trip.silence, now + timers.frozen)
        while line.session == session:
            await self._say(due)
            heard = line.heard > due.connected
            if line.session != session:  # it changed while something was being said
                return
            times = [due.ask, due.absent, due.frozen, *([] if heard else [due.hello])]
            await line.bell.wait(max(0.05, min(times) - line.now), SESSION)

    async def _say(self, due: _Due) -> None:
        line, timers, now = self._line, self._line.settings.timers, self._line.now
        if line.heard <= due.connected and now >= due.hello:
            # The run we believe in may be over: every other greeting names none.
            run = line.run if due.hellos % 2 == 0 else NO_RUN
            due.hello = now + backoff(line.trip.rto, line.patience, due.hellos, line.environment.rng)
            due.hellos += 1
            if due.hellos == PATIENT:
                log.warning(
                    "the coordinator does not answer: it is not running, or has not admitted this agent"
                )
            await line.note(self._note("hello"), run=run)
        if now >= due.ask:
            due.ask = now + timers.ask
            await self._outcomes.ask()
        if now >= due.absent:
            due.absent = now + timers.absent
            if self._announcements.behind >= line.trip.silence:
                run = line.run if self._announcements.same_run else NO_RUN
                await line.note(self._note("absent"), run=run)
        if now >= due.frozen:
            due.frozen = now + timers.frozen
            if self._announcements.frozen:
                log.warning("the broker serves an old announcement: not training until a newer one comes")
                current = self._announcements.current
                known = (current.term, current.number) if current else (0, -1)
                await line.note(self._note("frozen", *known))

    def _note(self, type: NoteType, term: int = 0, number: int = -1) -> Note:
        line = self._line
        return Note(
            type=type,
            incarnation=line.incarnation,
            counter=line.counter(),
            term=term,
            number=number,
        )
