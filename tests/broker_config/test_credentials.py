"""Broker passwords in mosquitto's form."""

import pytest

from antiphon.broker_config.credentials import (
    hash_password,
    is_password,
    new_password,
    password_file,
    read_password_file,
)

# From mosquitto_passwd 2.0.11: the password is "secret".
THEIRS = (
    "$7$101$fR61758lnqBZNqRc$"
    "xCpBjdu4W4Dai4qGbLdvkxGBr27qEO3HpiuMZ7FnGuZ+g3bfR15Y/dd5oOKnGHEs2tJtdrfbU0peo4OEaPJCpw=="
)


def test_password_is_long_and_never_the_same() -> None:
    assert len({new_password() for _ in range(10)}) == 10
    assert len(new_password()) == 43


def test_what_mosquittos_own_tool_wrote_is_understood() -> None:
    assert is_password("secret", THEIRS)
    assert not is_password("Secret", THEIRS)


def test_our_hash_has_the_same_form_and_a_fresh_salt() -> None:
    mine = hash_password("secret")
    assert [len(part) for part in mine.split("$")] == [len(part) for part in THEIRS.split("$")]
    assert mine != hash_password("secret")
    assert is_password("secret", mine)
    assert not is_password("", mine)


@pytest.mark.parametrize(
    "stored",
    ["", "secret", "$6$101$a$b", "$7$x$a$b", "$7$0$YQ==$YQ==", "$7$101$YQ==$", "$7$101$!$YQ==",
     "$7$99999999$YQ==$YQ==", "$7$²$YQ==$YQ=="],
)  # fmt: skip
def test_what_is_no_hash_matches_no_password(stored: str) -> None:
    assert not is_password("secret", stored)
    assert not is_password("", stored)


def test_password_file_comes_back() -> None:
    users = {"b": hash_password("x"), "a": THEIRS}
    assert read_password_file(password_file(users)) == users
    assert password_file(users).startswith("a:$7$")
    assert read_password_file("\nno colon\n:nameless\n") == {}
