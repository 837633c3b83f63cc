"""The agent: connects, follows announcements, pulls, trains, and delivers until the run is over.

This module only wires the parts together and decides when it is over. The story is told by `Work` (pull,
train, store) and `Delivery` (offer, send); `Inbox` hands them what comes, `Greeting` keeps in touch,
`Outcomes` settles what was sent.

Guarantees: `run` ends by `stop`, by the end of the run, or by an error that a person must act upon; it does
not wait for a trainer that hangs. Whatever happens, a stored update is still in the outbox afterwards.
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from antiphon.agents.announcements import GLANCE, Announcements
from antiphon.agents.backlog import Backlog
from antiphon.agents.bell import COURSE, OUTBOX
from antiphon.agents.delivery import Delivery
from antiphon.agents.download import Download
from antiphon.agents.greeting import Greeting
from antiphon.agents.groupkeys import KeyRing
from antiphon.agents.inbox import Inbox
from antiphon.agents.line import Line
from antiphon.agents.loading import check_trainer
from antiphon.agents.outbox import Outbox
from antiphon.agents.outcomes import Outcomes
from antiphon.agents.pace import backoff
from antiphon.agents.settings import AgentIdentity, AgentSettings
from antiphon.agents.status import Counters, Reporter, status
from antiphon.agents.trainer import Trainer
from antiphon.agents.work import Work
from antiphon.broker_config.connection import Connect, Will
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.topics import Topics, check_id
from antiphon.codecs.errors import AntiphonError, TransportError
from antiphon.codecs.messages import Announcement

log = logging.getLogger("antiphon.agents")

GOODBYE = 3.0
"""Seconds that a clean stop may wait for the broker."""


class Agent:
    """One agent of one federation; `run` it once.

    Args:
        settings: How it behaves.
        identity: Who it is.
        trainer: What trains.
        folder: The agent's folder; ``state.db`` and ``outbox/`` are kept there.
        connect: Makes its connection.
        environment: Time, ids, chance, threads.

    Raises:
        ConfigError: The id is not one, or the trainer lacks a method.
    """

    def __init__(
        self,
        settings: AgentSettings,
        identity: AgentIdentity,
        trainer: Trainer,
        folder: Path,
        connect: Connect,
        environment: Environment,
    ) -> None:
        """Nothing happens before `run`."""
        check_id(identity.id)
        self._settings, self._identity = settings, identity
        self._trainer = check_trainer("the trainer", trainer)
        self._connect, self._environment = connect, environment
        self.counters = Counters()
        """What it has done so far."""
        self._outbox = Outbox(
            folder,
            environment.disk,
            federation=identity.federation,
            agent=identity.id,
            limit=settings.limits.outbox,
            spare=settings.limits.spare,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._work: Work | None = None

    @property
    def training(self) -> bool:
        """Whether the trainer's code is running, perhaps still after `run` has returned."""
        return self._work is not None and self._work.busy

    def stop(self) -> None:
        """Make `run` return soon, from any thread; does not wait for the trainer."""
        if self._work is not None:
            self._work.stop()
        if self._loop is None:
            self._ended.set()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ended.set)

    async def run(self) -> None:
        """Take part until the run is over and every update has its outcome, or until `stop`.

        Raises:
            ConfigError: A person must change something: the trainer's model, the admission, the outbox.
        """
        self._loop = asyncio.get_running_loop()
        try:
            if await self._loaded():
                await self._connected()
        finally:
            await self._environment.run(self._outbox.close)

    async def _loaded(self) -> bool:
        """Open the outbox; while the disk is full, try again. False: the agent was stopped before that."""
        timers, rng = self._settings.timers, self._environment.rng
        tries = 0
        while not self._ended.is_set():
            try:
                for complaint in await self._environment.run(self._outbox.load):
                    log.warning("%s", complaint)
                return True
            except OSError as error:
                seconds = backoff(timers.retry, timers.longest_retry, tries, rng)
                log.error("cannot open the outbox: %s; trying again in %.0f s", error, seconds)
            tries += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._ended.wait()
        return False

    async def _connected(self) -> None:
        """Take part over one connection, which lives as long as the agent."""
        identity = self._identity
        session = self._environment.token(8).hex()
        lost = status(identity.id, identity.federation, session, "lost", self._environment.now())
        will = Will(Topics(identity.prefix).status(identity.id), lost)
        async with self._connect(identity.id, will) as connection:
            line = Line(self._settings, identity, connection, self._environment)
            reporter = Reporter(line, self.counters, lambda: len(self._outbox.entries), session)
            try:
                await self._take_part(line, reporter)
            except BaseExceptionGroup as group:
                raise _first(group) from None
            finally:
                if self._work is not None:
                    self._work.stop()
                await _goodbye(line, reporter)

    async def _take_part(self, line: Line, reporter: Reporter) -> None:
        announcements = Announcements(line, self._outbox.mark)
        keys = KeyRing(line)
        download = Download(line, announcements, keys)
        delivery = Delivery(line, self._outbox, announcements)
        outcomes = Outcomes(line, self._outbox, self.counters)
        announcements.renewed = outcomes.renewed
        inbox = Inbox(
            line,
            announcements=announcements,
            keys=keys,
            download=download,
            delivery=delivery,
            outcomes=outcomes,
            reporter=reporter,
        )
        self._work = Work(
            line,
            self._trainer,
            announcements=announcements,
            download=download,
            backlog=Backlog(
                line, self._outbox, outcomes, announcements, self.counters, lambda: delivery.under_way
            ),
            counters=self.counters,
            reporter=reporter,
        )
        reporter.sending = lambda: delivery.sending
        parts: dict[str, Coroutine[Any, Any, None]] = {
            "inbox": inbox.run(),
            "greeting": Greeting(line, announcements, outcomes).run(),
            "outcomes": outcomes.run(),
            "delivery": delivery.run(),
            "work": self._work.run(),
            "reporter": reporter.run(),
            "course": self._follow(line, announcements, outcomes, download, self._work),
        }
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(part, name=f"{self._identity.id} {name}") for name, part in parts.items()
            ]
            await self._ended.wait()
            for task in tasks:
                task.cancel()

    async def _follow(
        self, line: Line, announcements: Announcements, outcomes: Outcomes, download: Download, work: Work
    ) -> None:
        """Follow the run: drop what belongs to earlier ones, and end with it."""
        while True:
            version = await announcements.refresh()
            if version is not None:
                over = version.state == "over"
                await outcomes.drop(version.run, pending=over)
                if over and not self._settings.stay:
                    work.stop()
                    await self._settle(line, version, outcomes, download, work)
                    self._ended.set()
            await line.bell.wait(topics=COURSE)
            if self.training:
                await asyncio.sleep(GLANCE)

    async def _settle(
        self, line: Line, version: Announcement, outcomes: Outcomes, download: Download, work: Work
    ) -> None:
        """The run is over: wait a little for the outcome of what was received, and for its last model."""
        log.info("the run is over at version %d", version.number)
        over, patience = line.now, self._settings.timers.settle

        def unsettled() -> bool:
            return bool(self._outbox.entries) or not work.finished(version)

        while unsettled() and line.now < max(over, download.heard) + patience:
            again = line.now + line.trip.rto
            try:
                await outcomes.ask()
            except TransportError as error:
                log.debug("ask was not sent: %s", error)
            while True:
                await outcomes.drop(version.run, pending=True)  # it was on its way to the disk at the end
                if not unsettled() or line.now >= again:
                    break
                await line.bell.wait(again - line.now, OUTBOX | COURSE)
        if self._outbox.entries:
            log.warning("%d updates have no outcome", len(self._outbox.entries))
        if not work.finished(version):
            log.warning("the trainer did not get version %d, the run's last, in time", version.number)


async def _goodbye(line: Line, reporter: Reporter) -> None:
    """Tell monitors that this is on purpose; nobody waits long for a broker that does not answer."""
    if not line.ready:
        return
    try:
        async with asyncio.timeout(GOODBYE):
            await reporter.goodbye()
    except (TransportError, TimeoutError) as error:
        log.debug("no goodbye: %s", error)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that ended the agent, out of the task group's parcel."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            error = _first(error)  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(error, AntiphonError):
            return error
    return group.exceptions[0]
