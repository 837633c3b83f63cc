import inspect

import pytest

from antiphon.codecs import errors


def test_every_error_of_the_tree_is_drawn_in_its_docstring() -> None:
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(kind, errors.AntiphonError)
        assert name in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (errors.LimitError("a frame in bytes", 10, 5), ("a frame", "10", "5")),
        (errors.VersionError(2, 1), ("2", "1", "upgrade")),
        (errors.Rejected("norm", "12 is more than 10"), ("norm", "12")),
        (errors.Rejected("stale"), ("stale",)),
        (errors.PacketTooLarge(7, 3), ("7", "3")),
    ],
)
def test_error_makes_a_sentence_of_its_data(error: errors.AntiphonError, parts: tuple[str, ...]) -> None:
    assert all(part in str(error) for part in parts)


def test_peers_and_lines_and_people_are_told_apart() -> None:
    kinds = (errors.PeerError, errors.TransportError, errors.ConfigError, errors.TrainerError)
    for one in kinds:
        assert [other for other in kinds if issubclass(one, other)] == [one]
