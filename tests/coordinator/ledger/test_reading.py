"""A ledger read from outside: the newest version, also while its coordinator runs."""

from pathlib import Path

import pytest

from antiphon.broker_config.disk import RealDisk
from antiphon.codecs.errors import StateError
from antiphon.coordinator import models
from antiphon.coordinator.ledger.reading import folder_of, metadata, newest, reading
from tests.coordinator.ledger.stage import FOLDER, LARGE, Stage


@pytest.mark.parametrize("large", [False, True])
def test_newest_version_is_that_of_the_last_commit(large: bool) -> None:
    stage = Stage(large=large, params=LARGE) if large else Stage()
    stage.open()
    stage.begin()
    for _ in range(2):
        found = newest(FOLDER, stage.disk)
        assert stage.model is not None
        assert found.model.digest == stage.model.digest
        assert (found.run, found.term) == (stage.ledger.run, stage.ledger.term)
        stage.rounds(1)


def test_block_sees_one_state_whatever_is_committed_meanwhile() -> None:
    stage = Stage()
    stage.open()
    stage.begin()
    with reading(FOLDER, stage.disk) as recovery:
        stage.rounds(2)
        found = recovery.newest()
        assert found is not None
        assert found.model.number == 0
        assert recovery.checkpoint(2) is None
    assert newest(FOLDER, stage.disk).model.number == 2


def test_folder_is_found_by_the_federations_or_its_own_path() -> None:
    stage = Stage()
    stage.open()
    for path in (FOLDER, FOLDER.parent, FOLDER / "ledger.db"):
        assert folder_of(path, stage.disk) == FOLDER
    with pytest.raises(StateError, match="there is no ledger in /elsewhere"):
        folder_of(Path("/elsewhere"), stage.disk)
    with pytest.raises(StateError, match="no first version"):
        newest(FOLDER, stage.disk)


def test_model_file_says_what_it_is(tmp_path: Path) -> None:
    stage = Stage(disk=RealDisk(), folder=tmp_path / "state")
    stage.open()
    stage.begin()
    stage.rounds(1)
    found = newest(tmp_path / "state", stage.disk)
    stage.ledger.close()
    path = tmp_path / "model.safetensors"
    models.write(path, found.model, metadata(found), sync=True)
    about = models.metadata_of(path)
    assert stage.model is not None
    assert about["digest"] == stage.model.digest.hex()
    assert (about["version"], about["run"]) == ("1", stage.ledger.run.hex())
    assert models.roles_of(path) == {"bn.running_var": "variance", "n": "keep", "w": "weight"}
    wanted = stage.schema.unpack(stage.model.vector, stage.model.exact)
    loaded = models.load(path)
    assert all((loaded[name] == wanted[name]).all() for name in wanted)
