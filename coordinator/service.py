"""The coordinator: one service that owns the model, merges answers as they come, and publishes versions.

Guaranteed: nothing that a peer or the broker sends ends it; it ends when `Coordinator.stop` is called, when
    an end condition is met, or with an error that says what a person must do. A new process goes on where the
    last one ended, however that ended: same run, same version, and every update that was received waits.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.broker_config.connection import Connect, Connection, Will
from antiphon.broker_config.environment import Environment
from antiphon.broker_config.folders import RosterEntry
from antiphon.broker_config.topics import COORDINATOR, Topics
from antiphon.codecs.errors import AntiphonError, StateError
from antiphon.codecs.messages import UpdateId
from antiphon.coordinator import reporting, upkeep
from antiphon.coordinator import state_folder as state
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.broadcast import Broadcast
from antiphon.coordinator.ending import Report, mean_metric, why_over
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.ledger.ledger import Ledger
from antiphon.coordinator.ledger.records import PutState, Recovered
from antiphon.coordinator.models import Model
from antiphon.coordinator.parts import Parts
from antiphon.coordinator.settings import CoordinatorSettings
from antiphon.coordinator.steady import Steady

GOODBYE = 2.0
"""Seconds in which the last receipts and the status must leave."""

Initial = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
Listener = Callable[[dict[str, Any]], None]
Batch = Sequence[tuple[str, UpdateId]]
Work = tuple[str, Coroutine[Any, Any, None]]

ANOTHER_RUN = "`antiphon coordinator FOLDER --new-run` begins another run"


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run came to.

    Attributes:
        reason: Why it ended, in words.
        run: Its id, 16 bytes.
        version: The newest version's number; -1 if there was none.
        digest: Its model digest, 32 bytes; empty if there was none.
        applied, rejected: Updates of the run settled so, by any process.
        model: The file that holds the newest version; None if there is none, or no room to write it.
    """

    reason: str
    run: bytes
    version: int
    digest: bytes
    applied: int
    rejected: int
    model: Path | None


class Coordinator:
    """A federation's coordinator; `run` it once."""

    def __init__(
        self,
        settings: CoordinatorSettings,
        identity: Identity,
        roster: Callable[[], Mapping[str, RosterEntry]],
        initial: Initial | None,
        folder: Path,
        connect: Connect,
        environment: Environment,
        *,
        take_over: bool = False,
        new_run: bool = False,
        insist: bool = False,
        listen: Listener | None = None,
    ) -> None:
        """Nothing is opened yet.

        Args:
            settings: What the operator set.
            identity: Name, keys and prefix.
            roster: Reads who is admitted; called every 2 s, off the event loop.
            initial: Parameters of version 0 by name, or what reads them, for a run that has none yet; None:
                wait for an agent that may bring them.
            folder: The federation's; everything is kept in its ``state/``.
            connect: Makes the connection.
            environment: Wall time, ids, chance and threads.
            take_over: Start although another coordinator with these keys seems to be at work.
            new_run: Put the run that is there aside, and begin another.
            insist: Refuse to go on with a run that has a version, because ``initial`` was asked for.
            listen: Called with each event, for logs.

        Raises:
            ConfigError: The settings contradict each other, or name no rule that runs.
        """
        settings.check()
        self._rule = build_rule(settings.preset, settings.aggregation)
        self._settings, self._identity, self._roster = settings, identity, roster
        self._initial, self._folder = initial, folder / "state"
        self._first: Model | None = None
        self._found: Recovered | None = None
        self._connect, self._environment = connect, environment
        self._take_over, self._listen = take_over, listen
        self._new_run, self._insist = new_run, insist
        self._begun = asyncio.Event()
        self._finished = asyncio.Event()
        self._reason = ""
        self._model_written = False
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
            StateError: The state folder is in use, foreign, damaged or full; or another coordinator is at
                work, or took over.
            ConfigError: The broker refuses us, the first version cannot be a model, or there is a version
                although a first one was insisted on.
        """
        environment = self._environment
        steady = Steady(environment.run)
        ledger = state.make_ledger(self._settings, self._rule, self._folder, environment.disk)
        if self._new_run or await environment.run(state.is_empty, self._folder, environment.disk):
            await self._pack_first()
        try:
            found = await steady(state.begin, ledger, self._identity, environment, self._new_run)
            if found.version is None:
                await self._pack_first()
            elif self._insist:
                raise state.refuse_first(found, self._folder)
            self._initial = None
            run, session = found.run, environment.token(8).hex()
            # Nobody else holds it: the version in it would stay in memory when newer ones have replaced it.
            self._found = found
            del found

            def status(word: str, **more: Any) -> bytes:
                federation = self._identity.federation
                return reporting.status(word, federation, run, session, environment.now(), **more)

            topic = Topics(self._identity.prefix).status(COORDINATOR)
            async with self._connect(COORDINATOR, Will(topic, status("lost"))) as connection:
                return await self._serve(ledger, steady, connection, status)
        finally:
            await steady.settled()
            await environment.run(ledger.close)

    async def _pack_first(self) -> None:
        initial, self._initial = self._initial, None
        if initial is not None:
            self._first = await self._environment.run(state.first_model, initial, self._settings.roles)

    async def _serve(
        self,
        ledger: Ledger,
        steady: Steady,
        connection: Connection,
        status: Callable[..., bytes],
    ) -> Summary:
        found, self._found = self._found, None
        assert found is not None  # a programming error: `run` has opened the ledger
        parts = Parts(
            self._settings,
            self._rule,
            self._identity,
            ledger,
            found,
            self._folder,
            connection,
            self._environment,
            steady,
            status,
        )
        self._reports, self._broadcast = parts.reports, parts.broadcast
        if self._listen is not None:
            parts.events.listen(self._listen)
        await upkeep.read_roster(parts, self._roster)
        await parts.recover(found)
        newest = found.version.batch if found.version else ()
        del found
        upkeep.turn_keys(parts)
        failure: AntiphonError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                versions = group.create_task(self._versions(parts, newest), name="versions")
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
        finally:
            await parts.flushing.leave(0.0)
        if failure is not None:  # raised up there, Python 3.11.2 would make it a group
            raise failure
        return self._summary(parts)

    def _work(self, parts: Parts, versions: asyncio.Task[None]) -> list[Work]:
        """Everything that goes on at the same time, by name."""
        return [
            ("commits", parts.commits.run()),
            ("pump", parts.session.pump()),
            ("sessions", parts.session.set_up()),
            ("restored", parts.intake.finish_restored()),
            ("check-0", upkeep.check_updates(parts)),
            ("check-1", upkeep.check_updates(parts)),
            ("receipts", parts.receipts.run()),
            ("announcement", parts.broadcast.run()),
            ("outgoing", parts.outgoing.run()),
            ("roster", upkeep.keep_roster(parts, self._roster)),
            ("order", upkeep.keep_order(parts)),
            ("events", parts.events.run()),
            ("metrics", upkeep.send_metrics(parts)),
            ("ending", self._until_over(parts, versions)),
        ]

    async def _versions(self, parts: Parts, newest: Batch) -> None:
        """Publish the first version, or again the newest, which merged ``newest``; then merge for ever.

        Raises:
            StateError: Another coordinator is at work, or the disk is damaged.
            ConfigError: The broker refuses us.
        """
        seen = await parts.session.look(take_over=self._take_over)
        await parts.outrank(seen.term)
        await parts.commits.barrier()  # keys are on the disk before anybody uses them
        model, self._first = self._first, None
        if parts.flushing.model is not None:
            await self._resume(parts, newest, seen.publication)
        elif model is None:
            await parts.broadcast.say()
            parts.events.add("started", detail="waits for an agent to bring the first version")
        else:
            parts.events.add("started", version=0, digest=model.digest.hex()[:16])
            await parts.flushing.start(model)
        del model
        self._begun.set()
        if not parts.over:
            await parts.flushing.run()

    async def _resume(self, parts: Parts, newest: Batch, shown: bytes) -> None:
        model = parts.flushing.model
        assert model is not None  # a programming error: whoever calls has looked
        waiting = len(parts.buffer)
        parts.events.add(
            "recovered",
            version=model.number,
            digest=model.digest.hex()[:16],
            detail=f"version {model.number}, {waiting} update{'s'[: waiting != 1]} wait{'s'[: waiting == 1]}",
        )
        await parts.flushing.resume(shown)
        parts.tell_again(newest)

    async def _until_over(self, parts: Parts, versions: asyncio.Task[None]) -> None:
        """Wait for an end condition; then flush or reject what is left, and say that the run is over."""
        end = self._settings.end
        if parts.over:
            await self._begun.wait()
            why = f"{why_over(end, parts.course())}, and the run was over before; {ANOTHER_RUN}"
        else:
            while not (why := why_over(end, parts.course())):
                await parts.flushing.progress(1.0)
            await self._end_run(parts, versions)
        parts.events.add("over", version=parts.broadcast.number, detail=why)
        parts.status.state = "over"
        await parts.status.publish()
        await asyncio.sleep(end.linger)
        self._finish(why)

    async def _end_run(self, parts: Parts, versions: asyncio.Task[None]) -> None:
        flushing, end = parts.flushing, self._settings.end
        parts.over = True
        flushing.close()
        await versions
        await parts.intake.complete.join()
        await parts.commits.barrier()
        if not end.max_versions or parts.broadcast.number < end.max_versions:
            await flushing.flush_all()
        parts.close("the run has ended")
        parts.commits.put(PutState(over=True))
        await parts.commits.barrier()
        parts.broadcast.state = "over"
        await parts.broadcast.say()

    async def _end_versions(self, parts: Parts, versions: asyncio.Task[None]) -> None:
        """Let a version that is being made be published if that takes no time; otherwise leave it."""
        parts.flushing.close()
        try:
            async with asyncio.timeout(GOODBYE if parts.connection.connected else 0):
                await versions
        except TimeoutError:  # the task was cancelled with the wait
            pass
        await parts.flushing.leave(GOODBYE)  # the end of the run commits a version of its own

    async def _say_goodbye(self, parts: Parts) -> None:
        """Leave nobody without a word; what waits to be merged goes on waiting, for the next start."""
        if not parts.over:
            parts.events.add("stopped", version=parts.broadcast.number, detail=self._reason)
        await parts.commits.drain(GOODBYE)
        await parts.receipts.drain(GOODBYE)
        await self._write_model(parts)
        await self._sign_off(parts, parts.status.state if parts.status.state == "over" else "offline")

    async def _write_model(self, parts: Parts) -> None:
        """Leave the newest version where people look for it; the ledger has it anyway."""
        model = parts.flushing.model
        if model is None:
            return
        sync = self._settings.durability == "fsync"
        try:
            await self._environment.run(
                state.leave_model, self._folder, model, parts.ledger, self._environment.disk, sync
            )
            self._model_written = True
        except StateError as error:
            parts.events.add("disk", detail=str(error))

    async def _sign_off(self, parts: Parts, word: str) -> None:
        parts.status.state = word
        try:
            async with asyncio.timeout(GOODBYE):
                await parts.events.flush()
                await upkeep.publish_metrics(parts, upkeep.metrics_now(parts))
                await parts.status.publish()
        except TimeoutError:
            return

    def _summary(self, parts: Parts) -> Summary:
        model = parts.flushing.model
        return Summary(
            reason=self._reason,
            run=parts.run,
            version=model.number if model else -1,
            digest=model.digest if model else b"",
            applied=parts.ledger.applied,
            rejected=parts.ledger.rejected,
            model=state.model_file(self._folder) if self._model_written else None,
        )


def _first(errors: BaseExceptionGroup[AntiphonError]) -> AntiphonError:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
