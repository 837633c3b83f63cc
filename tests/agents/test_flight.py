"""One transfer's decisions, without a clock."""

import numpy as np

from antiphon.agents.flight import PROBES, Flight, OfferNow, ProbeNow, WaitUntil
from antiphon.agents.pace import RoundTrip
from antiphon.agents.sender import Sent
from antiphon.codecs.messages import Receipt


def flight(chunks: int = 2, now: float = 0.0) -> Flight:
    return Flight([10] * chunks, RoundTrip(), np.random.default_rng(0), 60.0, now)


def receipt(type: str, **more: object) -> Receipt:
    plain = {"type": type, "term": 1, "counter": 1, "newest_term": 1, "newest_number": 0, **more}
    return Receipt(**plain)  # pyright: ignore


def granted(send: int = 0, missing: int = 2) -> Receipt:
    return receipt("granted", window=100, send=send, missing=[[0, missing]], upto=2)


def test_it_offers_then_rests_then_offers_again_with_a_send_number() -> None:
    way = flight()
    assert way.decide(0.0) == OfferNow(0)
    assert way.decide(0.5) == WaitUntil(2.0)
    assert way.decide(2.0) == OfferNow(1)


def test_a_grant_lets_chunks_go_and_measures_the_round_trip() -> None:
    trip = RoundTrip()
    way = Flight([10] * 2, trip, np.random.default_rng(0), 60.0, 0.0)
    way.decide(0.0)
    way.answered(granted(), 0.8)
    assert trip.smoothed == 0.8
    assert way.decide(0.8) == Sent(0, 1)
    assert way.decide(0.8) == Sent(1, 2)
    way.left(1.0)
    assert way.decide(1.0) == WaitUntil(1.0 + trip.rto)
    way.answered(receipt("progress", window=100, send=2, missing=[], upto=2), 1.3)
    assert trip.smoothed == 0.8 + (0.5 - 0.8) / 8
    assert way.sender.complete


def test_the_round_trip_of_something_sent_twice_is_not_measured() -> None:
    trip = RoundTrip()
    way = Flight([10], trip, np.random.default_rng(0), 60.0, 0.0)
    way.decide(0.0)
    way.decide(2.0)
    way.answered(granted(send=1), 9.0)
    assert trip.smoothed == 0.0


def test_an_overdue_answer_is_probed_for_and_after_some_probes_offered_anew() -> None:
    way = flight()
    way.decide(0.0)
    way.answered(granted(), 0.1)
    way.decide(0.1)
    way.decide(0.1)
    now, seen = 0.1, list[object]()
    while len(seen) < PROBES + 2:
        action = way.decide(now)
        if isinstance(action, WaitUntil):
            now = action.until
        else:
            seen.append(type(action))
    assert seen == [ProbeNow] * PROBES + [OfferNow, ProbeNow]


def test_no_probe_overtakes_chunks_that_are_still_on_their_way() -> None:
    way = flight()
    way.decide(0.0)
    way.answered(granted(), 0.1)
    way.decide(0.1)
    way.decide(0.1)
    assert way.decide(100.0, busy=True) == WaitUntil(101.0)
    assert isinstance(way.decide(100.0), ProbeNow)


def test_wait_is_waited_and_hurry_shortens_it() -> None:
    way = flight()
    way.decide(0.0)
    way.answered(receipt("wait", after=50.0), 1.0)
    assert way.decide(1.0) == WaitUntil(51.0)
    way.hurry(5.0)
    assert isinstance(way.decide(5.0), OfferNow)


def test_an_interruption_takes_the_grant_but_not_what_arrived() -> None:
    way = flight()
    way.decide(0.0)
    way.answered(granted(), 0.1)
    way.decide(0.1)
    way.interrupted(3.0)
    assert way.decide(0.2) == WaitUntil(3.0)
    assert way.decide(3.0) == OfferNow(2)
    way.answered(receipt("granted", window=100, send=2, missing=[[1, 1]], upto=2), 3.1)
    assert way.decide(3.1) == Sent(1, 3)
    way.left(3.2)


def test_what_leaves_after_an_interruption_changes_nothing() -> None:
    way = flight()
    way.interrupted(3.0)
    way.left(2.5)
    assert way.decide(3.0) == OfferNow(0)


def test_waits_of_no_length_one_after_the_other_do_not_make_a_storm_of_offers() -> None:
    way = flight()
    way.decide(0.0)
    way.answered(receipt("wait"), 0.1)
    assert way.decide(0.1) == OfferNow(1)  # "I know nothing of it": offer again at once
    way.answered(receipt("wait"), 0.2)
    assert way.decide(0.2) == WaitUntil(2.2)
    way.answered(granted(), 0.3)
    way.answered(receipt("wait"), 0.4)
    assert way.decide(0.4) == OfferNow(2)


def test_a_transfer_from_before_a_restart_is_offered_with_a_send_number() -> None:
    way = Flight([10] * 3, RoundTrip(), np.random.default_rng(0), 60.0, 0.0, sent=1024)
    assert way.decide(0.0) == OfferNow(1025)
    way.answered(receipt("granted", window=100, send=1025, missing=[[2, 1]], upto=3), 0.1)
    assert way.decide(0.1) == Sent(2, 1026)
    assert isinstance(way.decide(0.1), WaitUntil)
