"""What the command line must know before it loads anything heavy."""

import os

SECONDS = 28.0
"""How long a demo's federation runs, on a machine that is not busy."""

FIGURES_SECONDS = 15.0
"""The same for each of the ten runs of `antiphon.demo.figures`: shorter, but with as many versions."""

ONE_THREAD: dict[str, str] = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
"""Environment of every process of the demo: on two cores, threads of the linear algebra stand in each other's
way (the digits' comparison took 17 s on a busy machine, and 2 s with one thread)."""


def one_thread() -> None:
    """Keep this process's linear algebra to one thread; only before numpy is imported."""
    os.environ.update(ONE_THREAD)
