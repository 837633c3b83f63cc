"""Topics and names."""

import pytest

from antiphon.broker_config.topics import COORDINATOR, RESERVED, Topics, check_id, check_name, check_prefix
from antiphon.codecs.errors import ConfigError


def test_topics_without_a_prefix_are_those_of_the_protocol() -> None:
    topics = Topics()
    assert topics.broadcast == "model/broadcast"
    assert topics.chunk(2, 17) == "model/broadcast/2/17"
    assert topics.page(2, 0) == "model/broadcast/2/m0"
    assert topics.updates("bank-1") == "updates/bank-1"
    assert topics.receipts("bank-1") == "receipts/bank-1"
    assert topics.keys("bank-1") == "keys/bank-1"
    assert topics.status(COORDINATOR) == "status/coordinator"
    assert topics.metrics("bank-1") == "metrics/bank-1"
    assert topics.events == "events/coordinator"
    assert topics.everything == "#"


def test_filters_for_all_clients_have_one_plus() -> None:
    topics = Topics("site/")
    assert topics.all_updates == "site/updates/+"
    assert topics.all_receipts == "site/receipts/+"
    assert topics.all_keys == "site/keys/+"
    assert topics.all_status == "site/status/+"
    assert topics.all_metrics == "site/metrics/+"
    assert topics.all_slots == "site/model/broadcast/#"
    assert topics.everything == "site/#"


def test_client_is_read_from_the_topics_that_belong_to_one() -> None:
    topics = Topics("a/b/")
    for topic in map(lambda f: f("bank-1"), (topics.updates, topics.receipts, topics.keys, topics.status)):
        assert topics.client_of(topic) == "bank-1"
    assert topics.client_of(topics.metrics(COORDINATOR)) == COORDINATOR


@pytest.mark.parametrize(
    "topic",
    ["updates/x", "a/b/model/broadcast", "a/b/events/coordinator", "a/b/updates", "a/b/updates/",
     "a/b/updates/x/y", "a/b/updates/X", "a/b/updates/" + "x" * 41, "a/b/", ""],
)  # fmt: skip
def test_topic_of_nobody_has_no_client(topic: str) -> None:
    assert Topics("a/b/").client_of(topic) is None


@pytest.mark.parametrize("id", ["a", "0", "bank-1", "x" * 40, "-".join("abc") + "-"])
def test_plain_ids_are_taken(id: str) -> None:
    assert check_id(id) == id
    assert check_name(id) == id


@pytest.mark.parametrize(
    "id", ["", "-a", "A", "a_b", "a/b", "a b", "x" * 41, "bänk", "a\n", "+", "#", "../a"]
)
def test_ids_that_could_change_a_topic_or_a_path_are_refused_with_the_rule(id: str) -> None:
    with pytest.raises(ConfigError, match="small letters, digits and hyphens"):
        check_id(id)
    with pytest.raises(ConfigError, match="small letters, digits and hyphens"):
        check_name(id)


@pytest.mark.parametrize("id", sorted(RESERVED))
def test_reserved_ids_are_refused_with_the_list(id: str) -> None:
    with pytest.raises(ConfigError, match="admin, broker, coordinator, monitor"):
        check_id(id)
    assert check_name(id) == id


def test_prefix_gets_its_closing_slash() -> None:
    assert check_prefix("") == ""
    assert check_prefix("site-a/credit") == check_prefix("site-a/credit/") == "site-a/credit/"


@pytest.mark.parametrize("prefix", ["/", "//", "/a", "a//b", "a/+", "#", "$SYS", "a b", "x" * 65, "ab/" * 80])
def test_prefix_with_a_wildcard_or_an_empty_level_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigError, match="cannot be a topic prefix"):
        check_prefix(prefix)


def test_topics_refuse_a_prefix_without_its_slash() -> None:
    with pytest.raises(ConfigError, match="end in '/'"):
        Topics("site")
