"""How fast a range of a large model is merged: `python benchmarks/aggregation.py --elements N --updates K`.

Merges one range of float32 on one thread and prints the time for each element of each update, the rate at
which updates are read, and what a model of 75 million elements would take.
"""

import argparse
import time
import tracemalloc

import numpy as np

from antiphon.codecs.schema import Span
from antiphon.coordinator.aggregation.anchor import Current
from antiphon.coordinator.aggregation.history import Arrival, RuleState, init_step
from antiphon.coordinator.aggregation.merge import merge_range
from antiphon.coordinator.aggregation.plan import plan
from antiphon.coordinator.aggregation.presets import build_rule

MODEL = 75_000_000


def measure(preset: str, elements: int, updates: int, repeat: int = 5) -> tuple[float, int]:
    """Best seconds of ``repeat`` merges, and the bytes that one allocates at its peak."""
    rng = np.random.default_rng(1)
    rule = build_rule(preset, {})
    arrivals = [Arrival(f"a{index}", 0, 1, 0.0) for index in range(updates)]
    planned = plan(rule, RuleState(), arrivals, version=1, k=updates)
    model = rng.standard_normal(elements, dtype=np.float32)
    deltas = [rng.standard_normal(elements, dtype=np.float32) for _ in range(updates)]
    bases = [model] * updates if isinstance(rule.anchor, Current) else None
    vectors = init_step(rule, elements, "float32").vectors
    spans = [Span(0, elements, "weight", False)]
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        merge_range(rule, planned, spans, 0, model, deltas, bases, vectors)
        best = min(best, time.perf_counter() - start)
    tracemalloc.start()
    merge_range(rule, planned, spans, 0, model, deltas, bases, vectors)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return best, peak


def main() -> None:
    """Print a table, one row a preset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elements", type=int, default=4_000_000, help="elements of the range")
    parser.add_argument("--updates", type=int, default=10, help="updates in the buffer")
    options = parser.parse_args()
    print(f"{'preset':<12}{'ns/element/update':>18}{'GB/s of Δ':>17}{'75M model, s':>14}{'peak/range':>12}")
    for preset in ("fedbuff", "fedasync", "fedavg", "fedadam", "fedyogi", "fedadagrad"):
        seconds, peak = measure(preset, options.elements, options.updates)
        each = seconds / options.elements / options.updates
        row = f"{preset:<12}{each * 1e9:>18.2f}{4 / each / 1e9:>17.2f}{each * options.updates * MODEL:>14.2f}"
        print(f"{row}{peak / (4 * options.elements):>12.2f}")


if __name__ == "__main__":
    main()
