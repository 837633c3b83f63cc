"""Move a range of the model by a plan.

Guarantees: sums are float64, in ledger order, one rounding an operation and no BLAS, so that the same plan
and values give the same bits on every machine, whatever the ranges are and however many threads merge them;
memory is that of the range's result plus a constant; the inputs are not changed; what comes out is finite.
Not done here: opening, decoding and checking updates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon.codecs.errors import Rejected
from antiphon.codecs.schema import Span
from antiphon.coordinator.aggregation.anchor import Current, Floats, anchored
from antiphon.coordinator.aggregation.combine import accumulate
from antiphon.coordinator.aggregation.plan import Plan
from antiphon.coordinator.aggregation.rule import Rule
from antiphon.coordinator.aggregation.step import move, vector_count

PIECE = 64 * 1024
"""Elements merged at a time: the float64 temporaries of a piece (512 KiB each) stay in a core's cache."""


class Unmergeable(Rejected):
    """The merged model would not be finite: reject update ``index`` and start the flush again."""

    def __init__(self, reason: str, detail: str, index: int) -> None:
        """``index`` counts within the plan's updates."""
        super().__init__(reason, detail)
        self.index = index


@dataclass(frozen=True, slots=True)
class _Work:
    """One range and the temporaries of a piece."""

    rule: Rule
    plan: Plan
    first_element: int
    model: Floats
    deltas: Sequence[Floats]
    bases: Sequence[Floats | None]
    vectors: tuple[Floats, ...]
    moved: Floats
    kept: tuple[Floats, ...]
    total: NDArray[np.float64]
    value: NDArray[np.float64]


def merge_range(
    rule: Rule,
    plan: Plan,
    spans: Sequence[Span],
    first_element: int,
    w: Floats,
    deltas: Sequence[Floats],
    bases: Sequence[Floats] | None,
    step_vectors: tuple[Floats, ...],
) -> tuple[Floats, tuple[Floats, ...]]:
    """Merge one range of the updates into one range of the model.

    Weights: D = Σ scalar_i·value_i, then the rule's step. Statistics: w + Σ statistic_scalar_i·value_i,
    floored at 0 where the span says so; the optimiser's vectors stay as they are there.

    Args:
        rule: the rule.
        plan: the flush's plan.
        spans: the range's runs of equal role, in order, without gap.
        first_element: where the range begins in the model, for messages.
        w: the current model's range, (n,) float32 or float64.
        deltas: each update's Δ on the range, (n,), in the plan's order.
        bases: each update's base on the range, (n,), for anchor ``current``; None for anchor ``base``.
        step_vectors: the optimiser's vectors on the range, (n,) each.

    Returns:
        The new range and the new ranges of the optimiser's vectors: new arrays of the inputs' dtypes.

    Raises:
        Unmergeable: a result is not finite; the update with the largest part in it is to be rejected.
        ValueError: the arguments do not fit each other, or the model itself is not finite.
    """
    _check(rule, plan, spans, w, deltas, bases, step_vectors)
    length = min(PIECE, w.size)
    work = _Work(
        rule,
        plan,
        first_element,
        w,
        deltas,
        bases if bases is not None else [None] * len(deltas),
        step_vectors,
        moved=np.empty_like(w),
        kept=tuple(np.empty_like(vector) for vector in step_vectors),
        total=np.empty(length),
        value=np.empty(length),
    )
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for span in spans:
            for start in range(span.start, span.stop, PIECE):
                piece = slice(start, min(start + PIECE, span.stop))
                if span.role == "statistic":
                    _merge_statistic(work, piece, floor=span.floor)
                else:
                    _merge_weight(work, piece)
                _check_finite(work, piece)
    return work.moved, work.kept


def _merge_weight(work: _Work, piece: slice) -> None:
    combined = _sum(work, piece, work.plan.scalars)
    before = tuple(vector[piece] for vector in work.vectors)
    moved, kept = move(work.rule.step, work.plan.step_scale, work.model[piece], combined, before)
    work.moved[piece] = moved
    for vector, new in zip(work.kept, kept, strict=True):
        vector[piece] = new


def _merge_statistic(work: _Work, piece: slice, *, floor: bool) -> None:
    total = _sum(work, piece, work.plan.statistic_scalars)
    np.add(work.model[piece], total, out=total, dtype=np.float64)
    if floor:
        np.maximum(total, 0.0, out=total)
    work.moved[piece] = total
    for vector, before in zip(work.kept, work.vectors, strict=True):
        vector[piece] = before[piece]


def _sum(work: _Work, piece: slice, scalars: Sequence[float]) -> NDArray[np.float64]:
    length = piece.stop - piece.start
    total, value = work.total[:length], work.value[:length]
    model = work.model[piece]
    for index, (delta, base, scalar) in enumerate(zip(work.deltas, work.bases, scalars, strict=True)):
        anchored(delta[piece], None if base is None else base[piece], model, value)
        accumulate(total, value, scalar, first=index == 0)
    return total


def _check_finite(work: _Work, piece: slice) -> None:
    for result in (work.moved, *work.kept):
        finite = np.isfinite(result[piece])
        if not finite.all():
            raise _blame(work, piece.start + int(np.argmin(finite)))


def _blame(work: _Work, element: int) -> Exception:
    where = f"element {work.first_element + element}"
    if not all(np.isfinite(vector[element]) for vector in (work.model, *work.vectors)):
        return ValueError(f"the current model or its optimiser is not finite at {where}")
    parts = [abs(float(delta[element])) for delta in work.deltas]
    bad = [index for index, part in enumerate(parts) if not np.isfinite(part)]
    if bad:
        return Unmergeable("not-finite", f"{where} of Δ is not finite", bad[0])
    worst = max(range(len(parts)), key=parts.__getitem__)
    return Unmergeable("norm", f"{where} of Δ is {parts[worst]:.3g}: the model would overflow", worst)


def _check(
    rule: Rule,
    plan: Plan,
    spans: Sequence[Span],
    w: Floats,
    deltas: Sequence[Floats],
    bases: Sequence[Floats] | None,
    step_vectors: tuple[Floats, ...],
) -> None:
    if isinstance(rule.anchor, Current) != (bases is not None):
        raise ValueError('bases are needed for anchor = "current" and for no other')
    if len(deltas) != len(plan.scalars) or (bases is not None and len(bases) != len(deltas)):
        raise ValueError(f"the plan has {len(plan.scalars)} updates, there are {len(deltas)}")
    if len(step_vectors) != vector_count(rule.step):
        raise ValueError(f"the step keeps {vector_count(rule.step)} vectors, there are {len(step_vectors)}")
    if any(array.shape != w.shape for array in (*deltas, *(bases or ()), *step_vectors)) or w.ndim != 1:
        raise ValueError(f"every array of a range of {w.size} elements must have that many")
    reached = 0
    for span in spans:
        if span.start != reached or span.stop < span.start:
            raise ValueError(f"the spans do not follow each other at element {reached}")
        reached = span.stop
    if reached != w.size:
        raise ValueError(f"the spans end at {reached}, the range at {w.size}")
