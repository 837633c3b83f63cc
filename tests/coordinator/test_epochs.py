"""Epoch keys: a day's life, an hour's rest, and clocks that are set back."""

import pytest

from antiphon.codecs import sealing
from antiphon.coordinator.epochs import LIFE, REST, EpochKeys
from antiphon.coordinator.ledger.records import DropEpoch, PutEpoch

NOW = 1_700_000_000.0


def turn(epochs: EpochKeys, now: float) -> list[PutEpoch | DropEpoch]:
    """Do what is due, as if the ledger had written it down."""
    operations = epochs.plan(now)
    for operation in operations:
        epochs.take(operation)
    return operations


def begun() -> EpochKeys:
    epochs = EpochKeys()
    turn(epochs, NOW)
    return epochs


def test_first_key_is_made_at_the_first_start_and_used_when_it_is_durable() -> None:
    epochs = EpochKeys()
    with pytest.raises(ValueError, match="no epoch"):
        _ = epochs.public
    (made,) = epochs.plan(NOW)
    assert isinstance(made, PutEpoch)
    assert epochs.get(made.id) is None
    epochs.take(made)
    found = epochs.get(sealing.epoch_id(epochs.public))
    assert found is not None
    assert found.public == epochs.public
    assert epochs.get(b"12345678") is None


def test_key_of_an_earlier_start_is_announced_again_until_it_is_a_day_old() -> None:
    epochs = begun()
    assert epochs.newest is not None
    again = EpochKeys([epochs.newest])
    assert again.public == epochs.public
    assert again.plan(NOW + LIFE - 1) == []
    assert len(again.plan(NOW + LIFE)) == 2


def test_superseded_key_opens_offers_for_an_hour() -> None:
    epochs = begun()
    old = epochs.public
    turn(epochs, NOW + LIFE)
    assert epochs.public != old
    assert epochs.get(sealing.epoch_id(old)) is not None
    assert turn(epochs, NOW + LIFE + REST - 1) == []
    assert turn(epochs, NOW + LIFE + REST) == [DropEpoch(sealing.epoch_id(old))]
    assert epochs.get(sealing.epoch_id(old)) is None


def test_nothing_is_planned_twice_while_the_ledger_is_behind() -> None:
    epochs = begun()
    first = epochs.plan(NOW + LIFE)
    assert len(first) == 2
    assert epochs.plan(NOW + LIFE + 5) == []
    old = epochs.public
    epochs.take(first[0])
    assert epochs.public != old  # it is durable, although the end of the old one is not yet
    assert epochs.plan(NOW + LIFE + 6) == []
    epochs.take(first[1])
    assert epochs.plan(NOW + LIFE + 7) == []


def test_start_after_a_crash_between_the_new_key_and_the_end_of_the_old_one_ends_it() -> None:
    epochs = begun()
    assert epochs.newest is not None
    new, _ = epochs.plan(NOW + LIFE)
    assert isinstance(new, PutEpoch)
    again = EpochKeys([new, epochs.newest])
    assert again.public == new.secret.public
    (ended,) = turn(again, NOW + LIFE + 60)
    assert isinstance(ended, PutEpoch)
    assert (ended.id, ended.superseded_at) == (epochs.newest.id, NOW + LIFE + 60)


def test_clock_that_was_years_ahead_does_not_make_a_key_for_years() -> None:
    epochs = EpochKeys()
    turn(epochs, NOW + 1000 * LIFE)
    ahead = epochs.public
    turn(epochs, NOW)
    assert epochs.public != ahead
    turn(epochs, NOW + REST)
    assert epochs.get(sealing.epoch_id(ahead)) is None
    assert turn(epochs, NOW + REST + 1) == []
