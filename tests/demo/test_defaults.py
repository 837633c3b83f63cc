"""What is set before anything heavy is loaded."""

import os
import subprocess
import sys

import pytest

from antiphon.demo.defaults import ONE_THREAD, one_thread


def test_linear_algebra_keeps_to_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ONE_THREAD:
        monkeypatch.setenv(name, "8")
    one_thread()
    assert {os.environ[name] for name in ONE_THREAD} == {"1"}


def test_command_line_sets_it_before_numpy_is_there() -> None:
    program = "import sys, antiphon.cli.demo; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
