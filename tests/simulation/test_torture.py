"""Federations in bad weather: that every promise holds, and that a promise that is broken is noticed."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from child import in_child

from antiphon.agents import residual
from antiphon.coordinator import flushing, merging, service
from antiphon.coordinator.buffer import Buffer
from antiphon.coordinator.commits import Commits
from antiphon.coordinator.ledger import ledger as ledgers
from antiphon.coordinator.merging import Merged
from antiphon.simulation import torture
from antiphon.simulation.parties import AGENT, Parties
from antiphon.simulation.torture import Verdict, main, play, seeds_of

Patch = pytest.MonkeyPatch


def entry(*arguments: str, seed: str = "0") -> "subprocess.CompletedProcess[str]":
    """The command line, in a process with this hash seed; nobody measures its coverage, which takes long."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
    return subprocess.run(
        [sys.executable, "-m", "antiphon.simulation.torture", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "PYTHONHASHSEED": seed},
    )


@pytest.mark.timeout(1200)
def test_three_hundred_federations_keep_every_promise() -> None:
    done = entry("--seeds", "0-299", "--jobs", "2")
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("300 federations")
    assert "every invariant held" in done.stdout


def test_same_seed_is_the_same_history_whatever_the_hash_seed() -> None:
    def histories(seed: str) -> list[dict[str, Any]]:
        lines = entry("--child", "3,4,5", seed=seed).stdout.splitlines()
        return [{**torture.read(line), "cpu": 0.0} for line in lines]

    once = histories("1")
    assert [each["seed"] for each in once] == [3, 4, 5]
    assert all(each["crashes"] >= 5 and not each["violations"] for each in once)
    assert once == histories("2")


# What is broken on purpose, and noticed.


def broken(seeds: Sequence[int]) -> str:
    """What the seeds complain about, up to the first that does."""

    def found() -> str:
        played = (play(seed).violations for seed in seeds)
        return next((" / ".join(violations) for violations in played if violations), "")

    return in_child(found)


def test_receipt_before_the_commit_is_noticed(monkeypatch: Patch) -> None:
    put = Commits.put

    def hasty(self: Commits, operation: Any, done: Any = None, failed: Any = None) -> None:
        if done is not None:
            done()
        asyncio.get_running_loop().call_later(1.0, lambda: put(self, operation, None, failed))

    monkeypatch.setattr(Commits, "put", hasty)
    assert "was received" in broken(range(20))


def test_announcement_before_the_commit_is_noticed(monkeypatch: Patch) -> None:
    def forgetful(self: Any, record: Any) -> None:
        del self, record

    monkeypatch.setattr(ledgers.Ledger, "commit_version", forgetful)
    assert "another digest than the ledger's" in broken(range(1))


def test_update_that_is_merged_twice_is_noticed(monkeypatch: Patch) -> None:
    def keeps(self: Buffer, gone: Any) -> None:
        del self, gone

    monkeypatch.setattr(Buffer, "remove", keeps)
    assert broken(range(1))


def test_update_that_a_restart_forgets_is_noticed(monkeypatch: Patch) -> None:
    opened = ledgers.Ledger.open

    def forgetful(self: Any, *arguments: Any) -> Any:
        return replace(opened(self, *arguments), waiting=())

    monkeypatch.setattr(ledgers.Ledger, "open", forgetful)
    assert "still waits at the end" in broken(range(20))


def test_outbox_that_forgets_at_a_restart_is_noticed(monkeypatch: Patch) -> None:
    start = Parties.start

    def forgetful(self: Parties, name: str) -> None:
        disk = self.hosts[name].disk
        if disk.size(AGENT / "state.db"):
            database = disk.database(AGENT / "state.db", sync=False)
            with database.transaction() as cursor:
                cursor.execute("DELETE FROM updates")
            database.close()
        start(self, name)

    monkeypatch.setattr(Parties, "start", forgetful)
    found = broken(range(20))
    assert "left its disk without an outcome" in found or "is not where it should be" in found


def test_numbers_that_error_feedback_loses_are_noticed(monkeypatch: Patch) -> None:
    def clear(rest: Any, schema: Any, first: int) -> Any:
        del schema, first
        rest[:] = 0
        return rest

    monkeypatch.setattr(residual, "clear", clear)
    assert "is not where it should be" in broken(range(10))


def test_model_that_is_not_what_the_ledger_says_is_noticed(monkeypatch: Patch) -> None:
    merge, calls = merging.merge, [0]

    def noisy(*arguments: Any, **more: Any) -> Any:
        calls[0] += 1
        merged = merge(*arguments, **more)
        if isinstance(merged, Merged):
            merged.model.vector[0] += np.float32(calls[0])
            return _signed(merged)
        return merged

    monkeypatch.setattr(flushing.merging, "merge", noisy)
    assert "cannot be replayed" in broken(range(1))


def _signed(merged: Merged) -> Merged:
    model = merged.model
    digest = merging.model_digest(model.schema, model.vector, model.exact)
    return Merged(replace(model, digest=digest), merged.step)


def test_federation_that_waits_for_its_silent_agent_is_noticed(monkeypatch: Patch) -> None:
    seed = next(seed for seed in range(100) if torture.draw(seed).silent)
    due = flushing.Flushing._next  # pyright: ignore[reportPrivateUsage]

    def polite(self: Any) -> float | None:
        waiting = {arrival.agent for arrival in self._tools.buffer.arrivals}
        return due(self) if waiting == set(self._tools.roster.peers) else None

    monkeypatch.setattr(flushing.Flushing, "_next", polite)
    assert "the run is not over" in broken([seed])


def test_service_that_ends_by_an_error_is_noticed(monkeypatch: Patch) -> None:
    def breaks(*arguments: Any) -> Any:
        raise RuntimeError("a defect")

    monkeypatch.setattr(service, "why_over", breaks)
    assert "RuntimeError" in broken(range(1))


def test_federation_that_stands_still_is_noticed(monkeypatch: Patch) -> None:
    async def stuck(self: Any) -> None:
        del self
        await asyncio.Event().wait()

    monkeypatch.setattr(torture.Ordeal, "run", stuck)
    assert broken(range(1)).startswith("Deadlock")


# The command.


def verdict(seed: int, *violations: str) -> Verdict:
    return Verdict(seed, f"seed {seed}: made up", violations)


def told(monkeypatch: Patch, capsys: Any, *parts: list[Verdict]) -> tuple[int, str]:
    def batches(seeds: Sequence[int], jobs: int) -> Any:
        del seeds, jobs
        return iter(parts)

    monkeypatch.setattr(torture, "batches", batches)
    return main(["--seeds", "1-2"]), capsys.readouterr().out


def test_broken_seed_is_told_with_the_command_that_repeats_it(monkeypatch: Patch, capsys: Any) -> None:
    code, said = told(monkeypatch, capsys, [verdict(1)], [verdict(2, "it leaks", *"abcdefg")])
    assert code == 1
    assert "seed 2: it leaks\n" in said
    assert "python -m antiphon.simulation.torture --seed 2\n" in said
    assert said.count("seed 2: ") == torture.SHOWN + 1
    assert "1 broken: 2" in said


def test_seed_that_was_not_played_is_no_success(monkeypatch: Patch, capsys: Any) -> None:
    assert told(monkeypatch, capsys, [verdict(1)])[0] == 1
    assert told(monkeypatch, capsys, [verdict(1), verdict(2)])[0] == 0


def test_process_that_dies_is_a_broken_seed(monkeypatch: Patch) -> None:
    monkeypatch.setattr(torture.sys, "executable", "/bin/false")
    (found,) = next(torture.batches([7, 8], 1))
    assert found.seed == 7
    assert "ended with code 1" in found.violations[0]


def test_seed_that_hangs_is_broken_and_what_came_before_it_counts(monkeypatch: Patch) -> None:
    said = b'{"seed": 7, "scenario": "", "violations": []}\n{"seed": 8, "scen'

    def hang(command: Any, **options: Any) -> Any:
        raise subprocess.TimeoutExpired(command, options["timeout"], output=said)

    monkeypatch.setattr(torture.subprocess, "run", hang)
    whole, hung = next(torture.batches([7, 8], 1))
    assert (whole.seed, whole.violations) == (7, ())
    assert hung.seed == 8
    assert "not over after 60 s" in hung.violations[0]


@pytest.mark.parametrize(("text", "seeds"), [("3", [3]), ("0-2", [0, 1, 2]), ("1,4-5", [1, 4, 5])])
def test_seeds_are_ranges_and_lists(text: str, seeds: list[int]) -> None:
    assert seeds_of(text) == seeds


def test_one_seed_tells_all_about_itself() -> None:
    done = entry("--seed", "3")
    assert done.returncode == 0
    assert torture.read(done.stdout)["seed"] == 3


@pytest.mark.parametrize("text", ["abc", "", "3-1", "1,", "-4"])
def test_seeds_that_cannot_be_read_are_refused_with_an_example(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([f"--seeds={text}"])
    assert "say some such as 0-299" in capsys.readouterr().err
