"""One update of the outbox."""

import pytest
from outboxes import SMALL, head

from antiphon.agents.entries import Entry
from antiphon.codecs.errors import StateError
from antiphon.codecs.messages import NO_DIGEST


def test_content_is_read_once_and_divided() -> None:
    reads: list[int] = []

    def read() -> memoryview:
        reads.append(1)
        return memoryview(SMALL + b"ex")

    entry = Entry(head(), 0, "", read=read)
    assert entry.content() == (memoryview(SMALL), b"ex")
    assert entry.content() == (memoryview(SMALL), b"ex")
    assert len(reads) == 1
    entry.close()
    entry.content()
    assert len(reads) == 2


@pytest.mark.parametrize("found", [b"", SMALL, SMALL + b"exx"])
def test_content_of_another_length_is_refused(found: bytes) -> None:
    with pytest.raises(StateError, match=f"{len(found)} bytes of 10 are left in its row"):
        Entry(head(), 0, "", read=lambda: memoryview(found)).content()


def test_what_an_update_is() -> None:
    assert (head().initial, head(base=NO_DIGEST).initial) == (False, True)
    assert head().size == 10
    assert Entry(head(), 0, "").light
    assert not Entry(head(), 0, "1.payload").light
