"""The broker that pip installs, with our users and rules."""

# pyright: reportMissingTypeStubs=false
import asyncio
import signal
from pathlib import Path

import pytest
from amqtt.contexts import Action, BaseContext
from amqtt.session import Session
from federations import PATIENCE, broker_process, check_rules, make_federation
from mosquitto import free_port

from antiphon.broker_config.connection import BrokerAddress, Connected
from antiphon.broker_config.embedded import Gate, ReplayedReader, listen
from antiphon.broker_config.folders import load_passwords
from antiphon.broker_config.paho_connection import connector
from antiphon.codecs.errors import StateError


def _gate(federation: Path) -> Gate:
    context = BaseContext()
    context.config = Gate.Config(str(federation))  # type: ignore[assignment]
    return Gate(context)


def _session(user: str | None, client_id: str | None, password: str | None) -> Session:
    session = Session()
    session.username, session.client_id, session.password = user, client_id, password
    return session


def test_embedded_broker_keeps_the_rules(tmp_path: Path) -> None:
    federation, port = make_federation(tmp_path, "site/"), free_port()
    with broker_process(federation, port, "--embedded"):
        asyncio.run(check_rules(tmp_path, port, "site/"))


def test_older_protocol_is_spoken_without_a_word_of_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    federation, port = make_federation(tmp_path), free_port()
    where = BrokerAddress(f"mqtt://127.0.0.1:{port}", "admin", load_passwords(federation).monitors["admin"])

    async def main() -> None:
        async with asyncio.timeout(60), connector(where)("admin", None) as connection:
            connected = await anext(connection.events())
            assert isinstance(connected, Connected)
            assert connected.protocol == 4

    with broker_process(federation, port, "--embedded"):
        asyncio.run(main())
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []


def test_embedded_broker_leaves_cleanly_and_quietly_on_sigterm(tmp_path: Path) -> None:
    federation, port = make_federation(tmp_path, agents=()), free_port()
    with broker_process(federation, port, "--embedded") as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    lines = said.decode().splitlines()
    assert [line for line in lines if "agents were told" not in line] == [
        f"embedded broker on 127.0.0.1 port {port}, for federation credit"
    ]


@pytest.mark.parametrize("first", [b"", b"\x10", b"\x10\xff\xff\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_connect_is_hung_up_on(tmp_path: Path, first: bytes) -> None:
    federation, port = make_federation(tmp_path, agents=()), free_port()

    async def story() -> None:
        broker = await listen(federation, port, "127.0.0.1")
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(first)
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
            writer.close()
        finally:
            await broker.shutdown()

    asyncio.run(story())


def test_first_bytes_are_replayed_in_any_portions() -> None:
    async def story() -> None:
        stream = asyncio.StreamReader()
        stream.feed_data(b"cdef")
        stream.feed_eof()
        replayed = ReplayedReader(stream, b"ab")
        assert [await replayed.read(n) for n in (1, 2, 1)] == [b"a", b"bc", b"d"]
        assert await ReplayedReader(stream, b"xy").read() == b"xy"

    asyncio.run(story())


def test_nobody_gets_in_under_anothers_name(tmp_path: Path) -> None:
    federation = make_federation(tmp_path)
    passwords, gate = load_passwords(federation), _gate(federation)
    monitor = passwords.monitors["monitor"]

    async def ask(user: str | None, client_id: str | None, password: str | None) -> bool:
        return await gate.authenticate(session=_session(user, client_id, password))

    async def story() -> None:
        assert await ask("coordinator", "coordinator", passwords.coordinator)
        assert not await ask("coordinator", "another", passwords.coordinator)
        assert not await ask("coordinator", "coordinator", "wrong")
        assert not await ask("coordinator", "coordinator", None)
        assert not await ask(None, "coordinator", None)
        assert not await ask("stranger", "stranger", "")
        assert await ask("monitor", "any-tool", monitor)
        assert await ask("monitor", "monitor", monitor)
        assert not await ask("monitor", "coordinator", monitor)

    asyncio.run(story())


def test_rules_are_asked_for_each_message_and_not_for_subscriptions(tmp_path: Path) -> None:
    gate = _gate(make_federation(tmp_path))
    agent = _session("bank-1", "bank-1", "")

    async def story() -> None:
        assert await gate.topic_filtering(session=agent, topic="#", action=Action.SUBSCRIBE)
        assert not await gate.topic_filtering(session=agent, topic="keys/bank-2", action=Action.RECEIVE)
        assert await gate.topic_filtering(session=agent, topic="keys/bank-1", action=Action.RECEIVE)
        assert await gate.topic_filtering(session=agent, topic="updates/bank-1", action=Action.PUBLISH)
        assert not await gate.topic_filtering(session=agent, topic="updates/bank-2", action=Action.PUBLISH)
        assert not await gate.topic_filtering(session=None, topic="updates/bank-2", action=Action.PUBLISH)
        assert not await gate.topic_filtering(session=agent, topic=None, action=Action.SUBSCRIBE)

    asyncio.run(story())


def test_folder_without_users_is_named(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"cannot read .*passwd"):
        _gate(tmp_path)
