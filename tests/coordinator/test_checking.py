"""The one pass over a spooled update."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.codecs import messages
from antiphon.codecs.errors import Rejected
from antiphon.codecs.schema import infer
from antiphon.coordinator.checking import Checked, check, check_each
from tests.coordinator.made import DISK, update

SCHEMA = infer({"w": np.zeros(5000, np.float32), "n": np.zeros(300, np.int64)})
EXACT = bytes(2400)
ANY = float("inf")


@pytest.mark.parametrize("encoding", ["float64", "float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize("frame", [10_000, 64 << 10])
def test_good_update_passes_with_its_norm(tmp_path: Path, encoding: str, frame: int) -> None:
    delta = np.full(5000, 0.5, np.float32)
    found = check(update(tmp_path, SCHEMA, delta, EXACT, encoding=encoding, frame=frame), ANY, DISK)
    assert found.sumsq == pytest.approx(5000 * 0.25, rel=0.02)
    assert found.block_sums.shape == (5,)
    assert found.block_sums.sum() == pytest.approx(found.sumsq)
    assert [tile.section for tile in found.tiles][-1] == 1


def test_sums_are_the_same_however_the_update_is_cut(tmp_path: Path) -> None:
    delta = np.random.default_rng(3).normal(size=5000).astype(np.float32)
    for name in "ab":
        (tmp_path / name).mkdir()
    one = check(update(tmp_path / "a", SCHEMA, delta, EXACT, frame=6000), ANY, DISK)
    two = check(update(tmp_path / "b", SCHEMA, delta, EXACT), ANY, DISK)
    assert len(one.tiles) > len(two.tiles)
    assert one.sumsq == two.sumsq
    assert one.block_sums.tobytes() == two.block_sums.tobytes()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 1023, 1024, 4999])
def test_one_number_that_is_none_is_found_anywhere(tmp_path: Path, place: int, value: float) -> None:
    delta = np.zeros(5000, np.float32)
    delta[place] = value
    with pytest.raises(Rejected, match="not-finite"):
        check(update(tmp_path, SCHEMA, delta, EXACT), ANY, DISK)


def test_norm_above_the_bound_or_beyond_all_numbers_is_refused(tmp_path: Path) -> None:
    delta = np.ones(5000, np.float32)
    made = update(tmp_path, SCHEMA, delta, EXACT)
    assert check(made, 71.0, DISK).sumsq == 5000
    with pytest.raises(Rejected, match="norm"):
        check(made, 70.0, DISK)
    wide = infer({"w": np.zeros(10)})
    with pytest.raises(Rejected, match="norm"):
        check(update(tmp_path, wide, np.full(10, 1e200), agent="b"), ANY, DISK)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ([0, 0, 1 << 20, "float32", b""], "too-large"),
        ([1, 0, 1 << 30, "exact", b""], "too-large"),
        ([0, 4, 9, "float32", b""], "malformed"),
        ([0, 0, 5, "float32", b"no zstd"], "malformed"),
        ([0, 0, 5, "float16", b""], "malformed"),
        ([7, 0, 5, "float32", b""], "malformed"),
        ("text", "malformed"),
    ],
)
def test_chunk_that_is_none_is_refused(tmp_path: Path, payload: Any, reason: str) -> None:
    made = update(tmp_path, SCHEMA, np.zeros(5000, np.float32), payloads=[messages.pack(payload)])
    with pytest.raises(Rejected) as refused:
        check(made, ANY, DISK)
    assert refused.value.reason == reason


def test_spool_file_that_was_changed_on_disk_is_refused(tmp_path: Path) -> None:
    made = update(tmp_path, SCHEMA, np.zeros(5000, np.float32), EXACT)
    data = bytearray(made.path.read_bytes())
    data[-1] ^= 1
    made.path.write_bytes(bytes(data))
    with pytest.raises(Rejected, match="malformed"):
        check(made, ANY, DISK)


def test_each_of_several_has_an_answer_of_its_own(tmp_path: Path) -> None:
    good = [update(tmp_path, SCHEMA, np.ones(5000, np.float32), EXACT, agent=name) for name in "abc"]
    wrong = update(tmp_path, SCHEMA, np.full(5000, np.nan, np.float32), EXACT, agent="d")
    good[1].path.unlink()
    first, lost, last, refused = check_each(
        [(good[0], ANY), (good[1], ANY), (good[2], 70.0), (wrong, ANY)], DISK
    )
    assert isinstance(first, Checked)
    assert isinstance(lost, OSError)
    assert isinstance(last, Rejected)
    assert isinstance(refused, Rejected)
    assert (first.sumsq, last.reason, refused.reason) == (5000, "norm", "not-finite")


def test_model_of_exact_tensors_alone_has_no_norm(tmp_path: Path) -> None:
    schema = infer({"n": np.arange(3)})
    assert check(update(tmp_path, schema, np.zeros(0, np.float32), bytes(24)), ANY, DISK).sumsq == 0.0
