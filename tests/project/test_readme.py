"""The README is run as it stands: its trainer, its set-up, its three terminals."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```\w+ (\w+=[\w.]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
PATIENCE = 60
"""Seconds for anything to happen."""

BLOCKS: Mapping[str, str] = {key: text for key, text in BLOCK.findall(README)}


def bash(text: str) -> list[str]:
    """As typed into a terminal: one command after the other, the last one in the shell's place."""
    *first, last = text.strip().splitlines()
    return ["bash", "-euc", "\n".join([*first, f"exec {last}"])]


@contextmanager
def terminal(text: str, folder: Path) -> Generator[subprocess.Popen[str]]:
    """A terminal with a running command, ended by Ctrl-C."""
    log = folder / f"{text.split()[1]}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            bash(text), cwd=folder, env=environment(), stdout=output, stderr=subprocess.STDOUT, text=True
        )
        try:
            yield process
            process.send_signal(signal.SIGINT)
            assert process.wait(PATIENCE) in (0, 130, -signal.SIGINT), log.read_text()
        finally:
            process.kill()
            process.wait()
            print(f"$ {text}{log.read_text()}")


def environment() -> dict[str, str]:
    """The installed commands first, as with an activated virtual environment."""
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def run(text: str, folder: Path) -> str:
    """Run commands to their end."""
    command = ["bash", "-euc", text]
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, f"{text}: {done.stdout}{done.stderr}"
    return done.stdout


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_version(number: int, port: int, password: str) -> None:
    """Watch the coordinator's status, as any monitor may, until it has published version ``number``."""
    reached = threading.Event()
    last: list[str] = []

    def on_connect(client: mqtt.Client, *_: Any) -> None:
        client.subscribe("status/coordinator")

    def on_message(_client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        last[:] = [message.payload.decode()]
        if json.loads(message.payload).get("version", 0) >= number:
            reached.set()

    client = mqtt.Client(CallbackAPIVersion.VERSION2, "monitor")
    client.username_pw_set("monitor", password)
    client.on_connect = on_connect
    client.on_message = on_message
    client.reconnect_delay_set(1, 1)
    client.connect_async("127.0.0.1", port)
    client.loop_start()
    try:
        assert reached.wait(PATIENCE), f"no version {number}; last status: {last}"
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.timeout(4 * PATIENCE)
def test_three_terminals_of_the_readme_make_versions(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "mine.py").write_text(BLOCKS["file=mine.py"], encoding="utf-8")
    # the one liberty taken: a port that is surely free
    setup, count = re.subn(
        r"^antiphon init federation ", rf"\g<0>--broker mqtt://127.0.0.1:{port} ", BLOCKS["run=setup"]
    )
    assert count == 1
    run(setup, tmp_path)
    passwords = tomllib.loads((tmp_path / "federation/broker/credentials.toml").read_text(encoding="utf-8"))
    with ExitStack() as terminals:
        for name in ("broker", "coordinator", "agent"):
            terminals.enter_context(terminal(BLOCKS[f"run={name}"], tmp_path))
        wait_for_version(3, port, passwords["monitors"]["monitor"])
        assert "alice" in run(BLOCKS["run=after"], tmp_path)
        with np.load(tmp_path / "model.npz") as model:
            assert model["weights"].shape == (8,)
            assert model["weights"].any(), "no longer the zeros of version 0"


def test_trainer_of_the_readme_has_at_most_twenty_lines_of_code() -> None:
    lines = [line for line in BLOCKS["file=mine.py"].splitlines() if line.strip()]
    assert len(lines) <= 20


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT) for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]), ids=str
)
def test_page_links_to_what_exists(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert [target for target in LINK.findall(text) if not (ROOT / page.parent / target).exists()] == []
