"""mosquitto on a federation's files: found, configured, run, reloaded."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from federations import (
    PATIENCE,
    Client,
    add_agent,
    address_of,
    broker_process,
    check_rules,
    connected,
    leave,
    make_federation,
)
from mosquitto import Mosquitto, free_port

from antiphon.broker_config import mosquitto
from antiphon.broker_config.mosquitto import (
    check_port,
    find_mosquitto,
    hold,
    local_configuration,
    prepare_mosquitto,
    reload_broker,
)
from antiphon.codecs.errors import ConfigError, StateError

HOLDER = """
import os, sys
from pathlib import Path
from antiphon.broker_config.mosquitto import hold
hold(Path(sys.argv[1]))
{action}
"""


@pytest.mark.parametrize("prefix", ["", "site/a/"])
def test_real_mosquitto_with_our_files_keeps_the_rules(
    tmp_path: Path, mosquitto_kind: type[Mosquitto], prefix: str
) -> None:
    federation = make_federation(tmp_path, prefix)
    broker = mosquitto_kind(tmp_path / "config")
    text = (federation / "broker" / "mosquitto.conf").read_text()
    text = local_configuration(text, broker.inner_ports[0], "0.0.0.0", os.geteuid() == 0)
    (broker.folder / "mosquitto.conf").write_text(text)
    for name in ("passwd", "acl"):
        (broker.folder / name).write_bytes((federation / "broker" / name).read_bytes())
    try:
        broker.start()
        asyncio.run(check_rules(tmp_path, broker.port, prefix))
    finally:
        broker.close()


def test_agent_admitted_while_the_broker_runs_gets_in(tmp_path: Path) -> None:
    """With the mosquitto of this machine, else the embedded broker: the same command, the same promise."""
    federation, port = make_federation(tmp_path, agents=()), free_port()

    async def get_in() -> None:
        stack: list[Client] = []
        async with asyncio.TaskGroup() as group:
            await connected(stack, group, address_of(tmp_path, "late", port))
            await leave(stack)

    with broker_process(federation, port) as process:
        add_agent(tmp_path, "late", federation / "federation.toml")
        assert reload_broker(federation)
        asyncio.run(get_in())
        assert process.poll() is None
        again = subprocess.run(
            [sys.executable, "-m", "antiphon", "broker", str(federation), "--port", str(free_port())],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert again.returncode == 2
        assert "runs on" in again.stderr
    assert process.returncode == 0
    assert not reload_broker(federation)


def test_mosquitto_is_found_where_ordinary_users_do_not_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "mosquitto"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(mosquitto, "PLACES", (str(tmp_path),))
    assert find_mosquitto() == str(program)
    monkeypatch.setattr(mosquitto, "PLACES", (str(tmp_path / "nowhere"),))
    assert find_mosquitto() is None


def test_only_the_first_listener_is_moved_to_this_machine() -> None:
    text = "#listener 1\nlistener 1883 0.0.0.0\nlistener 8883\ncertfile a\n"
    local = local_configuration(text, 99, "127.0.0.1", as_root=False)
    assert "#listener 1\nlistener 99 127.0.0.1\nlistener 8883\ncertfile a\n" in local
    assert "user" not in local.partition("\n")[2]


def test_root_stays_root_unless_the_operator_names_a_user() -> None:
    assert local_configuration("listener 1\n", 1, "x", as_root=True).endswith("\nuser root\n")
    assert "user root" not in local_configuration("listener 1\nuser mosquitto\n", 1, "x", as_root=True)


def test_configuration_without_a_listener_is_refused() -> None:
    with pytest.raises(ConfigError, match="add `listener 1883`"):
        local_configuration("#listener 1883\n", 1, "x", as_root=False)


def test_taken_port_is_said_before_mosquitto_starts(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(ConfigError, match="use --port and --bind"):
            check_port(other.getsockname()[1], "127.0.0.1")
    with pytest.raises(ConfigError, match="cannot listen on"):
        check_port(1, "no such address.invalid")
    check_port(free_port(), "::1" if socket.has_ipv6 and _has_loopback_6() else "127.0.0.1")


def _has_loopback_6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_folder_without_a_federation_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="antiphon init"):
        prepare_mosquitto("mosquitto", tmp_path, 1, "127.0.0.1")


def test_command_starts_the_adapted_configuration(tmp_path: Path) -> None:
    federation, port = make_federation(tmp_path, agents=()), free_port()
    script = (
        "import sys; from pathlib import Path; from antiphon.broker_config.mosquitto import *;"
        "print(*prepare_mosquitto('/bin/true', Path(sys.argv[1]), int(sys.argv[2]), '127.0.0.1'));"
        "become(['/bin/sh', '-c', 'pwd'], Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-u", "-c", script, str(federation), str(port)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.stdout.splitlines() == ["/bin/true -c .running.conf", str(federation / "broker")]
    assert f"listener {port} 127.0.0.1" in (federation / "broker" / ".running.conf").read_text()


def test_broker_that_crashed_leaves_nobody_to_signal(tmp_path: Path) -> None:
    broker = tmp_path / "broker"
    broker.mkdir()
    assert not reload_broker(tmp_path)
    script = HOLDER.format(action="os.kill(os.getpid(), 9)")
    subprocess.run([sys.executable, "-c", script, str(broker)], timeout=PATIENCE, check=False)
    (broker / "broker.pid").write_text(f"{os.getpid()}\n")  # the number is somebody else's by now
    assert not reload_broker(tmp_path)


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "broker.pid").mkdir()
    with pytest.raises(StateError, match=r"broker\.pid"):
        hold(tmp_path)


def test_folder_has_one_broker_at_a_time(tmp_path: Path) -> None:
    script = HOLDER.format(action="print('held', flush=True); sys.stdin.read()")
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateError, match="stop it first"):
            hold(tmp_path)
        holder.communicate(b"", timeout=PATIENCE)
