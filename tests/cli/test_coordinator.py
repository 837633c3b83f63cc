"""``antiphon coordinator``: what it says, and how it starts and stops."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file  # pyright: ignore[reportUnknownVariableType]

from antiphon.broker_config.provisioning import init_federation
from antiphon.cli import coordinator, main
from antiphon.cli.condensed import Condensed
from antiphon.coordinator.service import Summary


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"event": "started", "version": 0, "digest": "ab"}, "started: with version 0, ab"),
        ({"event": "started", "detail": "waits"}, "started: waits"),
        ({"event": "joined", "agent": "a"}, "joined: a"),
        ({"event": "rejected", "agent": "a", "reason": "norm", "detail": "x"}, "rejected: a, norm: x"),
        ({"event": "rejected", "agent": "a", "reason": "norm"}, "rejected: a, norm"),
        ({"event": "version", "version": 0, "agents": [], "staleness": []}, "version 0: the first"),
        (
            {"event": "version", "version": 3, "agents": ["a", "b"], "staleness": [0, 2]},
            "version 3: a (τ 0), b (τ 2)",
        ),
        ({"event": "over", "detail": "done"}, "over: done"),
        (
            {"event": "recovered", "version": 41, "detail": "version 41, 3 updates wait"},
            "recovered: version 41, 3 updates wait",
        ),
        ({"event": "disk", "detail": "the disk takes nothing"}, "disk: the disk takes nothing"),
        ({"event": "optimiser", "detail": "begins from zeros"}, "optimiser: begins from zeros"),
        ({"event": "accepted", "agent": "a"}, ""),
    ],
)
def test_events_are_told_in_words(event: dict[str, Any], words: str) -> None:
    assert coordinator.sentence(event, {}) == words


def test_version_is_told_with_what_agents_said_of_it_but_not_as_they_please() -> None:
    event = {"event": "version", "version": 3, "agents": ["a"], "staleness": [0]}
    said = {"\x1b[2J": 1.0, "l" * 31: 1.0, "loss": 0.123456, "m": 1.0, "n": 2.0, "o": 3.0, "p": 4.0}
    assert coordinator.sentence(event, said) == "version 3: a (τ 0), loss 0.1235, m 1, n 2, o 3"


def test_dull_events_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Condensed(print)
    coordinator.say(lines, {"event": "accepted", "timestamp": 0.0})
    assert capsys.readouterr().out == ""
    coordinator.say(lines, {"event": "joined", "agent": "a", "timestamp": 0.0})
    assert capsys.readouterr().out.endswith("joined: a\n")


def test_versions_and_rejections_that_follow_fast_are_condensed(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Condensed(print)
    for number in range(5):
        coordinator.say(
            lines,
            {"event": "version", "version": number, "agents": ["a"], "staleness": [0], "timestamp": 0.0},
        )
        rejected = {"event": "rejected", "agent": "b", "reason": "norm", "timestamp": 0.0}
        coordinator.say(lines, rejected)
    lines.flush()
    said = [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "version 0: a (τ 0)",
        "rejected: b, norm",
        "version 4: a (τ 0) (and 3 more like it)",
        "rejected: b, norm (and 3 more like it)",
    ]


@pytest.fixture
def federation(tmp_path: Path) -> Path:
    init_federation(tmp_path, "credit", "mqtt://127.0.0.1:1")
    roles = json.dumps({"w": "statistic"})
    tensors = {"w": np.zeros(3, np.float32)}
    save_file(tensors, tmp_path / "initial.safetensors", metadata={"antiphon.roles": roles})
    return tmp_path


def test_run_starts_with_the_folders_model_and_its_roles(
    federation: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, Any] = {}

    class Fake:
        def __init__(self, *arguments: Any, **named: Any) -> None:
            given.update(settings=arguments[0], identity=arguments[1], initial=arguments[3], **named)

        def stop(self) -> None:
            given["stopped"] = True

        async def run(self) -> Summary:
            return Summary("it was stopped", b"", 5, b"", 7, 1, Path("m"))

    monkeypatch.setattr("antiphon.cli.coordinator.Coordinator", Fake)
    assert main(["coordinator", str(federation), "--take-over", "--quiet"]) == 0
    assert given["settings"].roles == {"w": "statistic"}
    assert given["initial"]()["w"].tolist() == [0, 0, 0]
    assert (given["take_over"], given["listen"], given["identity"].federation) == (True, None, "credit")
    assert "version 5, 7 updates applied, 1 rejected; the model is in m" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "new_run", "insist"),
    [([], False, False), (["--initial"], False, True), (["--initial", "--new-run"], True, False)],
)
def test_initial_file_that_is_asked_for_is_insisted_on_unless_another_run_begins(
    federation: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], new_run: bool, insist: bool
) -> None:
    given: dict[str, Any] = {}

    class Fake:
        def __init__(self, *arguments: Any, **named: Any) -> None:
            given.update(named)

        def stop(self) -> None:
            given["stopped"] = True

        async def run(self) -> Summary:
            return Summary("it was stopped", b"", 5, b"", 7, 1, Path("m"))

    monkeypatch.setattr("antiphon.cli.coordinator.Coordinator", Fake)
    file = str(federation / "initial.safetensors")
    words = [word for option in options for word in ([option, file] if option == "--initial" else [option])]
    assert main(["coordinator", str(federation), "--quiet", *words]) == 0
    assert (given["new_run"], given["insist"]) == (new_run, insist)


@pytest.mark.parametrize("name", ["nothing.npz", "nothing.safetensors"])
def test_initial_file_that_is_missing_is_one_sentence(
    federation: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["coordinator", str(federation), "--initial", name]) == 2
    assert capsys.readouterr().err == f"antiphon: there is no {name}\n"


@pytest.mark.parametrize(
    ("section", "wrong", "sentence"),
    [
        ("aggregation", 'k = "three"', "aggregation.k: 'three' is neither"),
        ("limits", "offer = 600000", "limits.offer is larger than limits.frame"),
    ],
)
def test_settings_that_name_no_run_are_refused_with_their_file(
    federation: Path, capsys: pytest.CaptureFixture[str], section: str, wrong: str, sentence: str
) -> None:
    file = federation / "coordinator.toml"
    file.write_text(file.read_text().replace(f"[{section}]\n", f"[{section}]\n{wrong}\n"))
    assert main(["coordinator", str(federation)]) == 2
    assert f"{file}: {sentence}" in capsys.readouterr().err


def test_folder_without_a_federation_says_how_to_make_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["coordinator", str(tmp_path)]) == 2
    assert "antiphon init" in capsys.readouterr().err


def test_roles_that_are_no_map_are_refused(federation: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = {"w": np.zeros(3, np.float32)}
    save_file(tensors, federation / "initial.safetensors", metadata={"antiphon.roles": "[1]"})
    assert main(["coordinator", str(federation)]) == 2
    assert "roles" in capsys.readouterr().err
