"""paho clients before they connect."""

import asyncio
import ssl
import threading
from pathlib import Path

import pytest
from line import Line
from paho.mqtt.client import Client

from antiphon.broker_config import paho_client
from antiphon.broker_config.connection import BrokerAddress, Limits, Will
from antiphon.broker_config.paho_client import connect, make_client, tls_context
from antiphon.codecs.errors import ConfigError

CERTIFICATES = Path(__file__).parents[1] / "certificates"


def a_client(url: str, protocol: int = 5) -> tuple[Client, BrokerAddress]:
    """A client for ``url``."""
    address = BrokerAddress(url, "me", "secret", ca_file=str(CERTIFICATES / "ca.pem"))
    will = Will("status/me", b"lost")
    return make_client(address, "me", will, Limits(), protocol, tls_context(address)), address


def test_plain_lines_need_no_certificates() -> None:
    assert tls_context(BrokerAddress("mqtt://host")) is None


def test_tls_checks_the_host_name_and_the_authority() -> None:
    context = tls_context(BrokerAddress("mqtts://host", ca_file=str(CERTIFICATES / "ca.pem")))
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_file_that_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nonsense")
    with pytest.raises(ConfigError, match=r"TLS cannot use .*ca\.pem"):
        tls_context(BrokerAddress("mqtts://host", ca_file=str(tmp_path / "ca.pem")))


@pytest.mark.parametrize(
    ("protocol", "url"), [(5, "mqtt://host"), (4, "wss://host/line"), (5, "unix:///run/x")]
)
def test_client_knows_who_it_is_and_tries_once(protocol: int, url: str) -> None:
    client, address = a_client(url, protocol)
    assert client.protocol == protocol
    assert (client.username, client.password) == ("me", "secret")
    assert client.will_topic == "status/me"
    assert client.transport == address.transport


def test_connecting_that_nobody_waits_for_leaves_no_line_open() -> None:
    async def main() -> None:
        go, arrived = threading.Event(), asyncio.Event()
        client, address = a_client("mqtt://127.0.0.1:1")
        loop = asyncio.get_running_loop()
        async with Line("127.0.0.1", 1) as line:
            line.old = "babbles"  # until the other end goes
            address = BrokerAddress(f"mqtt://127.0.0.1:{line.port}")

            def hesitate(client: Client, userdata: object) -> None:
                loop.call_soon_threadsafe(arrived.set)
                go.wait(10)

            client.on_pre_connect = hesitate
            task = asyncio.create_task(connect(client, address, Limits()))
            await arrived.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            go.set()
            await line.tried.wait()
            async with asyncio.timeout(10):
                await line.left.wait()

    asyncio.run(main())


def test_connecting_outlives_its_event_loop() -> None:
    go = threading.Event()
    client, address = a_client("mqtt://127.0.0.1:1")

    def hesitate(client: Client, userdata: object) -> None:
        go.wait(10)

    async def main() -> None:
        client.on_pre_connect = hesitate
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await connect(client, address, Limits())

    before = set(threading.enumerate())
    asyncio.run(main())
    (thread,) = set(threading.enumerate()) - before
    go.set()
    thread.join(10)
    assert not thread.is_alive()


def test_impossible_addresses_are_transport_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(client: Client, address: BrokerAddress, limits: Limits) -> None:
        raise ValueError("Invalid host.")

    monkeypatch.setattr(paho_client, "_connect", refuse)
    client, address = a_client("mqtt://127.0.0.1:1")
    with pytest.raises(OSError, match=r"Invalid host\."):
        asyncio.run(connect(client, address, Limits()))
