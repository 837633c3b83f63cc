"""Windows within one total."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.coordinator.grants import Grants

FRAME = 1000


def asked(grants: Grants, *names: bytes, size: int = 100_000, now: float = 0.0) -> dict[bytes, int]:
    for name in names:
        grants.ask(name, FRAME, size, -(-size // FRAME), now)
    return dict(grants.serve(now))


def test_one_agent_alone_gets_everything() -> None:
    assert asked(Grants(64_000, 200, 30), b"a") == {b"a": 64_000}


def test_small_update_gets_no_more_than_its_size() -> None:
    assert asked(Grants(64_000, 200, 30), b"a", size=1500) == {b"a": 1500}


def test_messages_bound_the_window_of_small_frames() -> None:
    grants = Grants(64_000, 10, 30)
    grants.ask(b"a", 100, 100_000, 1000, 0.0)
    assert dict(grants.serve(0.0)) == {b"a": 1000}


def test_those_who_ask_together_share() -> None:
    assert asked(Grants(64_000, 200, 30), b"a", b"b") == {b"a": 32_000, b"b": 32_000}


def test_latecomer_waits_until_the_first_answer_takes_a_share_back() -> None:
    grants = Grants(64_000, 200, 30)
    asked(grants, b"a")
    assert asked(grants, b"b") == {}
    assert grants.position(b"b") == 0
    assert grants.renew(b"a", 1.0) == 32_000
    assert grants.serve(1.0) == [(b"b", 32_000)]


def test_window_grows_again_when_the_other_is_done() -> None:
    grants = Grants(64_000, 200, 30)
    asked(grants, b"a", b"b")
    grants.release(b"b")
    assert grants.renew(b"a", 1.0) == 64_000


def test_everyone_is_served_in_the_order_of_asking() -> None:
    grants = Grants(2 * FRAME, 200, 30)
    first = asked(grants, b"a", b"b", b"c", b"d")
    assert list(first) == [b"a", b"b"]
    grants.ask(b"c", FRAME, 100_000, 100, 1.0)  # asking again keeps the place
    grants.release(b"b")
    assert [name for name, _ in grants.serve(1.0)] == [b"c"]


def test_untouched_grant_lapses_and_makes_room() -> None:
    grants = Grants(FRAME, 200, 30)
    asked(grants, b"a", b"b")
    grants.touch(b"a", 20.0)
    assert grants.lapse(40.0) == []
    assert grants.lapse(50.0) == [b"a"]
    assert grants.window(b"a") == 0
    assert [name for name, _ in grants.serve(50.0)] == [b"b"]


def test_who_waits_and_never_asks_again_is_forgotten() -> None:
    grants = Grants(FRAME, 200, 30)
    asked(grants, b"a", b"b")
    grants.touch(b"a", 119.0)
    grants.lapse(120.0)
    assert grants.waiting == 0


def test_nothing_held_renews_to_nothing() -> None:
    assert Grants(FRAME, 200, 30).renew(b"a", 0.0) == 0


@given(
    st.integers(1, 50),
    st.lists(
        st.tuples(
            st.sampled_from(["ask", "renew", "release", "touch", "lapse"]),
            st.integers(0, 8),
            st.integers(1, 5000),
            st.integers(1, 20),
        ),
        max_size=60,
    ),
)
def test_windows_never_exceed_the_total_whatever_peers_do(
    messages: int, steps: list[tuple[str, int, int, int]]
) -> None:
    grants = Grants(10_000, messages, 5.0)
    for now, (step, who, size, frames) in enumerate(steps):
        name = bytes([who])
        if step == "ask":
            grants.ask(name, FRAME, size, frames, float(now))
            for served, window in grants.serve(float(now)):
                assert window >= 1
                assert grants.window(served) == window
        elif step == "renew":
            before = grants.window(name)
            assert (grants.renew(name, float(now)) > 0) == (before > 0)
        elif step == "release":
            grants.release(name)
        elif step == "touch":
            grants.touch(name, float(now))
        else:
            grants.lapse(float(now))
        assert grants.granted_bytes <= 10_000
        assert grants.granted_messages <= messages
