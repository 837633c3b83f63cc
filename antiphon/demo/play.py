"""Plays the demo: processes come and go by cues, a monitor watches, and the model is judged as it grows.

The table knows what MQTT says and nothing else. The score comes from the coordinator's folder, which is the
demo's own: a monitor has no key, so no parameter can be read from the wire.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from antiphon.broker_config.connection import Connected, Connection, Message
from antiphon.broker_config.disk import RealDisk
from antiphon.broker_config.paho_connection import connector
from antiphon.broker_config.topics import ADMIN
from antiphon.codecs.errors import AntiphonError, StateError, TransportError
from antiphon.coordinator.ledger.reading import newest
from antiphon.coordinator.models import tensors
from antiphon.demo.board import Board
from antiphon.demo.display import Display
from antiphon.demo.problem import KILLED, LATE
from antiphon.demo.processes import ChildFailed, Children, listens
from antiphon.demo.stage import Stage, agent_command
from antiphon.demo.table import bank_table, headline

TICK = 0.25
"""Seconds between two looks."""

START = 30.0
"""Seconds that the broker, and then the first version after it, may take."""

CUES = (("late", 0.33), ("kill", 0.5), ("return", 0.62))
"""What happens at which share of the run."""

LEAVE = 3.0
"""Seconds that agents get to leave by themselves when the run is over."""


class NothingHappens(AntiphonError):
    """The federation did not get going, or did not come to an end."""


@dataclass(slots=True)
class Play:
    """One run, as it unfolds.

    Attributes:
        stage: Where everything is.
        children: The processes.
        screen: What is shown.
        board: What the monitor knows.
        points: (seconds, version, score) of the model whenever it was looked at.
        marks: What happened, and when, in seconds.
    """

    stage: Stage
    children: Children
    screen: Display
    board: Board
    points: list[tuple[float, int, float]] = field(default_factory=list[tuple[float, int, float]])
    marks: dict[str, float] = field(default_factory=dict[str, float])
    began: float = 0.0
    ended: float | None = None
    seen: int = -1

    @property
    def seconds(self) -> float:
        """From the first version until now, or until the coordinator left."""
        now = self.ended if self.ended is not None else asyncio.get_running_loop().time()
        return now - self.began


async def play(stage: Stage, children: Children, screen: Display) -> Play:
    """Run the whole story and return what was seen.

    Raises:
        ChildFailed: A process ended that should not have.
        NothingHappens: No version came, or the end did not.
    """
    embedded = ["--embedded"] if stage.embedded else []
    children.start("broker", "broker", str(stage.federation), *embedded, folder=stage.federation)
    await _until(lambda: listens(stage.port), children, "the broker did not start listening")
    run = Play(stage, children, screen, Board.of(stage.topics, [bank.id for bank in stage.problem.banks]))
    children.start("coordinator", "coordinator", str(stage.federation), folder=stage.federation)
    for place in range(len(stage.problem.banks)):
        if place != LATE:
            _start_bank(run, place)
    connection = connector(stage.address)(ADMIN, None)
    async with connection:
        watching = asyncio.create_task(_watch(connection, run.board), name="watch")
        try:
            await _until(lambda: _lives(watching) and run.board.version > 0, children, "no version was made")
            run.began = _now()
            await _acts(run, watching)
            await _curtain(run)
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    return run


async def _watch(connection: Connection, board: Board) -> None:
    """Feed every message that a monitor may see into the board."""
    topics = board.topics
    async for event in connection.events():
        if isinstance(event, Connected):
            try:
                await connection.subscribe(topics.all_status, topics.all_metrics, topics.events, qos=0)
            except TransportError:
                continue  # the connection comes back by itself, and so do we
        elif isinstance(event, Message):
            board.take(event.topic, event.payload)


async def _until(happened: Callable[[], bool], children: Children, otherwise: str) -> None:
    limit = _now() + START
    while not happened():
        children.check()
        if _now() > limit:
            raise NothingHappens(f"{otherwise} within {START:.0f} s: see the logs")
        await asyncio.sleep(TICK / 5)


def _lives(watching: asyncio.Task[None]) -> bool:
    """Pass on what ended the monitor: the broker may refuse it for good."""
    if watching.done():
        watching.result()
    return True


async def _acts(run: Play, watching: asyncio.Task[None]) -> None:
    """From the first version to the last."""
    plan = run.stage.plan
    agents = {bank.id for bank in run.stage.problem.banks}
    cues = list(CUES)
    while run.children.runs("coordinator"):
        run.children.check({"coordinator", *agents})
        _lives(watching)
        progress = max(run.board.version / plan.versions, run.seconds / plan.budget)
        while cues and progress >= cues[0][1] and run.board.state != "over":
            _cue(run, cues.pop(0)[0])
        _look(run)
        _show(run)
        if run.seconds > plan.budget + START:
            raise NothingHappens("the coordinator did not end the run in time: see the logs")
        await asyncio.sleep(TICK)
    run.children.check({"coordinator", *agents})
    _look(run)
    run.ended = _now()


async def _curtain(run: Play) -> None:
    """Give the agents time to hear that the run is over, and the monitor to see them leave."""
    ids = [bank.id for bank in run.stage.problem.banks]
    limit = _now() + LEAVE
    while any(run.children.runs(id) for id in ids):
        if _now() > limit:
            break
        await asyncio.sleep(TICK)
    run.children.end(ids)
    await asyncio.sleep(TICK)


def _cue(run: Play, cue: str) -> None:
    banks = run.stage.problem.banks
    late, killed = banks[LATE].id, banks[KILLED].id
    run.marks[{"late": f"{late} joins", "kill": f"{killed} killed", "return": f"{killed} back"}[cue]] = (
        run.seconds
    )
    if cue == "late":
        run.screen.note(f"{run.seconds:4.0f} s   {late} joins late")
        _start_bank(run, LATE)
    elif cue == "kill":
        run.screen.note(f"{run.seconds:4.0f} s   {killed} is killed in the middle of its work (kill -9)")
        run.children.kill(killed)
    else:
        run.screen.note(f"{run.seconds:4.0f} s   {killed} comes back, with its outbox")
        _start_bank(run, KILLED)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _start_bank(run: Play, place: int) -> None:
    id = run.stage.problem.banks[place].id
    run.children.start(id, *agent_command(run.stage, place), folder=run.stage.bank(id))


def _look(run: Play) -> None:
    """Judge the newest version, if there is another one than last time."""
    try:
        model = newest(run.stage.state, RealDisk()).model
    except (OSError, StateError):
        return  # not there yet
    if model.number == run.seen:
        return
    run.seen = model.number
    params = dict(tensors(model.schema, model.vector, model.exact))
    run.points.append((run.seconds, model.number, run.stage.problem.judge(params)))


def _show(run: Play) -> None:
    for note in run.board.take_notes():
        run.screen.note(f"{run.seconds:4.0f} s   {note}")
    problem = run.stage.problem
    value = run.points[-1][2] if run.points else None
    run.screen.show(
        run.seconds,
        headline(run.board, run.seconds, problem.score, value),
        lambda: bank_table(run.board, problem.banks, run.stage.parts, problem.holder),
    )


__all__ = ["ChildFailed", "NothingHappens", "Play", "play"]
