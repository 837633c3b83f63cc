"""Making federations and agents, and admitting agents."""

import re
import stat
from pathlib import Path

import msgspec
import pytest
from federations import make_federation

from antiphon.agents.settings import AgentSettings
from antiphon.broker_config.access import read_acl_file
from antiphon.broker_config.credentials import is_password, read_password_file
from antiphon.broker_config.documents import AgentFile, CoordinatorFile, load_request
from antiphon.broker_config.folders import load_passwords, load_roster, open_agent, open_federation
from antiphon.broker_config.provisioning import (
    add_monitor,
    admit,
    fingerprint,
    init_agent,
    init_federation,
)
from antiphon.broker_config.settings import load_two
from antiphon.codecs.errors import ConfigError, StateError
from antiphon.coordinator.settings import CoordinatorSettings

URL = "mqtt://broker.example:2883"


def test_new_federation_loads_with_the_coordinators_settings(tmp_path: Path) -> None:
    init_federation(tmp_path / "f", "credit", URL, "site/a", "fedadam")
    federation, settings = open_federation(tmp_path / "f", CoordinatorSettings)
    assert settings == CoordinatorSettings(preset="fedadam")
    assert (federation.name, federation.prefix) == ("credit", "site/a/")
    assert (federation.address.url, federation.address.username) == (URL, "coordinator")
    assert federation.initial is None
    assert "listener 2883 " in (tmp_path / "f" / "broker" / "mosquitto.conf").read_text()


def test_new_agent_loads_with_the_agents_settings_and_believes_the_coordinator(tmp_path: Path) -> None:
    federation = open_federation(make_federation(tmp_path, "site/"), CoordinatorSettings)[0]
    agent, settings = open_agent(tmp_path / "bank-1", AgentSettings)
    assert settings == AgentSettings()
    assert (agent.id, agent.federation, agent.prefix) == ("bank-1", "credit", "site/")
    assert agent.coordinator == federation.key.public
    assert agent.signing == federation.signing.public
    assert load_roster(tmp_path / "federation")["bank-1"].public == agent.key.public


@pytest.mark.parametrize("kind", [CoordinatorSettings, AgentSettings])
def test_every_key_that_a_template_names_exists_and_shows_its_default(
    tmp_path: Path, kind: type[msgspec.Struct]
) -> None:
    path, file = (
        (make_federation(tmp_path) / "coordinator.toml", CoordinatorFile)
        if kind is CoordinatorSettings
        else (make_federation(tmp_path).parent / "bank-1" / "agent.toml", AgentFile)
    )
    before = load_two(path, file, kind)
    path.write_text(re.sub(r"^#(?=\w+ = )", "", path.read_text(), flags=re.MULTILINE))
    after = load_two(path, file, kind)
    shown, examples = msgspec.to_builtins(after[1]), ("hints",)
    assert {key: value for key, value in shown.items() if key not in examples} == {
        key: value for key, value in msgspec.to_builtins(before[1]).items() if key not in examples
    }
    assert after[0] != before[0] or kind is CoordinatorSettings


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    make_federation(tmp_path)
    secret = {
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and not stat.S_IMODE(path.stat().st_mode) & 0o077
    }
    assert {str(path.relative_to(tmp_path)) for path in secret} == {
        "federation/coordinator.key",
        "federation/broker/credentials.toml",
        "bank-1/agent.key",
        "bank-2/agent.key",
    }


def test_private_keys_and_passwords_stay_in_their_folders(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    agent = open_agent(tmp_path / "bank-1", AgentSettings)[0]
    for secret in (agent.key.export().hex(), agent.address.password or ""):
        assert not [path for path in federation.rglob("*") if path.is_file() and secret in path.read_text()]
        assert secret not in repr(agent)
    coordinator = open_federation(federation, CoordinatorSettings)[0]
    for secret in (coordinator.key.export().hex(), coordinator.signing.export().hex()):
        assert secret not in repr(coordinator)
        assert secret not in (federation / "federation.toml").read_text()


def test_everybody_gets_a_broker_user_and_rules(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    users = read_password_file((federation / "broker" / "passwd").read_text())
    everybody = {"coordinator", "monitor", "admin", "bank-1", "bank-2"}
    assert set(users) == everybody
    assert {rule.user for rule in read_acl_file((federation / "broker" / "acl").read_text())} == everybody
    password = open_agent(tmp_path / "bank-1", AgentSettings)[0].address.password
    assert is_password(password or "", users["bank-1"])
    assert is_password(load_passwords(federation).coordinator, users["coordinator"])


def test_second_federation_in_a_folder_is_refused_and_the_first_left_alone(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    key = (federation / "coordinator.key").read_bytes()
    with pytest.raises(StateError, match="holds a federation already"):
        init_federation(federation, "other", URL)
    assert (federation / "coordinator.key").read_bytes() == key


def test_second_agent_in_a_folder_is_refused_and_the_first_left_alone(tmp_path: Path) -> None:
    invitation = make_federation(tmp_path) / "federation.toml"
    key = (tmp_path / "bank-1" / "agent.key").read_bytes()
    with pytest.raises(StateError, match="holds an agent already"):
        init_agent(tmp_path / "bank-1", "bank-3", invitation)
    assert (tmp_path / "bank-1" / "agent.key").read_bytes() == key


def test_agent_in_the_federations_own_folder_keeps_the_invitation(tmp_path: Path) -> None:
    invitation = make_federation(tmp_path, agents=()) / "federation.toml"
    text = invitation.read_text()
    init_agent(
        invitation.parent, "bank-1", invitation, trainer="mybank:Trainer", broker_url="ws://proxy/mqtt"
    )
    assert invitation.read_text() == text
    file = load_two(invitation.parent / "agent.toml", AgentFile, AgentSettings)[0]
    assert (file.trainer, file.broker.url) == ("mybank:Trainer", "ws://proxy/mqtt")


@pytest.mark.parametrize(
    ("name", "url", "prefix", "said"),
    [
        ("Credit", URL, "", "federation's name"),
        ("credit", "http://x", "", "must start with"),
        ("credit", URL, "a/+/b", "topic prefix"),
    ],
)
def test_unusable_federation_leaves_nothing_behind(
    tmp_path: Path, name: str, url: str, prefix: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        init_federation(tmp_path / "f", name, url, prefix)
    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize("id", ["coordinator", "broker", "monitor", "admin", "../escape", "Bank"])
def test_agent_cannot_be_called_what_changes_a_topic_a_path_or_a_role(tmp_path: Path, id: str) -> None:
    invitation = make_federation(tmp_path, agents=()) / "federation.toml"
    with pytest.raises(ConfigError, match=r"small letters|is reserved"):
        init_agent(tmp_path / "a", id, invitation)
    assert not (tmp_path / "a").exists()


def test_request_edited_to_a_reserved_id_is_refused_on_admission(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    request = tmp_path / "bank-1" / "bank-1.request.toml"
    request.write_text(request.read_text().replace('"bank-1"', '"coordinator"'))
    with pytest.raises(ConfigError, match="is reserved"):
        admit(federation, request)


def test_request_for_another_federation_is_refused(tmp_path: Path) -> None:
    make_federation(tmp_path)
    init_federation(tmp_path / "g", "other", URL)
    with pytest.raises(ConfigError, match="asks federation 'credit'; this one is 'other'"):
        admit(tmp_path / "g", tmp_path / "bank-1" / "bank-1.request.toml")


def test_request_with_a_key_of_low_order_is_refused(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, agents=())
    request = tmp_path / "x.request.toml"
    request.write_text(f'id = "x"\nfederation = "credit"\npublic = "{bytes(32).hex()}"\n')
    with pytest.raises(ConfigError, match="low order"):
        admit(federation, request)
    request.write_text('id = "x"\nfederation = "credit"\npublic = "abc"\n')
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        admit(federation, request)
    assert load_roster(federation) == {}


def test_admitting_again_gives_a_new_password_and_keeps_the_key(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    before = open_agent(tmp_path / "bank-1", AgentSettings)[0]
    admission = admit(federation, tmp_path / "bank-1" / "bank-1.request.toml", may_initialise=True)
    (tmp_path / "bank-1" / "admission.toml").write_bytes(admission.read_bytes())
    after = open_agent(tmp_path / "bank-1", AgentSettings)[0]
    assert after.key == before.key
    assert after.address.password != before.address.password
    assert load_roster(federation)["bank-1"].may_initialise
    assert not load_roster(federation)["bank-2"].may_initialise


def test_another_key_under_an_admitted_id_is_refused(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    request = init_agent(tmp_path / "thief", "bank-1", federation / "federation.toml")
    with pytest.raises(ConfigError, match="admitted with another key"):
        admit(federation, request)


def test_one_key_under_two_ids_is_refused(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    request = tmp_path / "bank-1" / "bank-1.request.toml"
    request.write_text(request.read_text().replace('"bank-1"', '"bank-9"'))
    with pytest.raises(ConfigError, match="has the same key"):
        admit(federation, request)


def test_tools_and_agents_cannot_share_a_broker_user(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    password = add_monitor(federation, "grafana")
    assert load_passwords(federation).monitors["grafana"] == password
    assert is_password(
        password, read_password_file((federation / "broker" / "passwd").read_text())["grafana"]
    )
    for taken in ("grafana", "coordinator", "bank-1", "monitor"):
        with pytest.raises(ConfigError, match="is taken"):
            add_monitor(federation, taken)
    request = init_agent(tmp_path / "g", "grafana", federation / "federation.toml")
    with pytest.raises(ConfigError, match="monitoring tool"):
        admit(federation, request)


def test_monitors_read_everything_below_the_prefix_and_write_nothing(tmp_path: Path) -> None:
    federation = make_federation(tmp_path, "site/")
    rules = read_acl_file((federation / "broker" / "acl").read_text())
    assert {(rule.right, rule.filter) for rule in rules if rule.user == "monitor"} == {("read", "site/#")}


def test_fingerprint_is_short_and_of_that_key(tmp_path: Path) -> None:
    make_federation(tmp_path)
    keys = [load_request(tmp_path / id / f"{id}.request.toml").public for id in ("bank-1", "bank-2")]
    assert re.fullmatch(r"[0-9a-f]{4}( [0-9a-f]{4}){3}", fingerprint(keys[0]))
    assert fingerprint(keys[0]) != fingerprint(keys[1])
    assert fingerprint(keys[0]) == fingerprint(keys[0].upper())
