"""``antiphon model export``."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.cli import main
from antiphon.codecs.schema import infer, model_digest
from antiphon.coordinator import models
from antiphon.coordinator.models import Model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    params = {"w": np.arange(3, dtype=np.float32), "n": np.array(7)}
    schema = infer(params)
    vector, exact = schema.pack(params)
    model = Model(schema, vector, exact, 4, model_digest(schema, vector, exact))
    (tmp_path / "state").mkdir()
    about = {"version": "4", "run": "ab", "digest": model.digest.hex()}
    models.write(tmp_path / "state" / "model.safetensors", model, about, sync=False)
    return tmp_path


@pytest.mark.parametrize("name", ["out.npz", "out.safetensors"])
def test_export_writes_the_newest_version_and_says_which(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "export", str(folder), str(folder / name)]) == 0
    found = models.load(folder / name)
    assert (found["w"].tolist(), found["n"].dtype, int(found["n"])) == ([0, 1, 2], np.int64, 7)
    assert "version 4 of run ab" in capsys.readouterr().out


def test_export_before_the_first_version_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "export", str(tmp_path), str(tmp_path / "x.npz")]) == 2
    assert "first version" in capsys.readouterr().err


def test_export_to_another_format_or_nowhere_says_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "export", str(folder), str(folder / "x.onnx")]) == 2
    assert ".npz" in capsys.readouterr().err
    itself = str(folder / "state" / "model.safetensors")
    assert main(["model", "export", str(folder), itself]) == 2
    assert "same file" in capsys.readouterr().err
    assert main(["model", "export", str(folder), str(folder / "none" / "x.npz")]) == 2
    assert "cannot write" in capsys.readouterr().err
