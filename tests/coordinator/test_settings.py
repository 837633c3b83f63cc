"""coordinator.toml: what is taken, what is refused and how."""

from pathlib import Path

import pytest

from antiphon.broker_config.settings import load
from antiphon.codecs.errors import ConfigError
from antiphon.coordinator.settings import CoordinatorSettings, End, Limits


def test_empty_file_gives_every_default(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.toml"
    path.write_text("")
    assert load(path, CoordinatorSettings) == CoordinatorSettings()
    CoordinatorSettings().check()


def test_misspelt_limit_is_refused_with_the_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.toml"
    path.write_text("[limits]\nintake_byte = 5\n")
    with pytest.raises(ConfigError, match="intake_bytes"):
        load(path, CoordinatorSettings)


def test_number_out_of_bounds_is_refused_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "coordinator.toml"
    path.write_text("[limits]\nframe = 100\n")
    with pytest.raises(ConfigError, match=r"limits\.frame"):
        load(path, CoordinatorSettings)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (CoordinatorSettings(limits=Limits(frame=16 << 10, offer=32 << 10)), "limits.offer"),
        (CoordinatorSettings(limits=Limits(intake_bytes=1000)), "limits.intake_bytes"),
        (CoordinatorSettings(end=End(target_value=0.5)), "end.target_metric"),
        (CoordinatorSettings(hints={f"h{n}": 1.0 for n in range(65)}), "hints"),
        (CoordinatorSettings(hints={"mu": float("nan")}), "finite"),
    ],
)
def test_values_that_contradict_each_other_are_refused(settings: CoordinatorSettings, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        settings.check()
