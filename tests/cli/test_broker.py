"""`antiphon broker`, as typed."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from federations import make_federation
from mosquitto import free_port

from antiphon.broker_config import embedded
from antiphon.cli import main

broker = importlib.import_module("antiphon.cli.broker")

Call = list[object]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Call:
    """What the command would run, instead of running it: mosquitto is there, and becomes nobody."""
    found: Call = []

    def note(name: str, answer: object = None) -> Callable[..., object]:
        def called(*given: object) -> object:
            found.append((name, *given))
            return answer

        return called

    monkeypatch.setattr(broker, "find_mosquitto", lambda: "/usr/sbin/mosquitto")
    monkeypatch.setattr(broker, "prepare_mosquitto", note("prepare", ["mosquitto"]))
    monkeypatch.setattr(broker, "become", note("become"))
    monkeypatch.setattr(embedded, "run_embedded", note("embedded"))
    return found


def test_mosquitto_listens_where_the_invitation_says(tmp_path: Path, calls: Call) -> None:
    federation, port = make_federation(tmp_path, agents=()), free_port()
    invitation = federation / "federation.toml"
    invitation.write_text(invitation.read_text().replace("1883", str(port)))  # a broker may run here
    assert main(["broker", str(federation)]) == 0
    assert calls[0] == ("prepare", "/usr/sbin/mosquitto", federation, port, "127.0.0.1")
    assert calls[1] == ("become", ["mosquitto"], federation)


def test_other_port_is_taken_and_remarked_on(
    tmp_path: Path, calls: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = make_federation(tmp_path, agents=())
    assert main(["broker", str(federation), "--port", "2883", "--bind", "0.0.0.0"]) == 0
    assert calls[0] == ("prepare", "/usr/sbin/mosquitto", federation, 2883, "0.0.0.0")
    assert "agents were told mqtt://127.0.0.1:1883" in capsys.readouterr().err


def test_listener_that_agents_were_told_and_that_is_for_people_to_make_is_named(
    tmp_path: Path, calls: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    federation, port = make_federation(tmp_path, agents=()), free_port()
    invitation = federation / "federation.toml"
    invitation.write_text(invitation.read_text().replace("mqtt://127.0.0.1:1883", "mqtts://broker:8883"))
    assert main(["broker", str(federation), "--port", str(port)]) == 0
    assert "mosquitto.conf has a listener for mqtts" in capsys.readouterr().err
    assert calls[0] == ("prepare", "/usr/sbin/mosquitto", federation, port, "127.0.0.1")


def test_embedded_broker_runs_where_mosquitto_is_not(
    tmp_path: Path, calls: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "find_mosquitto", lambda: None)
    federation, port = make_federation(tmp_path, agents=()), free_port()
    assert main(["broker", str(federation), "--port", str(port)]) == 0
    assert calls == [("embedded", federation, port, "127.0.0.1")]


def test_embedded_broker_runs_when_asked_for(tmp_path: Path, calls: Call) -> None:
    federation, port = make_federation(tmp_path, agents=()), free_port()
    assert main(["broker", str(federation), "--port", str(port), "--embedded"]) == 0
    assert calls == [("embedded", federation, port, "127.0.0.1")]


def test_machine_without_any_broker_is_told_what_to_install(
    tmp_path: Path, calls: Call, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(broker, "find_mosquitto", lambda: None)
    monkeypatch.setattr(broker, "find_spec", lambda name: None)  # pyright: ignore
    assert main(["broker", str(make_federation(tmp_path, agents=()))]) == 2
    assert "pip install 'antiphon[embedded]'" in capsys.readouterr().err
    assert calls == []


def test_folder_without_a_federation_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["broker", str(tmp_path)]) == 2
    assert "federation.toml" in capsys.readouterr().err
