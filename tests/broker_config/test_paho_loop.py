"""Driving a paho client."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from antiphon.broker_config.paho_loop import PahoLoop


class Puppet:
    """Stands in for a paho client."""

    def __init__(self, sock: socket.socket | None) -> None:
        self.sock = sock
        self.on_socket_close: Any = None
        self.on_socket_register_write: Any = None
        self.on_socket_unregister_write: Any = None
        self.error: Exception | None = None
        self.outgoing = 0
        self.read = 0
        self.changed = asyncio.Event()

    def socket(self) -> socket.socket | None:
        return self.sock

    def want_write(self) -> bool:
        return self.outgoing > 0

    def loop_read(self) -> None:
        assert self.sock is not None
        if self.error is not None:
            raise self.error
        try:
            self.read += len(self.sock.recv(100))
            self.changed.set()
        except BlockingIOError:
            return

    def loop_write(self) -> None:
        self.outgoing = max(0, self.outgoing - 1)
        if not self.outgoing:
            self.changed.set()

    def loop_misc(self) -> None:
        return


def puppet_loop(puppet: Puppet, broken: Callable[[str], None]) -> PahoLoop:
    """A driver for the puppet."""
    client: Any = puppet
    return PahoLoop(client, broken, lambda: None)


def test_client_without_a_line_cannot_be_attached() -> None:
    async def main() -> None:
        with pytest.raises(ConnectionError):
            puppet_loop(Puppet(None), pytest.fail).attach()

    asyncio.run(main())


def test_whatever_the_client_raises_ends_the_line_alone() -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        here.setblocking(False)
        puppet, broken, gone = Puppet(here), list[str](), asyncio.Event()
        puppet.error = IndexError("a packet that no broker should send")

        def note(reason: str) -> None:
            broken.append(reason)
            gone.set()

        puppet_loop(puppet, note).attach()
        there.send(b"x")
        async with asyncio.timeout(10):
            await gone.wait()
        assert broken == [
            "the broker's bytes cannot be read (IndexError: a packet that no broker should send)"
        ]
        assert here.fileno() == -1
        there.close()

    asyncio.run(main())


def test_what_the_socket_does_not_take_at_once_is_written_later() -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        here.setblocking(False)
        puppet = Puppet(here)
        driver = puppet_loop(puppet, pytest.fail)
        driver.attach()
        puppet.changed.clear()
        puppet.outgoing = 5
        puppet.on_socket_register_write(None, None, here)
        puppet.on_socket_register_write(None, None, here)
        puppet.on_socket_unregister_write(None, None, here)
        async with asyncio.timeout(10):
            await puppet.changed.wait()
        driver.close()
        puppet.on_socket_register_write(None, None, here)
        await asyncio.sleep(0)
        there.close()

    asyncio.run(main())


def test_paused_line_is_not_read() -> None:
    async def main() -> None:
        here, there = socket.socketpair()
        here.setblocking(False)
        puppet = Puppet(here)
        driver = puppet_loop(puppet, pytest.fail)
        driver.attach()
        driver.pause()
        there.send(b"x")
        for _ in range(10):
            await asyncio.sleep(0)
        assert puppet.read == 0
        driver.resume()
        async with asyncio.timeout(10):
            await puppet.changed.wait()
        driver.close()
        driver.resume()
        there.close()

    asyncio.run(main())
