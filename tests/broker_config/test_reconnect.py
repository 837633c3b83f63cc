"""When to try again, and when not."""

import pytest

from antiphon.broker_config import reconnect
from antiphon.broker_config.connection import Limits
from antiphon.broker_config.reconnect import TAKEN_OVER, History
from antiphon.codecs.errors import ConfigError

LIMITS = Limits(first_delay=0.5, longest_delay=30, refusals=3)


def test_delays_double_up_to_the_longest() -> None:
    history, bounds = reconnect.begin(5), list[float]()
    for _ in range(9):
        history = reconnect.failed(history)
        bounds.append(reconnect.delay(LIMITS, history, 1.0))
    assert bounds == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert reconnect.delay(LIMITS, history, 0.25) == 7.5
    assert reconnect.delay(LIMITS, History(failures=100_000), 1.0) == 30


def test_first_try_of_a_new_line_waits_as_after_one_failure() -> None:
    assert reconnect.delay(LIMITS, History(), 1.0) == 0.5


def test_session_that_lasted_makes_delays_small_again() -> None:
    history = History(failures=9, worked=True)
    assert reconnect.lost(history, "a", 100, None).failures == 1
    assert reconnect.lost(history, "a", 5, None).failures == 10


def test_broker_that_closes_is_met_with_the_other_protocol() -> None:
    history = reconnect.closed_early(reconnect.begin(5))
    assert history.protocol == 4
    assert reconnect.closed_early(history).protocol == 5


def test_protocol_that_worked_is_kept_whatever_happens() -> None:
    history = reconnect.accepted(reconnect.begin(5))
    assert reconnect.closed_early(history).protocol == 5


def test_broker_that_was_only_starting_gets_a_second_look() -> None:
    history = reconnect.accepted(reconnect.closed_early(reconnect.begin(5)))
    assert history.protocol == 4
    history = reconnect.lost(history, "a", 100, None)
    assert history.protocol == 5
    history = reconnect.accepted(reconnect.closed_early(history))
    assert reconnect.lost(history, "a", 100, None).protocol == 4


def test_broker_that_names_the_version_is_believed_at_once() -> None:
    history = reconnect.accepted(reconnect.unknown_protocol(reconnect.begin(5)))
    assert history.protocol == 4
    assert reconnect.lost(history, "a", 100, None).protocol == 4


def test_protocol_chosen_by_the_user_is_never_changed() -> None:
    history = reconnect.closed_early(reconnect.begin(4))
    assert reconnect.lost(reconnect.accepted(history), "a", 100, None).protocol == 4


def test_refused_credentials_end_it_after_three_in_a_row() -> None:
    history = reconnect.begin(5)
    for _ in range(2):
        history = reconnect.refused(history, LIMITS, "'bank-1'", "Not authorized")
    with pytest.raises(
        ConfigError, match=r"refused 'bank-1' 3 times \(Not authorized\): check user name.*new admission"
    ):
        reconnect.refused(history, LIMITS, "'bank-1'", "Not authorized")
    history = reconnect.accepted(history)
    assert reconnect.refused(history, LIMITS, "'bank-1'", "Not authorized").refusals == 1


def test_takeover_with_a_reason_ends_it_at_once() -> None:
    with pytest.raises(ConfigError, match="another client took over the broker session of 'bank-1'"):
        reconnect.lost(reconnect.accepted(reconnect.begin(5)), "bank-1", 100, TAKEN_OVER)


@pytest.mark.parametrize(("protocol", "losses"), [(4, 3), (5, 5)])
def test_quick_unexplained_losses_count_as_a_takeover(protocol: int, losses: int) -> None:
    history = reconnect.begin(protocol)
    for _ in range(losses - 1):
        history = reconnect.lost(reconnect.accepted(history), "a", 1, None)
    with pytest.raises(ConfigError, match="took over"):
        reconnect.lost(reconnect.accepted(history), "a", 1, None)


@pytest.mark.parametrize("between", ["failed try", "slow loss", "reason"])
def test_broken_lines_are_no_takeover(between: str) -> None:
    history = reconnect.begin(4)
    for _ in range(20):
        history = reconnect.lost(reconnect.accepted(history), "a", 1, None)
        if between == "failed try":
            history = reconnect.failed(history)
        elif between == "slow loss":
            history = reconnect.lost(reconnect.accepted(history), "a", 11, None)
        else:
            history = reconnect.lost(reconnect.accepted(history), "a", 1, 139)
