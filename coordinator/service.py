"""The coordinator: one service that owns the model, merges answers as they come, and publishes versions.

Guaranteed: nothing that a peer or the broker sends ends it; it ends when `Coordinator.stop` is called, when
    an end condition is met, or with a ConfigError that says what a person must do. State on disk across
    restarts comes with a later version: a new process begins a new run.
"""

import asyncio
import shutil
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.broker_config.connection import Connect, Connection, Will
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.folders import RosterEntry
from antiphon.broker_config.topics import COORDINATOR, Topics
from antiphon.codecs import schema
from antiphon.codecs.errors import AntiphonError, ConfigError, StateError
from antiphon.codecs.schema import model_digest
from antiphon.coordinator import reporting, upkeep
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.broadcast import Broadcast
from antiphon.coordinator.ending import Report, mean_metric, why_over
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.ledger import Ledger
from antiphon.coordinator.models import Model
from antiphon.coordinator.parts import Parts
from antiphon.coordinator.settings import CoordinatorSettings

GOODBYE = 2.0
"""Seconds in which the last receipts and the status must leave."""

Listener = Callable[[dict[str, Any]], None]
Work = tuple[str, Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to.

    Attributes:
        reason: Why it ended, in words.
        run: Its id, 16 bytes.
        version: The newest version's number; -1 if there was none.
        digest: Its model digest, 32 bytes; empty if there was none.
        applied, rejected: Updates settled so.
        model: The file that holds the newest version.
    """

    reason: str
    run: bytes
    version: int
    digest: bytes
    applied: int
    rejected: int
    model: Path


class Coordinator:
    """A federation's coordinator; `run` it once."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        identity: Identity,
        roster: Callable[[], Mapping[str, RosterEntry]],
        initial: Mapping[str, Any] | None,
        folder: Path,
        connect: Connect,
        environment: Environment,
        *,
        take_over: bool = False,
        listen: Listener | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            settings: What the operator set.
            identity: Name, keys and prefix.
            roster: Reads who is admitted; called every 2 s, off the event loop.
            initial: Parameters of version 0 by name; None: wait for an agent that may bring them.
            folder: The federation's; everything is kept in its ``state/``.
            connect: Makes the connection.
            environment: Wall time, ids, chance and threads.
            take_over: Start although another coordinator with these keys seems to be at work.
            listen: Called with each event, for logs.

        Raises:
            ConfigError: The settings contradict each other, or name no rule that runs.
        """
        settings.check()
        self._rule = build_rule(settings.preset, settings.aggregation)
        self._settings, self._identity, self._roster = settings, identity, roster
        self._initial, self._folder = initial, folder / "state"
        self._first: Model | None = None
        self._connect, self._environment = connect, environment
        self._take_over, self._listen = take_over, listen
        self._finished = asyncio.Event()
        self._reason = ""
        self._reports: Mapping[str, Report] = {}
        self._broadcast: Broadcast | None = None

    def stop(self) -> None:
        """End the run soon: nothing new is announced, nobody is left without a word."""
        self._finish("it was stopped")

    @property
    def model(self) -> Model | None:
        """The newest version that was published, None before the first; for looking, not for changing."""
        return self._broadcast.model if self._broadcast is not None else None

    def said_by(self, agents: Collection[str]) -> dict[str, float]:
        """Return the means of the metrics that these agents' latest updates brought, weighted by examples.

        For the operator's eyes: they travelled sealed.
        """
        reports = {agent: self._reports[agent] for agent in agents if agent in self._reports}
        names = {name for report in reports.values() for name in report.metrics}
        return {name: mean_metric(name, reports)[0] for name in sorted(names)}

    def _finish(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._finished.set()

    async def run(self) -> Summary:
        """Serve until the run is over or stopped. A first version that is none is refused before all else.

        Raises:
            StateError: The state folder is in use, damaged or full; or another coordinator took over.
            ConfigError: The broker refuses us, or the first version cannot be a model.
        """
        environment, limits = self._environment, self._settings.limits
        initial, self._initial = self._initial, None
        if initial is not None:
            self._first = await environment.run(_first_model, initial, self._settings.roles)
        del initial
        sync = self._settings.durability == "fsync"
        ledger = Ledger(self._folder, outcomes=limits.outcomes, incarnations=limits.incarnations, sync=sync)
        await environment.run(ledger.begin, environment.now())
        run, session = environment.token(16), environment.token(8).hex()

        def status(state: str, **more: Any) -> bytes:
            federation = self._identity.federation
            return reporting.status(state, federation, run, session, environment.now(), **more)

        topic = Topics(self._identity.prefix).status(COORDINATOR)
        try:
            async with self._connect(COORDINATOR, Will(topic, status("lost"))) as connection:
                return await self._serve(ledger, run, connection, status)
        finally:
            ledger.close()

    async def _serve(
        self, ledger: Ledger, run: bytes, connection: Connection, status: Callable[..., bytes]
    ) -> Summary:
        parts = Parts(
            self._settings,
            self._rule,
            self._identity,
            ledger,
            run,
            self._folder,
            connection,
            self._environment,
            status,
        )
        self._reports, self._broadcast = parts.reports, parts.broadcast
        if self._listen is not None:
            parts.events.listen(self._listen)
        await self._environment.run(_clean, self._folder)
        await parts.broadcast.load()
        await upkeep.read_roster(parts, self._roster)
        failure: AntiphonError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                versions = group.create_task(self._versions(parts), name="versions")
                tasks = [group.create_task(work, name=name) for name, work in self._work(parts, versions)]
                await self._finished.wait()
                await self._end_versions(parts, versions)
                await self._say_goodbye(parts)
                for task in tasks:
                    task.cancel()
        except* AntiphonError as errors:
            failure = _first(errors)
            parts.events.add("stopped", reason="error", detail=str(failure)[:300])
            await self._sign_off(parts, "offline")
        if failure is not None:  # raised up there, Python 3.11.2 would make it a group
            raise failure
        return self._summary(parts)

    def _work(self, parts: Parts, versions: asyncio.Task[None]) -> list[Work]:
        """Everything that goes on at the same time, by name."""
        return [
            ("pump", parts.session.pump()),
            ("sessions", parts.session.set_up()),
            ("check-0", upkeep.check_updates(parts)),
            ("check-1", upkeep.check_updates(parts)),
            ("commits", parts.commits.run()),
            ("receipts", parts.receipts.run()),
            ("announcement", parts.broadcast.run()),
            ("outgoing", parts.outgoing.run()),
            ("roster", upkeep.keep_roster(parts, self._roster)),
            ("order", upkeep.keep_order(parts)),
            ("events", parts.events.run()),
            ("metrics", upkeep.send_metrics(parts)),
            ("ending", self._until_over(parts, versions)),
        ]

    async def _versions(self, parts: Parts) -> None:
        """Publish the first version, then merge for ever."""
        seen = await parts.session.look(take_over=self._take_over)
        if seen:
            await self._environment.run(parts.ledger.outrank, seen)
        model, self._first = self._first, None
        if model is None:
            await parts.broadcast.say()
            parts.events.add("started", detail="waits for an agent to bring the first version")
        else:
            parts.events.add("started", version=0, digest=model.digest.hex()[:16])
            await parts.flushing.start(model)
            del model
        await parts.flushing.run()

    async def _until_over(self, parts: Parts, versions: asyncio.Task[None]) -> None:
        """Wait for an end condition; then flush or reject what is left, and say that the run is over."""
        flushing, end = parts.flushing, self._settings.end
        while not (why := why_over(end, parts.course())):
            await flushing.progress(1.0)
        parts.over = True
        flushing.close()
        await versions
        await parts.intake.complete.join()
        await parts.commits.barrier()
        if not end.max_versions or parts.broadcast.number < end.max_versions:
            await flushing.flush()
        parts.close("the run has ended")
        parts.broadcast.state = "over"
        parts.events.add("over", version=parts.broadcast.number, detail=why)
        await parts.broadcast.say()
        parts.status.state = "over"
        await parts.status.publish()
        await asyncio.sleep(end.linger)
        self._finish(why)

    async def _end_versions(self, parts: Parts, versions: asyncio.Task[None]) -> None:
        """Let a version that is being made be published if that takes no time; otherwise leave it."""
        parts.flushing.close()
        try:
            async with asyncio.timeout(GOODBYE if parts.connection.connected else 0):
                await versions
        except TimeoutError:
            return  # the task was cancelled with the wait

    async def _say_goodbye(self, parts: Parts) -> None:
        """Leave nobody without a word."""
        stopped = not parts.over
        if not parts.closed:
            parts.close("the coordinator was stopped")
        if stopped:
            parts.events.add("stopped", version=parts.broadcast.number, detail=self._reason)
        await parts.receipts.drain(GOODBYE)
        await self._sign_off(parts, parts.status.state if parts.status.state == "over" else "offline")

    async def _sign_off(self, parts: Parts, state: str) -> None:
        parts.status.state = state
        try:
            async with asyncio.timeout(GOODBYE):
                await parts.events.flush()
                await upkeep.publish_metrics(parts, upkeep.metrics_now(parts))
                await parts.status.publish()
        except TimeoutError:
            return

    def _summary(self, parts: Parts) -> Summary:
        model = parts.broadcast.model
        return Summary(
            reason=self._reason,
            run=parts.run,
            version=parts.broadcast.number,
            digest=model.digest if model else b"",
            applied=parts.applied,
            rejected=parts.rejected,
            model=parts.ledger.model_path,
        )


def _first(errors: BaseExceptionGroup[AntiphonError]) -> AntiphonError:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _first_model(initial: Mapping[str, Any], roles: Mapping[str, str]) -> Model:
    """Pack the operator's parameters.

    Raises:
        ConfigError: A tensor cannot be part of a model.
    """
    found = schema.infer(initial, roles or None)
    vector, exact = found.pack(initial)
    for name in sorted(initial):
        if not np.isfinite(initial[name]).all():
            raise ConfigError(
                f"tensor {name!r} of the first version holds a NaN or an infinity: no training mends that, "
                "give another first version"
            )
    return Model(found, vector, exact, 0, model_digest(found, vector, exact))


def _clean(folder: Path) -> None:
    """Make the spool anew: what earlier runs left there belongs to no run any more."""
    for name in ("spool", "bases"):
        shutil.rmtree(folder / name, ignore_errors=True)
        try:
            (folder / name).mkdir(parents=True)
        except OSError as error:
            raise StateError(f"cannot empty {folder / name}: {error.strerror}") from None
