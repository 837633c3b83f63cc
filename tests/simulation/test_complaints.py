"""Errors of many parties in a few lines."""

import logging

import pytest

from antiphon.simulation import complaints
from antiphon.simulation.complaints import Complaints, listening


def logger_of(handler: Complaints) -> logging.Logger:
    log = logging.Logger("test")
    log.addHandler(handler)
    return log


def test_same_complaint_of_many_is_one_line_with_the_first_in_words() -> None:
    heard = Complaints()
    log = logger_of(heard)
    for seconds in (5, 7, 11):
        log.error("trainer failed: %s; again in %d s", "no luck", seconds)
    log.error("disk slow")
    log.warning("this happens")
    assert heard.lines() == ["3 x trainer failed: no luck; again in 5 s", "1 x disk slow"]


def test_nothing_heard_is_nothing_said() -> None:
    assert Complaints().lines() == []


def test_only_the_most_frequent_are_told_and_the_others_counted() -> None:
    heard = Complaints()
    log = logger_of(heard)
    for number in range(9):
        for _ in range(number + 1):
            log.error(f"kind {number}")
    assert heard.lines(2) == ["9 x kind 8", "8 x kind 7", "and 7 other kinds"]


def test_number_of_kinds_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complaints, "KINDS", 2)
    heard = Complaints()
    log = logger_of(heard)
    for number in range(5):
        log.error(f"kind {number}")
    assert heard.lines() == ["4 x kind 1", "1 x kind 0"]


def test_long_words_are_cut() -> None:
    heard = Complaints()
    logger_of(heard).error("x" * 1000)
    assert len(heard.lines()[0]) < 320


def test_listens_inside_the_block_only() -> None:
    log = logging.getLogger("antiphon.test-complaints")
    with listening("antiphon.test-complaints") as heard:
        log.error("inside")
    log.error("outside")
    assert heard.lines() == ["1 x inside"]
