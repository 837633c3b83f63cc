"""Fixtures for everybody."""

from collections.abc import Generator

import pytest
from mosquitto import Mosquitto, choose, running


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
