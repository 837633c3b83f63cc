"""The window of one transfer against losses of every kind."""

import random
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.agents.sender import Sender, Sent


class Receiver:
    """What the coordinator's half does: keeps what arrives, lists what it lacks."""

    def __init__(self, total: int, runs: int = 400) -> None:
        self.have: set[int] = set()
        self.total, self.runs, self.seen = total, runs, 0

    def missing(self) -> tuple[list[list[int]], int]:
        runs: list[list[int]] = []
        for index in range(self.total):
            if index in self.have:
                continue
            if runs and runs[-1][0] + runs[-1][1] == index:
                runs[-1][1] += 1
            elif len(runs) == self.runs:
                return runs, index
            else:
                runs.append([index, 1])
        return runs, self.total


def transfer(total: int, window: int, lost: Callable[[], bool], runs: int = 400) -> tuple[int, int]:
    """Run one transfer of ``total`` chunks of one byte; returns (chunk frames sent, probes)."""
    sender, receiver = Sender([1] * total), Receiver(total, runs)
    sender.answered(0, [[0, total]], total, window)
    frames = probes = 0
    while len(receiver.have) < total:
        answers: list[tuple[int, list[list[int]], int]] = []
        while (sent := sender.take()) is not None:
            frames += 1
            if not lost():
                receiver.have.add(sent.index)
                receiver.seen = sent.send
                if frames % max(1, window // 4) == 0 and not lost():
                    answers.append((receiver.seen, *receiver.missing()))
        assert sender.unanswered <= max(window, 1)
        for answer in answers:
            sender.answered(*answer, window)
        if not answers:
            probes += 1
            assert probes < 100 * total
            send = sender.probe()
            if not lost():
                receiver.seen = send
                if not lost():
                    sender.answered(receiver.seen, *receiver.missing(), window)
    return frames, probes


def test_without_losses_every_chunk_goes_once() -> None:
    assert transfer(100, 8, lambda: False)[0] == 100


def test_a_fifth_lost_costs_at_most_two_fifths_more() -> None:
    chance = random.Random(7)
    total = 2000
    frames, probes = transfer(total, 32, lambda: chance.random() < 0.2)
    assert frames <= 1.4 * total
    assert probes < total


@settings(max_examples=60, deadline=None)
@given(
    total=st.integers(1, 60),
    window=st.integers(1, 20),
    runs=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    rate=st.floats(0, 0.6),
)
def test_any_loss_ends_with_every_chunk_there(
    total: int, window: int, runs: int, seed: int, rate: float
) -> None:
    chance = random.Random(seed)
    frames, _ = transfer(total, window, lambda: chance.random() < rate, runs)
    assert frames >= total


def test_what_may_still_be_under_way_is_not_repeated() -> None:
    sender = Sender([10] * 4)
    sender.answered(0, [[0, 4]], 4, 100)
    assert [(s.index, s.send) for s in iter(sender.take, None)] == [(0, 1), (1, 2), (2, 3), (3, 4)]
    sender.answered(2, [[0, 1], [2, 2]], 4, 100)  # 0 is lost, 2 and 3 are still on their way
    assert [(s.index, s.send) for s in iter(sender.take, None)] == [(0, 5)]
    assert sender.unanswered == 30


def test_window_smaller_than_a_chunk_lets_one_through() -> None:
    sender = Sender([100, 100])
    sender.answered(0, [], 0, 1)
    assert sender.take() is not None
    assert sender.idle
    assert sender.take() is None
    sender.answered(1, [[1, 1]], 2, 1)
    sent = sender.take()
    assert sent is not None
    assert sent.index == 1


def test_without_a_grant_nothing_goes() -> None:
    assert Sender([1]).take() is None


def test_chunks_known_from_before_are_not_sent() -> None:
    sender = Sender([1] * 5)
    sender.answered(0, [[1, 1], [4, 1]], 5, 10)
    assert [s.index for s in iter(sender.take, None)] == [1, 4]
    sender.answered(2, [], 5, 10)
    assert sender.complete


def test_senseless_receipts_are_harmless() -> None:
    sender = Sender([1] * 3)
    sender.answered(10**9, [[-5, 2], [2, 100], [50, 1]], 10**6, 2)
    assert sender.seen == 0
    assert [s.index for s in iter(sender.take, None)] == [2]


def test_runs_that_overlap_are_walked_once() -> None:
    sender = Sender([1] * 3)
    sender.answered(0, [[0, 3]], 3, 3)
    while sender.take():
        pass
    sender.answered(3, [[0, 2]] * 20_000 + [[2, 1]], 3, 3)
    assert [s.index for s in iter(sender.take, None)] == [0, 1, 2]


def test_another_process_sends_only_what_a_receipt_says_is_missing() -> None:
    sender = Sender([10] * 6, sent=1024)
    sender.answered(
        1000, [[0, 6]], 6, 100
    )  # what an earlier process asked: nothing is known of its last frames
    assert sender.take() is None
    assert sender.probe() == 1025
    sender.answered(1025, [[1, 1], [3, 1]], 4, 100)  # the list stops at chunk 4
    assert sender.take() == Sent(1, 1026)
    assert sender.take() == Sent(3, 1027)
    assert sender.take() is None
    sender.answered(1027, [[4, 2]], 6, 100)
    assert sender.take() == Sent(4, 1028)


def test_what_all_arrived_before_a_restart_is_not_sent_again() -> None:
    sender = Sender([10] * 3, sent=5)
    sender.answered(6, [], 3, 100)
    sender.probe()
    sender.answered(6, [], 3, 100)
    assert sender.take() is None
    assert sender.complete
