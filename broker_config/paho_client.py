"""Makes paho clients: everything about paho that is decided before it connects.

A client serves one session and is then thrown away: paho queues what is published while it is disconnected
and sends all of it in one burst after a reconnect, whatever the limits; a new client has nothing to send.
"""

import asyncio
import os
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from antiphon.broker_config.connection import BrokerAddress, Limits, Will
from antiphon.codecs.errors import ConfigError

DEAD_LINE = 30_000
"""Milliseconds that sent bytes may stay unacknowledged by the other host until the system gives the line up
(RFC 5482)."""


def tls_context(address: BrokerAddress) -> ssl.SSLContext | None:
    """What TLS needs from files; None without TLS.

    Raises:
        ConfigError: A file is missing or is not what it should be.
    """
    if not address.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=address.ca_file)
        if address.certificate_file is not None:
            context.load_cert_chain(address.certificate_file, address.key_file)
    except (OSError, ssl.SSLError) as error:
        files = (address.ca_file, address.certificate_file, address.key_file)
        named = ", ".join(file for file in files if file)
        raise ConfigError(f"TLS cannot use {named or 'the certificates of this system'}: {error}") from None
    return context


def make_client(
    address: BrokerAddress,
    client_id: str,
    will: Will | None,
    limits: Limits,
    protocol: int,
    context: ssl.SSLContext | None,
) -> Client:
    """A paho client for one session, not connected.

    Args:
        address: Where to, and as whom.
        client_id: The MQTT client id.
        will: The last will, if any.
        limits: The connection's.
        protocol: 5, or 4 for MQTT 3.1.1.
        context: From `tls_context`.
    """
    version = MQTTProtocolVersion(protocol)
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        clean_session=True if version is MQTTProtocolVersion.MQTTv311 else None,
        protocol=version,
        transport=address.transport,
        reconnect_on_failure=False,
    )
    client.connect_timeout = limits.connect_timeout
    client.max_inflight_messages = 0  # unlimited there: the lanes bound it
    if address.username is not None:
        client.username_pw_set(address.username, address.password)
    if will is not None:
        client.will_set(will.topic, will.payload, qos=1, retain=True)
    if address.transport == "websockets":
        client.ws_set_options(path=address.path)
    if context is not None:
        client.tls_set_context(context)  # pyright: ignore[reportUnknownMemberType]
    if address.transport != "unix":
        client.on_socket_open = _tune
    return client


async def connect(client: Client, address: BrokerAddress, limits: Limits) -> None:
    """Open the line and send CONNECT, in a thread of its own.

    Nobody ever has to wait for that thread: looking up a name may hang for minutes. Cancelled, it leaves
    nothing open.

    Raises:
        OSError: Nobody there, timeout, TLS, or the WebSocket handshake failed.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[None] = loop.create_future()

    def tell(error: OSError | None) -> None:
        if outcome.cancelled():
            _close_socket(client)
        elif error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)

    def work() -> None:
        error: OSError | None = None
        try:
            _connect(client, address, limits)
        except OSError as caught:
            error = caught
        except (ValueError, UnicodeError, ssl.SSLError) as caught:
            error = OSError(str(caught))
        try:
            loop.call_soon_threadsafe(tell, error)
        except RuntimeError:  # the event loop ended meanwhile
            _close_socket(client)

    threading.Thread(target=work, name="antiphon connect", daemon=True).start()
    await outcome


def _close_socket(client: Client) -> None:
    sock = client.socket()
    if sock is not None:
        with suppress(OSError):
            sock.close()


def _connect(client: Client, address: BrokerAddress, limits: Limits) -> None:
    port = address.port or 1  # paho wants one for a Unix socket too
    if client.protocol is MQTTProtocolVersion.MQTTv5:
        wishes = Properties(PacketTypes.CONNECT)
        wishes.MaximumPacketSize = limits.largest_received
        client.connect(address.host, port, limits.keepalive, clean_start=True, properties=wishes)
    else:
        client.connect(address.host, port, limits.keepalive)


def _tune(client: Client, userdata: Any, sock: Any) -> None:
    """Set what paho leaves to chance: without TCP_NODELAY a round trip takes 88 ms instead of 0.3.

    The options belong to the open connection, so they may be set through a duplicate, whatever paho wrapped
    around it.
    """
    with socket.socket(fileno=os.dup(sock.fileno())) as duplicate:
        duplicate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            duplicate.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_LINE)
