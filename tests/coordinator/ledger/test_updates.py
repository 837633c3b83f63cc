"""Updates and uploads as rows."""

import pytest

from antiphon.coordinator.ledger import updates
from antiphon.coordinator.ledger.records import OpenUpload
from tests.coordinator.ledger.stage import FOLDER, LARGE, Stage


@pytest.mark.parametrize("large", [False, True])
def test_update_comes_back_as_it_was(large: bool) -> None:
    stage = Stage(large=large, params=LARGE) if large else Stage()
    stage.open()
    stage.begin()
    record = stage.checked(stage.offer("a"))
    name, content = updates.rows(7, record)
    found = updates.received((*name, *content[1:]), stage.schema, FOLDER / "spool")
    assert (found.admission, found.admitted_at) == (7, record.admitted_at)
    assert found.update.path.parent == FOLDER / "spool"
    assert found.update.inline is not large
    if large:
        assert found.update == record.update
    assert found.update.frame == record.frame
    assert found.update.places == record.update.places
    assert (found.checked.block_sums == record.checked.block_sums).all()
    assert (found.checked.tiles, found.checked.sumsq) == (record.checked.tiles, record.checked.sumsq)


def test_upload_comes_back_as_it_was() -> None:
    stage = Stage(large=True, params=LARGE)
    stage.open()
    stage.begin()
    update = stage.offer("a")
    opened = OpenUpload("a", b"t" * 16, update.offer, update.schema, update.key, 1 << 20, "a-1", 5.5)
    assert updates.upload(updates.upload_row(opened), stage.schema) == opened
    assert "***" in repr(opened) or "key" not in repr(opened)


def test_row_that_is_cut_off_is_no_update() -> None:
    stage = Stage()
    stage.open()
    stage.begin()
    name, content = updates.rows(1, stage.checked(stage.offer("a")))
    row = list((*name, *content[1:]))
    row[10] = row[10][:-1]
    with pytest.raises(ValueError, match="truncated"):
        updates.received(tuple(row), stage.schema, FOLDER)
