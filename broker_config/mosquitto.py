"""Runs mosquitto on a federation's ``broker/`` folder, and tells a running broker that users or rules
changed.

The operator's ``mosquitto.conf`` stays as it is; what depends on this machine (address and port of the first
listener, the user) goes into ``.running.conf`` beside it. The process that called becomes the broker, so that
signals and exit codes are the broker's own: SIGTERM stops it cleanly, SIGHUP reads users and rules again.
"""

import fcntl
import os
import re
import shutil
import signal
import socket
from pathlib import Path
from typing import NoReturn

from antiphon.broker_config.files import write
from antiphon.codecs.errors import ConfigError, StateError

PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin", "/sbin")
"""Where mosquitto lies on systems whose ordinary users do not have that on their PATH."""

_LISTENER = re.compile(r"^[ \t]*listener\b.*$", re.MULTILINE)
_PID = "broker.pid"


def find_mosquitto() -> str | None:
    """Return the path of mosquitto, from the PATH or from where Debian and others hide it; None without."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=os.pathsep.join(PLACES))


def local_configuration(text: str, port: int, bind: str, as_root: bool) -> str:
    """Return mosquitto's configuration with its first listener at ``bind``:``port``.

    Args:
        text: The operator's ``mosquitto.conf``.
        port: TCP port.
        bind: Address of this machine.
        as_root: Whether root starts it. mosquitto would then become user ``mosquitto``, who cannot read
            folders that root keeps to itself.

    Raises:
        ConfigError: there is no listener.
    """
    changed, count = _LISTENER.subn(f"listener {port} {bind}", text, count=1)
    if not count:
        raise ConfigError("mosquitto.conf has no `listener` line: add `listener 1883`")
    user = "\nuser root\n" if as_root and not re.search(r"^[ \t]*user\b", text, re.MULTILINE) else ""
    return f"# Written by `antiphon broker` from mosquitto.conf: change that one.\n{changed.rstrip()}\n{user}"


def prepare_mosquitto(program: str, folder: Path, port: int, bind: str) -> list[str]:
    """Make this process the broker of the federation in ``folder``; returns what to `become`.

    Raises:
        StateError: a broker runs on this folder already, or a file cannot be read or written.
        ConfigError: the port is taken, or the configuration has no listener.
    """
    broker = folder / "broker"
    text = read_configuration(broker)
    hold(broker)
    check_port(port, bind)
    write(broker / ".running.conf", local_configuration(text, port, bind, os.geteuid() == 0))
    return [program, "-c", ".running.conf"]


def become(command: list[str], folder: Path) -> NoReturn:
    """Turn this process into ``command``, in the federation's ``broker/``."""
    os.chdir(folder / "broker")
    os.execv(command[0], command)


def read_configuration(broker: Path) -> str:
    """Return the text of ``mosquitto.conf``.

    Raises:
        StateError: it is not there.
    """
    path = broker / "mosquitto.conf"
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        raise StateError(
            f"there is no {path}: name a federation's folder, or make one with `antiphon init`"
        ) from None


def check_port(port: int, bind: str) -> None:
    """Refuse a port that something listens on.

    Raises:
        ConfigError: it is taken, or ``bind`` is no address of this machine.
    """
    try:
        family = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((bind, port))
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on {bind} port {port} ({error}): stop what is there, or use --port and --bind"
        ) from None


def hold(broker: Path) -> None:
    """Mark this process as the folder's broker, until it ends, whatever program it becomes.

    Raises:
        StateError: another one is, or the folder cannot be written.
    """
    try:
        handle = os.open(broker / _PID, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StateError(f"cannot write {broker / _PID}: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise StateError(f"a broker runs on {broker} already: stop it first") from None
    os.ftruncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
    os.set_inheritable(handle, True)  # the lock goes where the process goes, and ends with it


def reload_broker(folder: Path) -> bool:
    """Tell the broker that `hold`s this federation's folder to read users and rules again; False without one.

    The process number counts only while its lock is held: after a crash it may be anybody's.
    """
    path = folder / "broker" / _PID
    try:
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return False
            except OSError:
                os.kill(int(file.read()), signal.SIGHUP)
                return True
    except (OSError, ValueError):
        return False
