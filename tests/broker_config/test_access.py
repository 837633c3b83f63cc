"""Who may do what at the broker."""

import pytest

from antiphon.broker_config.access import Access, Rule, acl_file, matches, read_acl_file, rules
from antiphon.broker_config.topics import COORDINATOR, MONITOR, Topics

TOPICS = Topics("p/")
ACCESS = Access(rules(TOPICS, ["bank-1", "bank-2"], [MONITOR]))


@pytest.mark.parametrize(
    "topic", [TOPICS.updates("bank-1"), TOPICS.status("bank-1"), TOPICS.metrics("bank-1")]
)
def test_agent_publishes_its_own_topics_and_nobody_elses(topic: str) -> None:
    assert ACCESS.may_write("bank-1", topic)
    assert not ACCESS.may_write("bank-2", topic)
    assert not ACCESS.may_write(MONITOR, topic)
    assert not ACCESS.may_write("stranger", topic)


def test_agent_reads_the_model_its_own_answers_and_the_coordinators_status() -> None:
    for topic in (TOPICS.broadcast, TOPICS.chunk(3, 7), TOPICS.page(0, 0), TOPICS.status(COORDINATOR)):
        assert ACCESS.may_read("bank-1", topic)
        assert not ACCESS.may_write("bank-1", topic)
    for of in (TOPICS.receipts, TOPICS.keys, TOPICS.status):
        assert ACCESS.may_read("bank-1", of("bank-1"))
        assert not ACCESS.may_read("bank-1", of("bank-2"))
    for topic in (TOPICS.updates("bank-1"), TOPICS.metrics("bank-2"), TOPICS.events, TOPICS.everything):
        assert not ACCESS.may_read("bank-1", topic)


def test_coordinator_publishes_everything_that_is_not_an_agents_word() -> None:
    for topic in (
        TOPICS.broadcast,
        TOPICS.chunk(0, 0),
        TOPICS.page(0, 0),
        TOPICS.receipts("bank-1"),
        TOPICS.keys("bank-1"),
        TOPICS.status(COORDINATOR),
        TOPICS.metrics(COORDINATOR),
        TOPICS.events,
    ):
        assert ACCESS.may_write(COORDINATOR, topic)
    assert not ACCESS.may_write(COORDINATOR, TOPICS.updates("bank-1"))
    assert not ACCESS.may_write(COORDINATOR, TOPICS.status("bank-1"))
    assert ACCESS.may_read(COORDINATOR, TOPICS.updates("bank-1"))
    assert ACCESS.may_read(COORDINATOR, TOPICS.status("bank-1"))


def test_monitor_reads_all_below_the_prefix_and_nothing_beside_it() -> None:
    assert ACCESS.may_read(MONITOR, TOPICS.updates("bank-1"))
    assert ACCESS.may_read(MONITOR, TOPICS.events)
    assert not ACCESS.may_read(MONITOR, "other/updates/bank-1")


def test_user_that_an_administrator_adds_is_no_agent() -> None:
    assert "pattern" not in acl_file(rules(TOPICS, ["bank-1"], [MONITOR]))
    assert not ACCESS.may_write("grafana", TOPICS.updates("grafana"))


def test_rules_come_back_from_their_file() -> None:
    wanted = rules(TOPICS, ["bank-1"], [MONITOR])
    assert read_acl_file(acl_file(wanted)) == wanted


def test_lines_that_are_no_rules_grant_nothing() -> None:
    lines = [
        "topic read x",
        "user a",
        "pattern read %u/#",
        "topic deny b",
        "topic c",
        "# user d",
        "topic read e f",
    ]
    assert read_acl_file("\n".join(lines)) == (Rule("a", "read", "e f"),)


@pytest.mark.parametrize(
    ("filter", "topic", "match"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a", False),
        ("a", "a/b", False),
        ("a/+", "a/b", True),
        ("a/+", "a/b/c", False),
        ("a/#", "a/b/c", True),
        ("a/#", "a", True),
        ("#", "a", True),
        ("#", "$SYS/x", False),
        ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True),
        ("a/b", "a/c", False),
    ],
)
def test_filters_match_as_mqtt_says(filter: str, topic: str, match: bool) -> None:
    assert matches(filter, topic) is match
