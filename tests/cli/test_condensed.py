"""Lines that follow each other fast: one a second of a kind, the last always, and none that matters waits."""

import io
import logging
import time

from antiphon.cli.condensed import Condensed, CondensedLog


def until(done: list[str], number: int) -> None:
    deadline = time.monotonic() + 30
    while len(done) < number and time.monotonic() < deadline:
        time.sleep(0.01)


def test_the_last_line_is_told_although_nothing_follows() -> None:
    said: list[str] = []
    lines = Condensed(said.append, every=0.05)
    for number in range(4):
        lines.say("version", f"version {number}")
    assert said == ["version 0"]
    until(said, 2)
    assert said == ["version 0", "version 3 (and 2 more like it)"]


def test_slow_lines_are_all_told_at_once() -> None:
    said: list[str] = []
    lines = Condensed(said.append, every=0.0)
    for number in range(3):
        lines.say("version", f"version {number}")
    assert said == ["version 0", "version 1", "version 2"]


def test_what_came_first_is_told_first() -> None:
    said: list[str] = []
    lines = Condensed(said.append, every=60)
    for line in ("version 0", "version 1"):
        lines.say("version", line)
    lines.say("", "left: a")
    for line in ("version 2", "version 3"):
        lines.say("version", line)
    lines.say("end", "the run is over")
    assert said == ["version 0", "version 1", "left: a", "version 3 (and 1 more like it)", "the run is over"]
    lines.say("version", "version 4")
    lines.flush()
    assert said[5:] == ["version 4"]


def test_a_log_condenses_what_informs_and_holds_no_warning_back() -> None:
    stream = io.StringIO()
    log = logging.Logger("test")
    handler = CondensedLog(stream)
    log.addHandler(handler)
    for number in range(3):
        log.info("version %d pulled", number)
        log.info("update %d received", number)
    log.warning("the line broke")
    log.warning("the line broke")
    assert stream.getvalue().splitlines() == [
        "version 0 pulled",
        "update 0 received",
        "version 2 pulled (and 1 more like it)",
        "update 2 received (and 1 more like it)",
        "the line broke",
        "the line broke",
    ]
    log.info("bye")
    log.info("bye")
    handler.flush()
    assert stream.getvalue().splitlines()[6:] == ["bye", "bye"]
