"""``python -m antiphon.demo.child VERB ...``: any command of ours, as a process that ends with the demo.

On Linux the kernel sends it SIGTERM when the demo is gone, even by ``kill -9``; elsewhere it is the plain
command.
"""

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent ends; nothing where there is no such kernel."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended in between: the signal will not come
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    end_with_parent()
    runpy.run_module("antiphon", run_name="__main__", alter_sys=True)
