"""The numbers of a finished run: the same model alone, pooled and federated, on the same held-out rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from antiphon.coordinator.models import load
from antiphon.demo.board import Board
from antiphon.demo.play import Play
from antiphon.demo.problem import Params
from antiphon.demo.stage import Stage
from antiphon.monitor.record import Record, read_record


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of one update, on average.

    Attributes:
        numbers: Numbers in the model.
        raw: Bytes of Δ as a plain array.
        sealed: Bytes of its sealed frames, as the agents counted them; 0 when nobody said.
    """

    numbers: int
    raw: int
    sealed: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run.

    Attributes:
        stage: Where everything is.
        board: What the monitor knew at the end.
        record: What the coordinator's event log says.
        federated, pooled: Scores on the held-out rows.
        alone: Score of each bank's own model, by id.
        traffic: Bytes.
        points, marks: See `Play`.
        seconds: From the first version to the end.
    """

    stage: Stage
    board: Board
    record: Record
    federated: float
    pooled: float
    alone: Mapping[str, float]
    traffic: Traffic
    points: list[tuple[float, int, float]] = field(default_factory=list[tuple[float, int, float]])
    marks: Mapping[str, float] = field(default_factory=dict[str, float])
    seconds: float = 0.0

    @property
    def mean_alone(self) -> float:
        """The mean score of the banks' own models."""
        return fmean(self.alone.values())

    def summary(self) -> dict[str, object]:
        """Plain numbers for ``summary.json``."""
        return {
            "dataset": self.stage.problem.name,
            "score": self.stage.problem.score,
            "federated": self.federated,
            "pooled": self.pooled,
            "alone": dict(self.alone),
            "alone_mean": self.mean_alone,
            "versions": self.record.versions,
            "seconds": round(self.seconds, 1),
            "updates": {id: share.updates for id, share in self.record.shares.items()},
            "influence": {id: self.record.influence(id) for id in self.record.shares},
            "bytes_raw": self.traffic.raw,
            "bytes_sealed": self.traffic.sealed,
        }


def conclude(run: Play) -> Outcome:
    """Compare, and count.

    The monitor's counts of updates and influence are replaced by those of the event log, which is complete
    where the broker may have dropped a message.
    """
    stage, problem = run.stage, run.stage.problem
    record = read_record(stage.events, run.board.agents)
    for id, line in run.board.agents.items():
        line.applied, line.influence = record.shares[id].updates, record.influence(id)
    params = load(stage.model)
    return Outcome(
        stage=stage,
        board=run.board,
        record=record,
        federated=problem.judge(params),
        pooled=problem.best(problem.pooled),
        alone={bank.id: problem.best(bank.rows) for bank in problem.banks},
        traffic=_traffic(run.board, params),
        points=run.points,
        marks=run.marks,
        seconds=run.seconds,
    )


def _traffic(board: Board, params: Params) -> Traffic:
    sent = sum(line.sent for line in board.agents.values())
    sealed = sum(line.sealed for line in board.agents.values())
    numbers = sum(value.size for value in params.values())
    raw = sum(value.nbytes for value in params.values())
    return Traffic(numbers, raw, sealed / sent if sent else 0.0)
