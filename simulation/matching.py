"""What a subscription's filter may look like: MQTT 5, section 4.7 (3.1.1 says the same).

Which topics it takes is for `antiphon.broker_config.access.matches` to say.
"""


def is_wildcard(topic_filter: str) -> bool:
    """Whether the filter can take more than one topic."""
    return "+" in topic_filter or "#" in topic_filter


def valid_filter(topic_filter: str) -> bool:
    """Whether a broker would accept the filter: ``+`` and ``#`` fill whole levels, ``#`` only the last."""
    levels = topic_filter.split("/")
    whole = all(level in ("+", "#") or not is_wildcard(level) for level in levels)
    return bool(topic_filter) and whole and "#" not in levels[:-1] and "\0" not in topic_filter
