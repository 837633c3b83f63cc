"""An agent's daily work: see a version, pull it, train on it, put the update into the outbox.

Guarantees: at most one training per announced version, remembered on disk; the trainer gets the last model of
a run that ends; a trainer or a disk that fails makes the agent pause, say so and try again, never end; work
that cannot be stored yet is not done again. What ends it is what a person must change (`ConfigError`).
"""

import logging
from collections.abc import Callable, Mapping
from typing import TypeVar, TypeVarTuple

from antiphon.agents import training
from antiphon.agents.announcements import Announcements
from antiphon.agents.backlog import Backlog
from antiphon.agents.bell import ANNOUNCED, COURSE, OUTBOX
from antiphon.agents.download import Download
from antiphon.agents.line import Line
from antiphon.agents.model import Model
from antiphon.agents.pace import backoff
from antiphon.agents.status import Counters, Reporter
from antiphon.agents.trainer import Trainer, TrainingContext, TrainingResult
from antiphon.agents.training import Trained
from antiphon.codecs.errors import PeerError, StateError, TrainerError
from antiphon.codecs.messages import Announcement
from antiphon.codecs.schema import Schema

log = logging.getLogger("antiphon.agents")

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Work:
    """The training half of an agent."""

    def __init__(
        self,
        line: Line,
        trainer: Trainer,
        *,
        announcements: Announcements,
        download: Download,
        backlog: Backlog,
        counters: Counters,
        reporter: Reporter,
    ) -> None:
        """Nothing done yet."""
        self._line, self._trainer = line, trainer
        self._announcements, self._download = announcements, download
        self._backlog, self._counters, self._reporter = backlog, counters, reporter
        self._rng = line.environment.rng.spawn(1)[0]  # the trainer's own, for all its trainings
        self._own: Schema | None = None
        self._agreed = b""  # digest of the federation's schema that ours was compared with
        self._unusable = (b"", b"")  # (publication, digest) of a version that cannot be read
        self._handed = b""  # digest of the last model of a run, once the trainer has it
        self._failures, self._until, self._trouble = 0, float("-inf"), ""
        self._next = float("-inf")  # before this no training begins
        self._stopping = False
        self.busy = False
        """Whether the trainer's code is running; it may do so after everything else has ended."""

    def stop(self) -> None:
        """Tell a trainer that looks at ``context.stopping`` to return early."""
        self._stopping = True

    def finished(self, version: Announcement) -> bool:
        """Whether the trainer has the model of ``version``, the last of its run, or will never have it."""
        return (
            version.number < 0
            or version.digest == self._handed
            or (version.transfer, version.digest) == self._unusable
        )

    async def run(self) -> None:
        """Work as long as the agent lives.

        Raises:
            ConfigError: The trainer's model is not the federation's, or a person must change something else.
        """
        while True:
            version = await self._announcements.refresh()
            task = await self._due(version)
            if version is None or not task:
                await self._line.bell.wait(self._wait(), ANNOUNCED | COURSE | OUTBOX)
                continue
            try:
                match task:
                    case "initial":
                        await self._initialise(version)
                    case "finish":
                        await self._finish(version)
                    case _:
                        await self._round(version)
                self._failures = 0
            except TrainerError as error:
                self._pause("trainer failed", str(error))
            except StateError as error:
                self._pause("disk trouble", str(error))
            except PeerError as error:
                self._unusable = (version.transfer, version.digest)
                log.error("version %d cannot be used: %s", version.number, error)

    def _wait(self) -> float | None:
        """Return after how many seconds to look again although nothing has rung."""
        if self._trouble:
            return self._line.settings.timers.retry
        seconds = self._next - self._line.now
        return seconds if seconds > 0 else None

    async def _due(self, version: Announcement | None) -> str:
        """Return what to do now: "train", "initial", "finish" or nothing; says so on the status topic."""
        task, trouble = "", ""
        if version is None:
            pass
        elif version.state == "over":
            task = "" if self.finished(version) else "finish"
        elif self._announcements.frozen:
            trouble = "the broker serves an old announcement"
        elif self._line.now < self._until:
            trouble = self._trouble
        elif self._announcements.trained(version) or (version.transfer, version.digest) == self._unusable:
            pass
        elif version.number >= 0:
            task = "train" if self._line.now >= self._next else ""
        elif version.wanted == "initial" and self._line.settings.may_initialise:
            task = "initial"
        if version is not None and task in ("train", "initial"):
            trouble = await self._backlog.full(self._own, version)
            task = "" if trouble else task
        self._tell(task, trouble)
        return task

    def _tell(self, task: str, trouble: str) -> None:
        if trouble and trouble != self._trouble and self._line.now >= self._until:
            log.warning("training waits: %s", trouble)
        self._trouble = trouble
        if trouble:
            self._reporter.set("paused", trouble.partition(":")[0])
        elif not task:
            self._reporter.set("waiting")

    async def _round(self, version: Announcement) -> None:
        """Pull, train, store."""
        self._reporter.set("pulling")
        model = await self._download.pull(version)
        if model is None:
            return
        log.info("version %d pulled", version.number)
        new = self._own is None
        await self._agree(model)
        if new and await self._backlog.full(self._own, version):
            return  # how large an update is was not known before; the next look says what is wrong
        self._reporter.set("training")
        started = self._line.now
        self._next = started + self._line.settings.interval
        trained = await self._in_trainer(training.train, self._trainer, model, self._context(model))
        if self._stopping:  # the run is over: nobody waits for what came of it
            return
        seconds = self._line.now - started
        log.info("trained on version %d in %.1f s: %s", version.number, seconds, _words(trained.metrics))
        self._counters.version_trained = version.number
        self._counters.train_seconds += seconds
        await self._store(version, model.schema, trained, seconds)

    async def _finish(self, version: Announcement) -> None:
        """Give the trainer the run's last model: its owner may want to keep it."""
        self._reporter.set("pulling")
        model = await self._download.pull(version)
        if model is None:
            return
        self._handed = version.digest  # once, whatever the trainer makes of it
        await self._agree(model)
        try:
            metrics = await self._in_trainer(training.hand_over, self._trainer, model)
            log.info("the trainer has version %d, the run's last: %s", version.number, _words(metrics))
        except TrainerError as error:
            log.error("the trainer did not take version %d, the run's last: %s", version.number, error)
        self._line.bell.ring(COURSE)

    async def _initialise(self, version: Announcement) -> None:
        """Offer the trainer's own model as version 0."""
        own, vector, exact = await self._in_trainer(training.initial, self._trainer)
        log.info("offering the trainer's own model as the first version")
        trained = Trained(vector, exact, TrainingResult(examples=0), {})
        await self._store(version, own, trained, 0.0)

    def _context(self, model: Model) -> TrainingContext:
        return TrainingContext(
            version=model.version.number,
            hints=dict(model.version.hints),
            rng=self._rng,
            stopping=lambda: self._stopping,
        )

    async def _agree(self, model: Model) -> None:
        if self._own is None:
            self._own = await self._in_trainer(training.own_schema, self._trainer)
        if self._agreed != model.schema.digest:
            training.check_same(self._own, model.schema)
            self._agreed = model.schema.digest

    async def _store(self, version: Announcement, schema: Schema, trained: Trained, seconds: float) -> None:
        """StateDatabase an update; while the disk is full it stays in memory: it may be hours of work."""
        while True:
            try:
                await self._backlog.put(version, schema, trained, seconds)
                return
            except StateError as error:
                self._pause("disk trouble", str(error))
            while self._line.now < self._until:
                await self._line.bell.wait(self._until - self._line.now, COURSE)
                now = self._announcements.current
                if self._stopping or now is None or now.run != version.run or now.state == "over":
                    return

    async def _in_trainer(self, function: Callable[[*Ts], T], *arguments: *Ts) -> T:
        def job() -> T:
            self.busy = True
            try:
                return function(*arguments)
            finally:
                self.busy = False

        return await self._line.environment.run(job)

    def _pause(self, trouble: str, reason: str) -> None:
        line, timers = self._line, self._line.settings.timers
        seconds = backoff(timers.retry, timers.longest_retry, self._failures, line.environment.rng)
        self._failures += 1
        self._until, self._trouble = line.now + seconds, trouble
        log.error("%s: %s; trying again in %.0f s", trouble, reason, seconds)
        self._reporter.set("paused", trouble)


def _words(metrics: Mapping[str, float]) -> str:
    """Return the first few metrics for a log line."""
    numbers = ", ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items())[:6])
    return numbers or "no metrics"
