"""The state folder as the service opens it, and what it leaves there."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.broker_config.disk import RealDisk
from antiphon.codecs.errors import ConfigError, StateError
from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator import state_folder
from antiphon.coordinator.aggregation.presets import build_rule
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.ledger.records import Recovered
from antiphon.coordinator.models import load, metadata_of
from antiphon.coordinator.settings import CoordinatorSettings
from antiphon.simulation.clock import virtual_environment

IDENTITY = Identity("f", SecretKey.generate(), SigningKey.generate())
PARAMS: dict[str, Any] = {"w": np.arange(4.0, dtype=np.float32), "n": np.array(3)}


def test_folder_is_empty_until_a_ledger_was_begun_and_goes_on_with_its_run(tmp_path: Path) -> None:
    settings = CoordinatorSettings()
    runs: list[bytes] = []
    for new_run in (False, False, True):
        assert state_folder.is_empty(tmp_path, RealDisk()) == (not runs)
        ledger = state_folder.make_ledger(settings, build_rule("fedasync", {}), tmp_path, RealDisk())
        environment = virtual_environment(0, str(len(runs) // 2))
        found = state_folder.begin(ledger, IDENTITY, now(environment), new_run)
        runs.append(found.run)
        ledger.close()
    assert runs[0] == runs[1] != runs[2]


def now(environment: Any) -> Any:
    return replace(environment, now=lambda: 1.7e9)


@pytest.mark.parametrize("lazy", [False, True])
def test_first_version_is_packed_from_values_or_from_what_reads_them(lazy: bool) -> None:
    model = state_folder.first_model((lambda: PARAMS) if lazy else PARAMS, {"w": "statistic"})
    assert model.vector.tolist() == [0, 1, 2, 3]
    assert (model.number, len(model.digest)) == (0, 32)
    assert {tensor.role for tensor in model.schema.tensors} == {"statistic", "exact"}


def test_first_version_with_an_infinity_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match="'w'"):
        state_folder.first_model({"w": np.array([1.0, np.inf])}, {})


def test_refusal_names_the_version_and_the_way_out(tmp_path: Path) -> None:
    assert "--new-run" in str(state_folder.refuse_first(Recovered(b"r" * 16, 0.0), tmp_path))


def test_model_that_is_left_says_what_it_is_and_a_folder_that_is_gone_is_a_sentence(tmp_path: Path) -> None:
    ledger = state_folder.make_ledger(CoordinatorSettings(), build_rule("fedbuff", {}), tmp_path, RealDisk())
    model = state_folder.first_model(PARAMS, {})
    state_folder.leave_model(tmp_path, model, ledger, RealDisk(), sync=False)
    file = state_folder.model_file(tmp_path)
    assert metadata_of(file)["digest"] == model.digest.hex()
    assert load(file)["w"].tolist() == [0, 1, 2, 3]
    with pytest.raises(StateError, match="cannot write"):
        state_folder.leave_model(tmp_path / "gone", model, ledger, RealDisk(), sync=False)
