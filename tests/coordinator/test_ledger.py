"""Exactly once, and the state folder."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file  # pyright: ignore[reportUnknownVariableType]

from antiphon.codecs.errors import Rejected, StateError
from antiphon.codecs.messages import UpdateId
from antiphon.codecs.schema import infer, model_digest
from antiphon.coordinator.ledger import Ledger, Outcome
from antiphon.coordinator.models import Model, metadata_of


def ledger(folder: Path, outcomes: int = 1000, incarnations: int = 100) -> Ledger:
    return Ledger(folder / "state", outcomes=outcomes, incarnations=incarnations, sync=False)


def update(sequence: int, incarnation: bytes = b"i" * 16) -> UpdateId:
    return UpdateId(incarnation, sequence)


def test_received_then_applied_is_settled_once(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    assert book.outcome("a", update(1)) is None
    book.receive("a", update(1), b"d" * 32)
    assert book.outcome("a", update(1)) == Outcome("received", b"d" * 32)
    book.settle("a", update(1), Outcome("applied", b"d" * 32, 4))
    assert book.settle("a", update(1), Outcome("rejected", b"d" * 32)).type == "applied"
    assert book.outcome("a", update(1)) == Outcome("applied", b"d" * 32, 4)


def test_outcome_that_was_forgotten_is_settled_and_never_unknown(tmp_path: Path) -> None:
    book = ledger(tmp_path, outcomes=2)
    for sequence in (1, 2, 3):
        book.settle("a", update(sequence), Outcome("applied", b"", sequence))
    assert book.outcome("a", update(1)) == Outcome("settled")
    assert book.outcome("a", update(3)) == Outcome("applied", b"", 3)


def test_open_update_below_the_mark_is_still_open(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    book.receive("a", update(4), b"d")
    book.settle("a", update(5), Outcome("rejected", b"", -1, "not-finite"))
    assert book.outcome("a", update(4)) == Outcome("received", b"d")
    assert book.outcome("a", update(3)) == Outcome("settled")


def test_sequence_that_no_update_may_have_is_never_known(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    book.settle("a", update(5), Outcome("applied"))
    assert book.outcome("a", update(0)) is None


def test_incarnations_and_agents_are_told_apart(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    book.settle("a", update(5), Outcome("applied"))
    assert book.outcome("a", update(1, b"j" * 16)) is None
    assert book.outcome("b", update(1)) is None


def test_more_process_starts_than_the_bound_are_refused(tmp_path: Path) -> None:
    book = ledger(tmp_path, incarnations=2)
    for n in range(2):
        book.receive("a", update(1, bytes([n]) * 16), b"")
    with pytest.raises(Rejected, match="quota"):
        book.receive("a", update(1, b"z" * 16), b"")
    book.settle("a", update(9, b"y" * 16), Outcome("refused"))  # leaves no mark either
    book.receive("a", update(2, bytes(16)), b"")


def test_only_published_versions_are_bases(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    for number in range(3):
        book.published(number, bytes([number]) * 32)
    assert book.is_base(1, b"\x01" * 32)
    assert not book.is_base(1, b"\x02" * 32)
    assert not book.is_base(3, b"\x03" * 32)
    assert not book.is_base(-1, bytes(32))
    with pytest.raises(ValueError, match="next"):
        book.published(7, bytes(32))


def test_term_grows_with_every_start_even_if_the_clock_does_not(tmp_path: Path) -> None:
    terms: list[int] = []
    for now in (1000.0, 1000.0, 500.0, 2000.0):
        book = ledger(tmp_path)
        terms.append(book.begin(now))
        book.close()
    assert terms == [1000, 1001, 1002, 2000]


def test_term_seen_elsewhere_is_outranked_for_good(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    book.begin(10.0)
    book.outrank(5)
    assert book.term == 10
    book.outrank(99)
    assert book.term == 100
    book.close()
    again = ledger(tmp_path)
    assert again.begin(10.0) == 101
    again.close()


def test_second_coordinator_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    first, second = ledger(tmp_path), ledger(tmp_path)
    first.begin(1.0)
    with pytest.raises(StateError, match="another coordinator"):
        second.begin(1.0)
    first.close()
    second.begin(1.0)
    second.close()


def test_damaged_term_and_unwritable_folder_say_so(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "term").write_text("many")
    book = ledger(tmp_path)
    with pytest.raises(StateError, match="term"):
        book.begin(1.0)
    book.close()
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot write"):
        ledger(tmp_path / "file").begin(1.0)


def test_disk_too_full_for_the_term_says_so_and_leaves_the_folder_unlocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", full)
        with pytest.raises(StateError, match="No space"):
            ledger(tmp_path).begin(1.0)
    again = ledger(tmp_path)
    assert again.begin(1.0) == 1
    again.close()


@pytest.mark.parametrize("sync", [True, False])
def test_committed_version_is_a_safetensors_file_that_says_what_it_is(tmp_path: Path, sync: bool) -> None:
    params = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "steps": np.array(7, np.int64)}
    schema = infer(params)
    vector, exact = schema.pack(params)
    book = Ledger(tmp_path, outcomes=1, incarnations=1, sync=sync)
    book.begin(5.0)
    book.commit(Model(schema, vector, exact, 3, model_digest(schema, vector, exact)), b"r" * 16)
    book.close()
    found = load_file(tmp_path / "model.safetensors")
    assert found["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["steps"].dtype == np.int64
    about = metadata_of(tmp_path / "model.safetensors")
    assert (about["version"], about["run"], about["term"]) == ("3", (b"r" * 16).hex(), "5")
    assert json.loads(about["antiphon.roles"]) == {"steps": "keep", "w": "weight"}
