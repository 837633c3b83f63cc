"""Fixtures for everybody, and how a run of the tests ends."""

import atexit
import os
import sys
from collections.abc import Generator

import pytest
from mosquitto import Mosquitto, choose, running

STATUS = pytest.StashKey[int]()


@pytest.fixture(scope="session")
def mosquitto_kind() -> type[Mosquitto]:
    """Container or program; fails with what to install when there is neither."""
    try:
        return choose()
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def mosquitto(
    mosquitto_kind: type[Mosquitto], tmp_path_factory: pytest.TempPathFactory
) -> Generator[Mosquitto]:
    """A running mosquitto for the whole session. Who stops it must start it again; nothing retained is
    removed in between, so use topics of your own."""
    with running(mosquitto_kind, tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Keep how it went for `pytest_unconfigure`."""
    session.config.stash[STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End without finalising anything, as `antiphon.simulation.crash` asks of whoever stages many crashes:

    the coroutines of the dead are kept as long as the process lives, and finalised with half of Python gone
    they took it down with a segmentation fault.
    """
    if STATUS in config.stash and "antiphon.simulation.crash" in sys.modules:
        atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[STATUS])
