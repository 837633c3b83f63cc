"""Where a broker is."""

import pytest

from antiphon.broker_config.connection import BrokerAddress
from antiphon.codecs.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "transport", "tls", "host", "port", "path"),
    [
        ("mqtt://broker.example", "tcp", False, "broker.example", 1883, "/mqtt"),
        ("mqtt://10.0.0.1:2883", "tcp", False, "10.0.0.1", 2883, "/mqtt"),
        ("mqtt://[::1]:2883", "tcp", False, "::1", 2883, "/mqtt"),
        ("mqtts://broker.example", "tcp", True, "broker.example", 8883, "/mqtt"),
        ("ws://broker.example:9001/", "websockets", False, "broker.example", 9001, "/mqtt"),
        ("wss://broker.example/line", "websockets", True, "broker.example", 443, "/line"),
        ("unix:///run/mosquitto.sock", "unix", False, "/run/mosquitto.sock", 0, "/run/mosquitto.sock"),
    ],
)
def test_url_says_everything(url: str, transport: str, tls: bool, host: str, port: int, path: str) -> None:
    address = BrokerAddress(url)
    assert (address.transport, address.tls, address.host) == (transport, tls, host)
    assert (address.port, address.path) == (port, path)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("broker.example:1883", "must start with one of mqtt://"),
        ("http://broker.example", "must start with one of mqtt://"),
        ("mqtt://", "does not name a host"),
        ("unix://", "does not name the path of a socket"),
        ("mqtt://broker.example:notaport", "cannot be read"),
        ("mqtt://me:secret@broker.example", "must not hold a user name or password"),
    ],
)
def test_url_that_could_never_connect_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        BrokerAddress(url)
    assert "secret" not in str(caught.value)


def test_half_of_a_pair_is_refused() -> None:
    with pytest.raises(ConfigError, match="without a user name"):
        BrokerAddress("mqtt://host", password="secret")
    with pytest.raises(ConfigError, match="without its certificate"):
        BrokerAddress("mqtts://host", key_file="key.pem")


def test_password_is_not_shown() -> None:
    assert "secret" not in repr(BrokerAddress("mqtt://host", "me", "secret"))
