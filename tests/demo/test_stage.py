"""Folders and settings of a demo."""

import shlex
import stat
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from antiphon.broker_config.folders import load_roster, open_federation
from antiphon.broker_config.settings import read
from antiphon.codecs.errors import ConfigError
from antiphon.coordinator.aggregation.fairness import InverseRate
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.models import load
from antiphon.coordinator.settings import CoordinatorSettings
from antiphon.demo.problem import SLOW, Problem
from antiphon.demo.stage import (
    MARK,
    Plan,
    Stage,
    agent_command,
    clear,
    coordinator_toml,
    prepare,
    save_summary,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    from antiphon.demo.credit import credit

    return prepare(credit(0), Plan(), tmp_path_factory.mktemp("demo") / "out", 18830)


def test_federation_is_complete_and_every_bank_is_admitted(made: Stage) -> None:
    federation, settings = open_federation(made.federation, CoordinatorSettings)
    settings.check()
    assert (federation.name, federation.initial) == ("credit", made.federation / "initial.safetensors")
    assert sorted(load_roster(made.federation)) == sorted(bank.id for bank in made.problem.banks)
    assert (settings.end.max_versions, settings.aggregation["k"]) == (160, 4)
    rule = build_rule(settings.preset, settings.aggregation)
    assert "InverseRate" in repr(rule.fairness)
    assert load(made.federation / "initial.safetensors")["weights"].shape == (57, 1)


def test_weighting_of_a_problem_reaches_the_rule(problem: Problem) -> None:
    changed = replace(problem, weighting='fairness = { kind = "inverse-rate", clip = 2.0 }')
    text = coordinator_toml(changed, Plan(), "mqtt://127.0.0.1")
    assert build_rule("fedbuff", tomllib.loads(text)["aggregation"]).fairness == InverseRate(clip=2.0)


def test_bank_has_its_own_rows_and_its_own_keys_and_nothing_else(made: Stage) -> None:
    for bank in made.problem.banks:
        names = {path.name for path in made.bank(bank.id).iterdir()}
        request = f"{bank.id}.request.toml"
        assert names == {
            "agent.toml",
            "agent.key",
            "federation.toml",
            "admission.toml",
            request,
            "columns.toml",
            "customers.csv",
        }
        rows = (made.bank(bank.id) / "customers.csv").read_text().splitlines()
        assert len(rows) == len(bank.rows) + 1


def test_folder_with_secrets_is_for_its_owner_alone(made: Stage) -> None:
    assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700


def test_only_the_slow_bank_is_slow(made: Stage) -> None:
    def seconds(place: int) -> float:
        (word,) = (word for word in agent_command(made, place) if word.startswith("seconds="))
        return float(word.removeprefix("seconds="))

    assert seconds(SLOW) == pytest.approx(20 * seconds(0), rel=0.01)
    assert seconds(0) == pytest.approx(made.plan.training, rel=0.01)
    assert agent_command(made, 0)[:6] == [
        "agent",
        ".",
        "--trainer",
        "antiphon.demo.bank:logistic",
        "--data",
        "customers.csv",
    ]


def test_command_to_look_is_one_that_a_shell_takes(made: Stage) -> None:
    words = shlex.split(made.look)
    password = read(made.federation / "broker" / "credentials.toml")["monitors"]["monitor"]
    assert words[:5] == ["mosquitto_sub", "-h", "127.0.0.1", "-p", "18830"]
    assert words[5:] == ["-u", "monitor", "-P", password, "-v", "-t", "#"]
    assert password not in repr(made)


def test_demo_replaces_its_own_folder_and_no_other(tmp_path: Path) -> None:
    own = clear(tmp_path / "own")
    (own / "old").write_text("x")
    assert [path.name for path in clear(own).iterdir()] == [MARK]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="no demo made"):
        clear(tmp_path / "other")
    assert (tmp_path / "other" / "thesis.txt").exists()
    with pytest.raises(ConfigError, match="is a file"):
        clear(tmp_path / "other" / "thesis.txt")
    (tmp_path / "empty").mkdir()
    assert clear(tmp_path / "empty").is_dir()


@pytest.mark.parametrize("plan", [{"seconds": 1.0}, {"seconds": 1e9}, {"versions": 3}])
def test_plan_that_leaves_no_time_for_the_story_is_refused(plan: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="use"):
        Plan(**plan)  # pyright: ignore[reportArgumentType]


def test_longest_demo_by_default_ends_well_within_ninety_seconds() -> None:
    assert Plan().budget <= 50


def test_summary_is_json(stage: Stage, problem: Problem) -> None:
    assert save_summary(stage, {"federated": 0.8}).read_text() == '{\n  "federated": 0.8\n}\n'
    assert stage.parts == {"furniture": "20 x slower", "new-car": "killed", "education": "joins late"}
