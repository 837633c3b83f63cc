"""The broker that pip installs, as a process for tests."""

import subprocess
import sys
from pathlib import Path

from mosquitto import RULES, USERS, Mosquitto, free_port, wait_for

from antiphon.broker_config.credentials import hash_password, password_file
from antiphon.broker_config.provisioning import init_federation

PROGRAM = """
import sys
from pathlib import Path
from antiphon.broker_config.embedded import run_embedded
run_embedded(Path(sys.argv[1]), int(sys.argv[2]), "127.0.0.1")
"""


class EmbeddedBroker:
    """Has the users and rules of `mosquitto.Mosquitto`, and its face."""

    def __init__(self, folder: Path) -> None:
        """Make a federation's folder for it. Not started yet."""
        self.folder = folder
        self.host, self.port = "127.0.0.1", free_port()
        self._process: subprocess.Popen[bytes] | None = None
        init_federation(folder, "contract", f"mqtt://127.0.0.1:{self.port}", "")
        users = {user: hash_password(self.password(user)) for user in USERS}
        (folder / "broker" / "passwd").write_text(password_file(users))
        (folder / "broker" / "acl").write_text(RULES)

    password = Mosquitto.password

    def start(self) -> None:
        """Start, and return when it answers."""
        with (self.folder / "log").open("ab") as log:
            command = [sys.executable, "-c", PROGRAM, str(self.folder), str(self.port)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self.host, self.port)

    def stop(self) -> None:
        """Terminate."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None
