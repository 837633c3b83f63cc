"""Cheap crypto refuses what the real one refuses: every test here runs over both."""

import ast
from collections.abc import Generator
from pathlib import Path

import pytest
from msgspec.structs import replace
from nacl import bindings

from antiphon.codecs import announcements, frames, messages, sealing
from antiphon.codecs.errors import PeerError, SealError
from antiphon.codecs.frames import Header, Kind
from antiphon.codecs.messages import NO_DIGEST, WIRE, Announcement
from antiphon.codecs.sealing import SecretKey, SigningKey, SymmetricKey
from antiphon.simulation.crypto import cheap_crypto

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, params=["real", "cheap"])
def crypto(request: pytest.FixtureRequest) -> Generator[None]:
    if request.param == "real":
        yield
        return
    with cheap_crypto():
        yield


def a_header() -> Header:
    return Header(WIRE, "f", bytes(16), "a", "coordinator", Kind.UPDATE_CHUNK, bytes(8), bytes(16), 0, 9)


def a_key() -> SymmetricKey:
    return SymmetricKey(sealing.new_group_key().key)


def an_announcement() -> Announcement:
    more = {"digest": NO_DIGEST, "schema": NO_DIGEST, "issued": 2.0, "state": "running"}
    plain = {"wire": WIRE, "federation": "f", "run": bytes(16), "started": 1.0, "term": 1, "number": 0}
    return messages.decode(messages.pack(plain | more), Announcement, 1000)


def test_every_changed_byte_is_noticed() -> None:
    key = a_key()
    frame = frames.seal_frame(a_header(), key, b"content")
    assert frames.open_frame(frames.read(frame, 1000), key) == b"content"
    for at in range(len(frame)):
        bad = bytes((*frame[:at], frame[at] ^ 1, *frame[at + 1 :]))
        with pytest.raises(PeerError):
            frames.open_frame(frames.read(bad, 1000), key)


def test_every_truncation_is_noticed() -> None:
    key = a_key()
    sealed = sealing.seal(key, b"content", b"header")
    for size in range(len(sealed)):
        with pytest.raises(SealError):
            sealing.open_sealed(key, sealed[:size], b"header")


def test_frame_at_another_place_does_not_open() -> None:
    key = a_key()
    body = frames.read(frames.seal_frame(a_header(), key, b"content"), 1000).body
    moved = messages.pack([frames.encode_header(replace(a_header(), index=1)), body])
    with pytest.raises(SealError):
        frames.open_frame(frames.read(moved, 1000), key)


def test_bytes_do_not_move_between_header_and_content() -> None:
    key = a_key()
    sealed = sealing.seal(key, b"bc", b"a")
    with pytest.raises(SealError):
        sealing.open_sealed(key, sealed, b"ab")
    with pytest.raises(SealError):
        sealing.open_sealed(key, sealed[:24] + sealed[25:], b"ab")


def test_another_key_opens_nothing() -> None:
    sealed = sealing.seal(a_key(), b"content", b"")
    with pytest.raises(SealError):
        sealing.open_sealed(a_key(), sealed, b"")


def test_both_parties_and_nobody_else_derive_the_pair_key() -> None:
    agent, coordinator, stranger = (SecretKey.generate() for _ in range(3))

    def pair(own: SecretKey, theirs: bytes, agent: bytes, coordinator: bytes) -> SymmetricKey:
        return sealing.pair_key(own, theirs, federation="f", agent=agent, coordinator=coordinator)

    mine = pair(agent, coordinator.public, agent.public, coordinator.public)
    assert mine == pair(coordinator, agent.public, agent.public, coordinator.public)
    assert mine != pair(stranger, coordinator.public, stranger.public, coordinator.public)


def test_update_key_needs_the_epoch_secret_or_the_one_time_secret() -> None:
    pair, once, epoch = a_key(), SecretKey.generate(), SecretKey.generate()
    key = sealing.update_key(pair, bytes(16), once, epoch.public)
    assert key == sealing.update_key(pair, bytes(16), epoch, once.public)
    assert key != sealing.update_key(pair, bytes(16), SecretKey.generate(), once.public)
    assert key != sealing.update_key(a_key(), bytes(16), epoch, once.public)
    assert key != sealing.update_key(pair, b"1" * 16, epoch, once.public)


LOW_ORDER = (
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    *(((2**255 - 19 + more).to_bytes(32, "little")) for more in (-1, 0, 1)),
)


@pytest.mark.parametrize("point", LOW_ORDER)
def test_keys_of_low_order_are_refused(point: bytes) -> None:
    for high_bit in (0, 128):
        with pytest.raises(SealError):
            sealing.check_public(point[:-1] + bytes([point[-1] | high_bit]))
    sealing.check_public(SecretKey.generate().public)


def test_announcement_of_another_signer_or_with_a_changed_byte_is_refused() -> None:
    key = SigningKey.generate()
    raw = announcements.sign(an_announcement(), key)
    assert announcements.verify(raw, key.public, 1000) == an_announcement()
    with pytest.raises(SealError):
        announcements.verify(raw, SigningKey.generate().public, 1000)
    for at in range(len(raw)):
        with pytest.raises(PeerError):
            announcements.verify(bytes((*raw[:at], raw[at] ^ 1, *raw[at + 1 :])), key.public, 1000)


def test_sealed_box_opens_for_its_owner_alone() -> None:
    mine, other = SecretKey.generate(), SecretKey.generate()
    box = sealing.seal_anonymous(mine.public, b"admission")
    assert sealing.open_anonymous(mine, box) == b"admission"
    for wrong in (box[:-1], box[:-1] + bytes([box[-1] ^ 1]), bytes([box[0] ^ 1]) + box[1:]):
        with pytest.raises(SealError):
            sealing.open_anonymous(mine, wrong)
    with pytest.raises(SealError):
        sealing.open_anonymous(other, box)


def test_sizes_are_the_real_ones() -> None:
    once, signer = SecretKey.generate(), SigningKey.generate()
    assert len(frames.seal_frame(a_header(), a_key(), b"x" * 1000)) == 1115
    assert len(announcements.sign(an_announcement(), signer)) == 254
    assert len(sealing.seal_anonymous(once.public, b"x")) == 49
    assert (len(once.public), len(signer.public)) == (32, 32)


def test_keys_and_nonces_never_come_twice() -> None:
    key = a_key()
    drawn = [SecretKey.generate().export() for _ in range(100)]
    drawn += [sealing.seal(key, b"", b"")[:24] for _ in range(100)]
    assert len(set(drawn)) == 200
    assert len(sealing.bindings.randombytes(100)) == 100


def test_two_cheap_runs_give_the_same_bytes_and_another_seed_gives_others() -> None:
    def made(seed: int) -> bytes:
        with cheap_crypto(seed):
            return frames.seal_frame(a_header(), a_key(), b"content")

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_the_real_one_is_back_after_the_block_whatever_happened() -> None:
    before = sealing.bindings
    with pytest.raises(SealError), cheap_crypto():
        sealing.open_sealed(a_key(), b"", b"")
    assert sealing.bindings is before
    with cheap_crypto(1):
        assert sealing.bindings is not before
        with cheap_crypto(2):
            pass
        assert sealing.bindings is not before
    assert sealing.bindings is before


def test_services_know_nothing_of_it() -> None:
    """Nobody can switch it on from a settings file: no module below the simulation can reach it."""
    assert "cheap" not in (ROOT / "codecs/sealing.py").read_text()
    names: list[str] = []
    for room in ("codecs", "broker_config", "coordinator", "agents", "monitor"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom):
                    names.append(node.module or "")
                elif isinstance(node, ast.Import):
                    names += [alias.name for alias in node.names]
    assert names
    assert not [name for name in names if "simulation" in name]


def test_outside_the_block_sealing_is_libsodium(crypto: None, request: pytest.FixtureRequest) -> None:
    cheap = request.node.callspec.params["crypto"] == "cheap"
    assert (sealing.bindings is bindings) is not cheap
