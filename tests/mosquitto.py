"""A real mosquitto for tests: in a container where a Docker engine answers, else the program on this machine.

``ANTIPHON_TEST_BROKER=container`` or ``binary`` forces one. When neither is there the tests fail and say what
to install.
"""

import os
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from antiphon.broker_config.connection import BrokerAddress
from antiphon.broker_config.credentials import hash_password, password_file
from antiphon.broker_config.mosquitto import find_mosquitto

IMAGE = "eclipse-mosquitto:2"
READY = 20.0
"""Seconds within which a broker has to answer."""

USERS = ("coordinator", "monitor", *(f"agent-{number}" for number in range(8)))

CONFIGURATION = """\
listener {port}
allow_anonymous false
password_file passwd
acl_file acl
use_username_as_clientid true
persistence false
max_packet_size 2097152
max_queued_messages 4000
set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
{extra}
listener {web_port}
protocol websockets
"""

# Everybody may do everything but write under forbidden/.
RULES = "".join(f"user {user}\ntopic readwrite #\ntopic deny forbidden/#\n\n" for user in USERS)

# CONNECT of a nameless MQTT 3.1.1 client: any answer means that the broker is up.
PROBE = bytes.fromhex("100c00044d5154540402003c0000")


class Mosquitto(ABC):
    """A broker that can be stopped and started again on the same ports, with `USERS` and `RULES`.

    Attributes:
        folder: Its configuration: ``mosquitto.conf``, ``passwd``, ``acl``; write them anew and `restart`.
        host, port: Where it listens.
        web_port: Where it listens for WebSockets.
    """

    def __init__(self, folder: Path, extra: str = "") -> None:
        """Write the configuration; ``extra`` is appended to it. Not started yet."""
        self.folder = folder
        self.host, self.port, self.web_port = "127.0.0.1", free_port(), free_port()
        self.folder.mkdir(parents=True, exist_ok=True)
        port, web_port = self.inner_ports
        text = CONFIGURATION.format(port=port, web_port=web_port, extra=extra)
        if os.geteuid() == 0 or isinstance(self, ContainerMosquitto):
            text += "user root\n"  # it would become a user who cannot read our temporary folders
        self._write("mosquitto.conf", text)
        self._write("passwd", password_file({user: hash_password(self.password(user)) for user in USERS}))
        self._write("acl", RULES)

    @property
    def inner_ports(self) -> tuple[int, int]:
        """The ports in the configuration file."""
        return self.port, self.web_port

    @property
    def url(self) -> str:
        """For `BrokerAddress`."""
        return f"mqtt://{self.host}:{self.port}"

    def password(self, user: str) -> str:
        """The user's password."""
        return f"secret of {user}"

    def address(self, user: str) -> BrokerAddress:
        """How this user connects."""
        return BrokerAddress(self.url, user, self.password(user))

    def start(self) -> None:
        """Start, and return when it answers."""
        self._start()
        wait_for(self.host, self.port)

    @abstractmethod
    def stop(self) -> None:
        """Stop cleanly; nothing is kept."""

    @abstractmethod
    def kill(self) -> None:
        """As `stop`, but like a power cut."""

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    @abstractmethod
    def close(self) -> None:
        """Stop for good and leave nothing behind."""

    @abstractmethod
    def _start(self) -> None: ...

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o644)


class BinaryMosquitto(Mosquitto):
    """The program on this machine."""

    _process: subprocess.Popen[bytes] | None = None

    def stop(self) -> None:
        """Terminate."""
        self._end(subprocess.Popen[bytes].terminate)

    def kill(self) -> None:
        """Kill."""
        self._end(subprocess.Popen[bytes].kill)

    def close(self) -> None:
        """Kill."""
        self.kill()

    def _start(self) -> None:
        program = find_mosquitto()
        if program is None:
            raise RuntimeError(MISSING)
        with (self.folder / "log").open("ab") as log:
            command = [program, "-c", "mosquitto.conf"]
            self._process = subprocess.Popen(command, cwd=self.folder, stderr=log, stdout=log)

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> None:
        if self._process is not None:
            how(self._process)
            self._process.wait(10)
            self._process = None


class ContainerMosquitto(Mosquitto):
    """The public image, through testcontainers."""

    _container: Any = None

    @property
    def inner_ports(self) -> tuple[int, int]:
        """Inside the container."""
        return 1883, 9001

    def stop(self) -> None:
        """Stop the container; it can be started again."""
        self._container.get_wrapped_container().stop(timeout=5)

    def kill(self) -> None:
        """Kill the container; it can be started again."""
        self._container.get_wrapped_container().kill()

    def close(self) -> None:
        """Remove the container."""
        if self._container is not None:
            self._container.stop()
            self._container = None

    def _start(self) -> None:
        if self._container is not None:
            self._container.get_wrapped_container().start()
            return
        # Its cleaning container is one more image to pull; the fixtures stop what they start.
        os.environ["TESTCONTAINERS_RYUK_DISABLED"] = "true"
        from testcontainers.core.container import DockerContainer

        self._container = (
            DockerContainer(IMAGE)
            .with_bind_ports(1883, self.port)  # its own choice would change with every start
            .with_bind_ports(9001, self.web_port)
            .with_volume_mapping(str(self.folder), "/mosquitto/config", "ro")
            .with_kwargs(working_dir="/mosquitto/config")
        )
        self._container.start()


MISSING = "tests with a real broker take a running Docker engine, or mosquitto: apt-get install mosquitto"


def docker_answers() -> bool:
    """Whether there is an engine to start containers with."""
    try:
        done = subprocess.run(["docker", "info"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def choose() -> type[Mosquitto]:
    """Container or program.

    Raises:
        RuntimeError: Neither is there.
    """
    wanted = os.environ.get("ANTIPHON_TEST_BROKER", "")
    if wanted not in ("", "container", "binary"):
        raise RuntimeError("ANTIPHON_TEST_BROKER must be container or binary")
    if wanted == "container" or (not wanted and docker_answers()):
        return ContainerMosquitto
    if wanted == "binary" or find_mosquitto() is not None:
        return BinaryMosquitto
    raise RuntimeError(MISSING)


@contextmanager
def running(kind: type[Mosquitto], folder: Path, extra: str = "") -> Generator[Mosquitto]:
    """A started broker, gone at the end of the block."""
    broker = kind(folder, extra)
    try:
        broker.start()
        yield broker
    finally:
        broker.close()


def free_port() -> int:
    """A TCP port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(host: str, port: int) -> None:
    """Return when a broker answers; asking is the only way to find out.

    Raises:
        TimeoutError: It does not.
    """
    end = time.monotonic() + READY
    while time.monotonic() < end:
        try:
            with socket.create_connection((host, port), timeout=1) as line:
                line.sendall(PROBE)
                if line.recv(1):
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise TimeoutError(f"mosquitto did not answer on port {port} within {READY} s")
