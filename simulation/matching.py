"""Which topics a subscription's filter takes: MQTT 5, section 4.7 (3.1.1 says the same)."""


def is_wildcard(topic_filter: str) -> bool:
    """Whether the filter can take more than one topic."""
    return "+" in topic_filter or "#" in topic_filter


def valid_filter(topic_filter: str) -> bool:
    """Whether a broker would accept the filter: ``+`` and ``#`` fill whole levels, ``#`` only the last."""
    levels = topic_filter.split("/")
    whole = all(level in ("+", "#") or not is_wildcard(level) for level in levels)
    return bool(topic_filter) and whole and "#" not in levels[:-1] and "\0" not in topic_filter


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a message on ``topic`` goes to a subscriber of ``topic_filter``.

    ``+`` takes one level, also an empty one; ``#`` takes the rest, also none of it (``a/#`` takes ``a``);
    neither, standing first, takes topics that begin with ``$``.
    """
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for position, level in enumerate(wanted):
        if level == "#":
            return True
        if position >= len(levels) or level not in ("+", levels[position]):
            return False
    return len(wanted) == len(levels)
