"""A TCP line that tests can cut, hold, or make behave like an old broker."""

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

CONNACK_UNKNOWN_PROTOCOL = bytes.fromhex("20020001")
"""What a 3.1.1 broker answers to a protocol version that it does not know."""


class Line:
    """Listens on a port of its own and passes everything on to a broker.

    Attributes:
        old: How it meets an MQTT 5 CONNECT: passes it on, closes the line, refuses the version, or talks
            rubbish.
        protocols: The protocol versions that clients tried, in order.
        tried, left: Set by each try, and by each end of a line; for tests to clear.
    """

    def __init__(
        self, host: str, port: int, *, path: Path | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """Where the broker is; ``path`` makes this end a Unix socket, ``tls`` encrypts it."""
        self._target, self._path, self._tls = (host, port), path, tls
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, None] = {}
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.old: Literal["", "closes", "refuses", "babbles"] = ""
        self.protocols: list[int] = []
        self.tried, self.left = asyncio.Event(), asyncio.Event()
        self._clients: list[asyncio.StreamWriter] = []

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        assert self._server is not None
        return self._server.sockets[0].getsockname()[1]

    async def __aenter__(self) -> Self:
        """Listen."""
        if self._path is not None:
            self._server = await asyncio.start_unix_server(self._serve, self._path)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """Break every line that is open, without a word."""
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    def inject(self, data: bytes) -> None:
        """Put these bytes into what clients read."""
        for writer in self._clients:
            writer.write(data)

    def hold(self) -> None:
        """Pass nothing on until `release`."""
        self._flowing.clear()

    def release(self) -> None:
        """Pass on again."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        try:
            await self._relay(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # a line that breaks is what this is for; asyncio complains about cancelled servers
        finally:
            writer.close()
            self.left.set()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeting = await reader.read(4096)
        if not greeting:
            return  # TLS was refused
        # fixed header with a length of 1 or 2 bytes, then 00 04 M Q T T and the version
        version = greeting[greeting.index(b"MQTT") + 4]
        self.protocols.append(version)
        self.tried.set()
        if self.old == "babbles":
            writer.write(b"\x20\xff\xff\xff\xff\xff this is no MQTT")
            await writer.drain()
            await reader.read()
            return
        if version == 5 and self.old:
            if self.old == "refuses":
                writer.write(CONNACK_UNKNOWN_PROTOCOL)
                await writer.drain()
            return
        self._clients.append(writer)
        inner, outer = await asyncio.open_connection(*self._target)
        self._open[outer] = None
        outer.write(greeting)
        await asyncio.gather(self._pass(reader, outer), self._pass(inner, writer))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        writer.close()
