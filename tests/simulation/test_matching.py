"""Filters."""

import pytest

from antiphon.broker_config.access import matches
from antiphon.simulation.matching import is_wildcard, valid_filter


@pytest.mark.parametrize(
    ("topic_filter", "topic", "taken"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b", "a", False),
        ("a/+", "a/b", True),
        ("a/+", "a/", True),
        ("a/+", "a", False),
        ("a/+", "a/b/c", False),
        ("+", "a", True),
        ("+/+", "/a", True),
        ("#", "a/b/c", True),
        ("#", "/", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("+/b/#", "a/b", True),
        ("#", "$SYS/broker", False),
        ("+/broker", "$SYS/broker", False),
        ("$SYS/#", "$SYS/broker", True),
    ],
)
def test_filter_takes_what_the_standard_says(topic_filter: str, topic: str, taken: bool) -> None:
    assert matches(topic_filter, topic) is taken


@pytest.mark.parametrize(
    ("topic_filter", "valid"),
    [
        ("a", True),
        ("a/+/b", True),
        ("#", True),
        ("a/#", True),
        ("", False),
        ("a/#/b", False),
        ("a#", False),
        ("a/b+", False),
        ("a\0", False),
    ],
)
def test_broken_filters_are_found_out(topic_filter: str, valid: bool) -> None:
    assert valid_filter(topic_filter) is valid


def test_wildcards_are_recognised() -> None:
    assert is_wildcard("a/+")
    assert is_wildcard("#")
    assert not is_wildcard("a/b")
