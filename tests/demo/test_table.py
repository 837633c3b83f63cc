"""Tables look the same everywhere."""

import io

import pytest
from rich.console import Console

from antiphon.broker_config.topics import Topics
from antiphon.demo.board import Board, Line
from antiphon.demo.credit import BANKS
from antiphon.demo.problem import Problem
from antiphon.demo.table import WIDTH, bank_table, console, headline, state_of

IDS = [id for id, _, _ in BANKS]


def text_of(renderable: object, **options: object) -> str:
    out = io.StringIO()
    Console(file=out, width=WIDTH, **options).print(renderable)  # pyright: ignore[reportArgumentType]
    return out.getvalue()


def board_of(problem: Problem) -> Board:
    board = Board.of(Topics(), [bank.id for bank in problem.banks])
    board.agents["radio-tv"] = Line("online", "training", 117, 70, 69, 0, 1, 1, 0.305)
    return board


def test_shape_does_not_depend_on_colours_or_a_terminal(problem: Problem) -> None:
    board, alone = board_of(problem), {bank.id: 0.7 for bank in problem.banks}
    parts = {"furniture": "20 x slower"}

    def shape(**options: object) -> list[str]:
        return text_of(bank_table(board, problem.banks, parts, "bank", alone), **options).splitlines()

    plain = shape(no_color=True)
    assert plain == shape() == shape(no_color=True, force_terminal=False)
    assert len(plain) == len(problem.banks) + 2
    assert max(len(line) for line in plain) <= WIDTH
    row = next(line for line in plain if line.lstrip().startswith("radio-tv"))
    assert row.split() == ["radio-tv", "204", "training", "117", "69", "30.5", "%", "0.700"]


def test_words_in_the_table_are_never_cut_off(problem: Problem) -> None:
    parts = {"furniture": "20 x slower", "education": "joins late"}
    drawn = text_of(bank_table(board_of(problem), problem.banks, parts, "site", dict.fromkeys(IDS, 0.7)))
    assert "\N{HORIZONTAL ELLIPSIS}" not in drawn
    for word in ("site", "influence", "alone", "not here yet", "20 x slower", "joins late", *IDS):
        assert word in drawn


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (Line(), "not here yet"),
        (Line("online", "pulling"), "pulling"),
        (Line("online"), "online"),
        (Line("lost"), "lost"),
        (Line("offline"), "offline"),
        (Line("something new"), "something new"),
    ],
)
def test_state_is_a_word(line: Line, word: str) -> None:
    assert state_of(line, over=False).plain == word


def test_who_leaves_after_the_end_is_done_and_who_is_lost_stays_lost() -> None:
    assert state_of(Line("offline"), over=True).plain == "done"
    assert state_of(Line("lost"), over=True).plain == "lost"


def test_headline_names_the_score_once_it_is_known(problem: Problem) -> None:
    board = board_of(problem)
    assert "version   0" in headline(board, 1.0, "AUC", None)
    assert headline(board, 1.0, "AUC", 0.7654).endswith("AUC 0.765 on held-out rows")


def test_console_is_wide_enough_for_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert console().width == WIDTH
    monkeypatch.setenv("COLUMNS", "120")
    assert console().width == 120
