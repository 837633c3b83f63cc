"""Child processes: started, watched, and ended whatever happens."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from antiphon.codecs.errors import ConfigError
from antiphon.demo import processes
from antiphon.demo.processes import ChildFailed, Children, free_port, listens, tail

SLEEPER = "import time; print('here', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPER


@pytest.fixture
def python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children are small Python programs instead of commands of ours."""
    monkeypatch.setattr(processes, "COMMAND", (sys.executable, "-c"))


def wait_for(log: Path, word: str) -> None:
    limit = time.monotonic() + 20
    while word not in (log.read_text() if log.exists() else ""):
        assert time.monotonic() < limit
        os.sched_yield()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.usefixtures("python")
def test_children_end_with_the_block_even_when_it_raises(tmp_path: Path) -> None:
    pids: list[int] = []

    def go_wrong() -> None:
        with Children(tmp_path / "logs") as children:
            for name in ("one", "two"):
                program = "import os; print(os.getpid(), flush=True);" + SLEEPER
                children.start(name, program, folder=tmp_path)
                wait_for(tmp_path / "logs" / f"{name}.log", "here")
                pids.append(int((tmp_path / "logs" / f"{name}.log").read_text().split()[0]))
            assert children.runs("one")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        go_wrong()
    assert len(pids) == 2
    assert all(gone(pid) for pid in pids)


@pytest.mark.usefixtures("python")
def test_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start("one", STUBBORN, folder=tmp_path)
        wait_for(tmp_path / "one.log", "here")
        children.end(["one", "unknown"], patience=0.01)
        assert not children.runs("one")


@pytest.mark.usefixtures("python")
def test_child_that_fails_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start("one", "import sys; print('what went wrong'); sys.exit(3)", folder=tmp_path)
        while children.runs("one"):
            os.sched_yield()
        with pytest.raises(ChildFailed) as caught:
            children.check({"one"})
    assert "'one' ended with exit code 3" in str(caught.value)
    assert "    what went wrong" in str(caught.value)


@pytest.mark.usefixtures("python")
def test_child_that_ends_well_is_only_a_failure_where_it_should_go_on(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start("one", "pass", folder=tmp_path)
        while children.runs("one"):
            os.sched_yield()
        children.check({"one"})
        with pytest.raises(ChildFailed, match="exit code 0"):
            children.check()


@pytest.mark.usefixtures("python")
def test_killed_child_is_no_failure_and_may_come_back(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start("one", SLEEPER, folder=tmp_path)
        children.kill("one")
        children.check()
        assert not children.runs("one")
        children.start("one", SLEEPER, folder=tmp_path)
        assert children.runs("one")


def test_sigterm_leaves_the_block_like_ctrl_c(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as caught, Children(tmp_path):
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """``kill -9`` of the demo: nobody is left to end the children but the kernel."""
    if not sys.platform.startswith("linux"):
        pytest.skip("the kernel does this on Linux only")
    child = (
        "from antiphon.demo.child import end_with_parent; import os, time; end_with_parent();"
        "print(os.getpid(), flush=True); time.sleep(600)"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    running = subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    pid = int(running.stdout.readline())
    running.kill()
    running.wait()
    assert running.stdout.read() == ""  # the pipe's last holder, the child, is gone
    running.stdout.close()
    limit = time.monotonic() + 20
    while not gone(pid) and time.monotonic() < limit:  # init collects it
        os.sched_yield()


def test_our_commands_run_as_children(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start("version", "--version", folder=tmp_path)
        wait_for(tmp_path / "version.log", "antiphon ")


def test_port_that_is_taken_is_refused_and_a_free_one_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        assert listens(taken)
        with pytest.raises(ConfigError, match=str(taken)):
            free_port(taken)
    assert 0 < free_port() < 65536
    assert not listens(free_port())


def test_tail_shows_the_last_lines_and_a_word_for_silence(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("\n".join(str(number) for number in range(100)))
    assert tail(tmp_path / "log", 2) == "    98\n    99"
    assert "nothing" in tail(tmp_path / "gone")
