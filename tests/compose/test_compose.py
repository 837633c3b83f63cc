"""`docker compose up` from a clean checkout: a federation in containers that publishes versions by itself."""

import json
import os
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

ROOT = Path(__file__).parents[2]
MISSING = (
    "this test needs a Docker engine that answers and docker compose, version 2 or 1.29: start Docker "
    "(Debian, as root: apt install docker.io docker-compose, then dockerd)"
)
PATIENCE = 240
"""Seconds for the slowest step, the first build of the image on a busy machine."""

pytestmark = pytest.mark.timeout(2 * PATIENCE)


def answers(*command: str) -> bool:
    """Say whether a command is there and succeeds."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def compose_command() -> list[str]:
    """The compose of this machine; in continuous integration a machine without one is a failure."""
    candidates = (["docker", "compose"], ["docker-compose"])
    found = [command for command in candidates if answers(*command, "version")]
    if found and answers("docker", "info"):
        return found[0]
    if os.environ.get("CI") == "true":
        pytest.fail(MISSING)
    pytest.skip(MISSING)


class Composition:
    """One project of compose, with names of its own."""

    def __init__(self, command: list[str]) -> None:
        project = f"antiphon-test-{uuid4().hex[:8]}"
        self.command = [*command, "--project-name", project, "--file", str(ROOT / "compose.yaml")]

    def run(self, *words: str) -> str:
        done = subprocess.run([*self.command, *words], capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def lines(self, *words: str) -> Iterator[str]:
        """What a command prints, line by line, until it ends, the reader leaves or patience does."""
        with subprocess.Popen([*self.command, *words], stdout=subprocess.PIPE, text=True) as process:
            timer = threading.Timer(PATIENCE, process.kill)
            timer.start()
            try:
                assert process.stdout is not None
                yield from process.stdout
            finally:
                timer.cancel()
                process.kill()


@pytest.fixture
def composition() -> Iterator[Composition]:
    made = Composition(compose_command())
    try:
        yield made
    finally:
        logs = subprocess.run(
            [*made.command, "logs", "--no-color"], capture_output=True, text=True, timeout=60
        )
        print(logs.stdout[-8000:])
        subprocess.run(
            [*made.command, "down", "--volumes", "--rmi", "local"], capture_output=True, timeout=PATIENCE
        )


def invitation(composition: Composition) -> str:
    """The federation that `setup` made."""
    return composition.run("run", "--rm", "--entrypoint", "cat", "setup", "/federation/federation.toml")


def test_compose_publishes_three_versions_stops_cleanly_and_keeps_its_federation(
    composition: Composition,
) -> None:
    composition.run("up", "--detach", "--build")
    made = invitation(composition)
    credentials = composition.run("exec", "-T", "coordinator", "cat", "/federation/broker/credentials.toml")
    password = tomllib.loads(credentials)["monitors"]["monitor"]
    look = ("mosquitto_sub", "-u", "monitor", "-P", password, "-t", "status/coordinator")
    statuses = map(json.loads, composition.lines("exec", "-T", "broker", *look))
    assert any(status["version"] >= 3 for status in statuses), "the broker's last word came before version 3"
    status = composition.run("exec", "-T", "coordinator", "antiphon", "status", "/federation", "--json")
    assert json.loads(status)
    composition.run("exec", "-T", "coordinator", "antiphon", "model", "export", "/federation", "/tmp/m.npz")
    services = ("coordinator", "agent-one", "agent-two")
    composition.run("stop", *services)
    containers = composition.run("ps", "--all", "--quiet", *services).split()
    codes = ("docker", "inspect", "--format", "{{.State.ExitCode}}", *containers)
    ended = subprocess.run(codes, capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert ended == ["0"] * len(services), "SIGTERM is a clean end"
    composition.run("up", "setup")
    assert invitation(composition) == made
