"""Who is here: what the roster makes of frames it hears."""

from antiphon.codecs.sealing import SecretKey, SigningKey
from antiphon.coordinator.keys import Identity
from antiphon.coordinator.roster import Roster


def test_stored_update_of_an_earlier_process_does_not_make_its_agent_come_again() -> None:
    roster = Roster(Identity("f", SecretKey.generate(), SigningKey.generate()), live=900.0)
    assert roster.heard("a", b"1" * 16, 0.0)
    assert not roster.heard("a", b"", 1.0)
    assert roster.heard("a", b"2" * 16, 2.0)  # it was started again
    assert not roster.heard("a", b"", 3.0)  # and delivers what its earlier process trained
    assert not roster.heard("a", b"2" * 16, 4.0)


def test_frame_that_does_not_say_its_process_is_a_sign_of_life_all_the_same() -> None:
    roster = Roster(Identity("f", SecretKey.generate(), SigningKey.generate()), live=900.0)
    assert roster.heard("a", b"", 0.0)
