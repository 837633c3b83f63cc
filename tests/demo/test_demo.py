"""The demo as it is: real processes, a real broker, signals."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from antiphon.codecs.errors import ConfigError
from antiphon.demo.credit import credit
from antiphon.demo.display import PlainDisplay
from antiphon.demo.processes import ChildFailed, free_port
from antiphon.demo.run import DATASETS, demo, perform
from antiphon.demo.stage import Plan, prepare


def processes_in(folder: Path) -> list[str]:
    """Return the commands of all processes that work in ``folder`` or below."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(entry / "cwd")).is_relative_to(folder):
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_eight_processes_make_a_model_and_every_one_has_ended_afterwards(tmp_path: Path) -> None:
    out = io.StringIO()
    folder = tmp_path / "out"
    outcome = demo(Console(file=out, width=80), "credit", 0, folder, Plan(seconds=8, versions=60))
    text = out.getvalue()
    assert outcome.federated > outcome.mean_alone
    assert outcome.record.versions > 20
    assert set(outcome.record.rejected) <= {"run-over"}
    assert set(outcome.marks) == {"education joins", "new-car killed", "new-car back"}
    assert all(share.updates for id, share in outcome.record.shares.items() if id != "furniture")
    assert outcome.traffic.sealed > outcome.traffic.raw == 232
    assert "mosquitto_sub -h 127.0.0.1" in text
    assert json.loads((folder / "summary.json").read_text())["federated"] == outcome.federated
    assert processes_in(folder) == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    command = [sys.executable, "-m", "antiphon", "demo", "--output", str(folder), "--seconds", "60"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert running.stdout is not None
    for line in running.stdout:
        if "updates merged" in line:
            break
    assert len(processes_in(folder)) >= 9
    running.send_signal(signal.SIGINT)
    said = running.stdout.read()
    running.stdout.close()
    assert running.wait() == 130
    assert "Traceback" not in said
    assert processes_in(folder) == []


def test_unknown_dataset_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="credit or digits"):
        demo(Console(quiet=True), "mnist", 0, tmp_path / "out", Plan())
    assert set(DATASETS) == {"credit", "digits"}


def test_broken_child_is_shown_as_a_sentence_with_the_end_of_its_log(tmp_path: Path) -> None:
    stage = prepare(credit(0), Plan(), tmp_path / "out", free_port())
    (stage.federation / "federation.toml").write_text("nonsense = 1\n")
    with pytest.raises(ChildFailed, match="nonsense") as caught:
        perform(stage, PlainDisplay(Console(quiet=True)))
    assert "'broker' ended with exit code 2" in str(caught.value)
    assert processes_in(stage.folder) == []
