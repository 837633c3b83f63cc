"""Drives a connected paho client from asyncio: its external loop, without a thread.

Reads when the socket is readable, writes when paho has something (at once, and on the selector only what the
socket did not take), and lets paho look after its keepalive every second.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import Client

log = logging.getLogger("antiphon")

BURST = 64
"""Packets handled in one turn of the event loop, so that a fast broker does not starve everything else."""


class PahoLoop:
    """Attaches one paho client to the running event loop until its socket closes."""

    def __init__(self, client: Client, broken: Callable[[str], None], tick: Callable[[], None]) -> None:
        """Only remembers; see `attach`.

        Args:
            client: Whose ``connect`` was called.
            broken: Called once if the line cannot be driven any further, with the reason for people.
            tick: Called every second.
        """
        self._client, self._broken, self._tick = client, broken, tick
        self._loop = asyncio.get_running_loop()
        self._descriptor = -1
        self._reading = self._writing = self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self.handled = 0
        """Packets handled so far; callbacks count it up."""

    def attach(self) -> None:
        """Start; on the event loop's thread, after ``connect`` returned in its own.

        Raises:
            ConnectionError: The line is gone already.
        """
        sock = self._client.socket()
        if sock is None:
            raise ConnectionError("the broker closed the connection")
        self._descriptor = sock.fileno()
        self._client.on_socket_close = self._closing
        self._client.on_socket_register_write = self._wants_to_write
        self._client.on_socket_unregister_write = self._ignore
        self.resume()
        self._flush()
        self._timer = self._loop.call_later(1, self._each_second)

    def pause(self) -> None:
        """Stop reading."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._descriptor)

    def resume(self) -> None:
        """Read again. What TLS has read already would wake nobody, so look at once."""
        if not self._reading and self._descriptor >= 0:
            self._reading = True
            self._loop.add_reader(self._descriptor, self._read)
            self._loop.call_soon(self._read)

    def close(self) -> None:
        """Stop, and close the socket without a goodbye."""
        sock = self._client.socket()
        self._detach()
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.close()

    def _read(self) -> None:
        budget = BURST
        while self._reading and budget:
            budget -= 1
            before = self.handled
            self._guard(self._client.loop_read)
            if self.handled == before and not self._has_pending():
                return
        if self._reading:
            self._loop.call_soon(self._read)

    def _has_pending(self) -> bool:
        """Whether TLS has decrypted bytes that no selector knows of."""
        sock: Any = self._client.socket()
        pending = getattr(sock, "pending", None)
        return pending is not None and pending() > 0

    def _wants_to_write(self, client: Client, userdata: Any, sock: Any) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._descriptor < 0:
            return
        self._guard(self._client.loop_write)
        wants = self._descriptor >= 0 and self._client.want_write()
        if wants and not self._writing:
            self._writing = True
            self._loop.add_writer(self._descriptor, self._flush)
        elif not wants:
            self._stop_writing()

    def _each_second(self) -> None:
        self._timer = self._loop.call_later(1, self._each_second)
        self._guard(self._client.loop_misc)
        self._tick()

    def _guard(self, step: Callable[[], Any]) -> None:
        """Whatever a broker's bytes make paho raise ends this line, not the process."""
        try:
            step()
        except Exception as error:  # no await in here: a cancellation cannot be swallowed
            log.debug("the MQTT client failed", exc_info=error)
            self.close()
            self._broken(f"the broker's bytes cannot be read ({type(error).__name__}: {error})")

    def _closing(self, client: Client, userdata: Any, sock: Any) -> None:
        self._detach()

    def _detach(self) -> None:
        self.pause()
        self._stop_writing()
        self._descriptor = -1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_writing(self) -> None:
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._descriptor)

    def _ignore(self, client: Client, userdata: Any, sock: Any) -> None:
        """The selector is told after each write."""
