"""`antiphon admit`, as typed."""

from pathlib import Path

import pytest
from federations import broker_process, make_federation
from mosquitto import free_port

from antiphon.broker_config.folders import load_passwords, load_roster
from antiphon.cli import main


def test_admitted_agent_on_this_machine_gets_the_command_to_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = make_federation(tmp_path)
    request = tmp_path / "bank-1" / "bank-1.request.toml"
    (federation / "roster" / "bank-1.toml").unlink()
    assert main(["admit", str(federation), str(request), "--may-initialise"]) == 0
    said = capsys.readouterr().out
    assert "Agent bank-1 is admitted. Fingerprint" in said
    assert f"cp {federation}/admissions/bank-1.toml {tmp_path}/bank-1/admission.toml" in said
    assert "send it SIGHUP" in said
    assert "void" not in said
    assert load_roster(federation)["bank-1"].may_initialise
    assert main(["admit", str(federation), str(request)]) == 0
    assert "the admission that it has is void now" in capsys.readouterr().out


def test_request_that_was_sent_is_answered_with_a_file_to_send_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    federation = make_federation(tmp_path)
    sent = tmp_path / "mail.toml"
    sent.write_bytes((tmp_path / "bank-1" / "bank-1.request.toml").read_bytes())
    assert main(["admit", str(federation), str(sent)]) == 0
    assert f"send {federation}/admissions/bank-1.toml back" in capsys.readouterr().out


def test_tool_gets_a_user_that_only_looks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    federation = make_federation(tmp_path)
    assert main(["admit", str(federation), "--monitor", "grafana"]) == 0
    said = capsys.readouterr().out
    assert load_passwords(federation).monitors["grafana"] in said
    assert "publish nothing" in said


def test_running_broker_reads_its_files_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    federation = make_federation(tmp_path)
    with broker_process(federation, free_port()):
        assert main(["admit", str(federation), "--monitor", "grafana"]) == 0
    assert "reads its users and rules again" in capsys.readouterr().out


@pytest.mark.parametrize("rest", [[], ["x.toml", "--monitor", "grafana"]])
def test_neither_or_both_is_refused(
    tmp_path: Path, rest: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["admit", str(tmp_path), *rest]) == 2
    assert "one of them" in capsys.readouterr().err


def test_missing_files_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    federation = make_federation(tmp_path)
    assert main(["admit", str(federation), str(tmp_path / "gone.toml")]) == 2
    assert main(["admit", str(tmp_path), str(tmp_path / "gone.toml")]) == 2
    error = capsys.readouterr().err
    assert "cannot read" in error
    assert error.count("antiphon: ") == 2
