"""The tables of docs/protocol.md say what the code says."""

import re
from pathlib import Path

import msgspec
import pytest

from antiphon.codecs import encodings, frames, messages, tensors

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
MESSAGES: list[type[msgspec.Struct]] = [
    messages.Announcement,
    messages.ModelContent,
    messages.Manifest,
    messages.Page,
    messages.GroupKeys,
    messages.Offer,
    messages.Note,
    messages.Receipt,
]


def table(head: str) -> list[list[str]]:
    """Return the cells of the table whose first heading is ``head``."""
    lines = iter(DOCUMENT.splitlines())
    for line in lines:
        if line.startswith(f"| {head} |"):
            break
    else:
        raise AssertionError(f"no table {head}")
    next(lines)
    rows: list[list[str]] = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_field_of_a_message_has_its_row(kind: type[msgspec.Struct]) -> None:
    rows = table(f"`{kind.__name__}` field")
    fields = msgspec.structs.fields(kind)
    assert [row[0].strip("`") for row in rows] == [field.name for field in fields]
    for row, field in zip(rows, fields, strict=True):
        documented = row[2].strip("`")
        if field.default is not msgspec.NODEFAULT:
            default = field.default
            assert documented == ('""' if default in ("", b"") else f"{default:g}"), field.name
        elif field.default_factory is not msgspec.NODEFAULT:
            assert documented == repr(field.default_factory()), field.name
        else:
            assert not documented, field.name


def test_every_reason_has_its_row() -> None:
    rows = table("reason of `refused` or `rejected`")
    assert [row[0].strip("`") for row in rows] == list(messages.REASONS)


def test_every_kind_of_frame_has_its_row() -> None:
    rows = table("kind")
    assert [(int(row[0]), row[1]) for row in rows] == [
        (int(kind), kind.name.lower().replace("_", " ")) for kind in frames.Kind
    ]


def test_every_encoding_has_its_row() -> None:
    rows = table("encoding")
    assert {row[0].strip("`"): int(row[1]) for row in rows} == {
        name: encodings.itemsize(name) for name in encodings.ENCODINGS
    }


def test_every_dtype_and_type_of_note_and_receipt_is_named() -> None:
    for name in (
        *tensors.FLOATS,
        *tensors.INTEGERS,
        *messages.NoteType.__args__,
        *messages.ReceiptType.__args__,
    ):
        assert re.search(rf"`{name}[`(]", DOCUMENT), name
