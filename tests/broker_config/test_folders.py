"""Reading a federation's and an agent's folder, and saying what is wrong with it."""

from pathlib import Path

import pytest
from federations import make_federation

from antiphon.agents.settings import AgentSettings
from antiphon.broker_config.folders import load_roster, open_agent, open_federation
from antiphon.codecs.errors import ConfigError, StateError
from antiphon.coordinator.settings import CoordinatorSettings


def test_folder_of_neither_kind_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="`antiphon init`"):
        open_federation(tmp_path, CoordinatorSettings)
    with pytest.raises(StateError, match="`antiphon agent init`"):
        open_agent(tmp_path, AgentSettings)


def test_version_0_lies_beside_the_settings(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    (federation / "initial.safetensors").write_bytes(b"")
    assert open_federation(federation, CoordinatorSettings)[0].initial == federation / "initial.safetensors"


def test_agent_that_nobody_answered_yet_is_told_what_to_send(tmp_path: Path) -> None:
    make_federation(tmp_path)
    (tmp_path / "bank-1" / "admission.toml").unlink()
    with pytest.raises(
        StateError, match=r"send bank-1\.request\.toml to the operator of federation 'credit'"
    ):
        open_agent(tmp_path / "bank-1", AgentSettings)


def test_admission_of_another_agent_is_refused(tmp_path: Path) -> None:
    make_federation(tmp_path)
    (tmp_path / "bank-1" / "admission.toml").write_bytes(
        (tmp_path / "bank-2" / "admission.toml").read_bytes()
    )
    with pytest.raises(ConfigError, match="is for agent 'bank-2'"):
        open_agent(tmp_path / "bank-1", AgentSettings)


@pytest.mark.parametrize("sealed", ["00", "zz", "00" * 91])
def test_admission_that_does_not_open_asks_for_a_new_one(tmp_path: Path, sealed: str) -> None:
    make_federation(tmp_path)
    (tmp_path / "bank-1" / "admission.toml").write_text(
        f'id = "bank-1"\nfederation = "credit"\npassword = "{sealed}"\n'
    )
    with pytest.raises(ConfigError, match="ask for a new admission"):
        open_agent(tmp_path / "bank-1", AgentSettings)


def test_broker_with_its_own_users_needs_no_password_of_ours(tmp_path: Path) -> None:
    make_federation(tmp_path)
    (tmp_path / "bank-1" / "admission.toml").unlink()
    path = tmp_path / "bank-1" / "agent.toml"
    path.write_text(
        path.read_text()
        .replace('#username = ""', 'username = "edge"')
        .replace('#password = ""', 'password = "theirs"')
        .replace('#ca_file = ""', 'ca_file = "ca.crt"')
    )
    address = open_agent(tmp_path / "bank-1", AgentSettings)[0].address
    assert (address.username, address.password) == ("edge", "theirs")
    assert address.ca_file == str(tmp_path / "bank-1" / "ca.crt")


@pytest.mark.parametrize("text", ["static = 'xyz'\nsigning = 'ab'\n", "static = 'abcd'\nsigning = ''\n"])
def test_damaged_key_file_is_named_and_not_quoted(tmp_path: Path, text: str) -> None:
    federation = make_federation(tmp_path)
    (federation / "coordinator.key").write_text(text)
    with pytest.raises(ConfigError, match=r"coordinator\.key: a key must be 64 hexadecimal digits") as caught:
        open_federation(federation, CoordinatorSettings)
    assert "xyz" not in str(caught.value)


def test_invitation_is_checked_before_anything_is_believed(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    path = federation / "federation.toml"
    good = path.read_text()
    for old, new, said in (
        ('prefix = ""', 'prefix = "a/#"', "topic prefix"),
        ('prefix = ""', 'prefix = "a"', "must be empty or end in"),
        ('name = "credit"', 'name = "Credit"', "federation's name"),
        ("mqtt://", "gopher://", "must start with"),
        ('coordinator = "', 'coordinator = "00', "64 hexadecimal"),
    ):
        path.write_text(good.replace(old, new))
        with pytest.raises(ConfigError, match=said):
            open_federation(federation, CoordinatorSettings)


def test_roster_file_under_another_name_is_refused(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    (federation / "roster" / "bank-1.toml").rename(federation / "roster" / "bank-7.toml")
    with pytest.raises(ConfigError, match=r"must be called bank-1\.toml"):
        load_roster(federation)


def test_roster_that_cannot_be_listed_is_no_empty_roster(tmp_path: Path) -> None:
    (tmp_path / "roster").write_text("")
    with pytest.raises(StateError, match="cannot read"):
        load_roster(tmp_path)


def test_roster_whose_folder_is_gone_is_no_empty_roster(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"cannot read .*roster"):
        load_roster(tmp_path)
