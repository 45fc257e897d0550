"""Contests that go on while the program runs."""

from __future__ import annotations

import threading

import pytest
import torch

from foretune.compiler.contest import guard, repeat
from foretune.compiler.contest import race as races
from foretune.compiler.contest.choice import PYTORCH, Choice
from foretune.compiler.contest.guard import choose
from foretune.compiler.contest.race import RaceResult
from foretune.compiler.contest.repeat import Repeats, Unsettled
from foretune.compiler.measure.quietness import Quietness

X = torch.ones(4)


def plus_one(x):
    return (torch.relu(x) + 1,)


@pytest.fixture
def times_are(monkeypatch):
    """The runs are real; of their times, which no test may rest on, others take the place."""

    def fix(**secs: float) -> None:
        def fixed(runs, *rest):
            found = races.race(runs, *rest)
            assert all(value > 0 for values in found.secs.values() for value in values)
            return RaceResult({name: [secs[name], 1.01 * secs[name]] * 6 for name in runs})

        monkeypatch.setattr(repeat, "race", fixed)
        monkeypatch.setattr(guard, "race", fixed)

    return fix


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(races, "_BURST_SECS", 1e-4)
    monkeypatch.setattr(races, "_PAUSE_SECS", 0.0)
    monkeypatch.setattr(repeat, "_DELAYS_SECS", (0.0, 0.0, 0.0))


@pytest.fixture
def machine(monkeypatch):
    """Says whether others use it: the next of the answers that a test gives."""
    answers: list[bool] = []
    monkeypatch.setattr(Quietness, "is_disturbed", lambda self: answers.pop(0) if answers else False)
    return answers


@pytest.fixture
def threads():
    """Threads that were started for contests; each has ended when `finish` returns."""

    class Threads(list):
        def start(self, job):
            self.append(threading.Thread(target=job))
            self[-1].start()

        def finish(self):
            for thread in self:
                thread.join()

    return Threads()


def unsettled(runs, secs, threads, was_busy=False) -> tuple[Unsettled, Choice]:
    result, choice = RaceResult(secs), Choice()
    choice.note(result, result.winner, was_busy)
    return Unsettled(runs, result, choice, frozenset(), Repeats(threads.start)), choice


def test_quiet_rounds_overrule_those_of_a_busy_machine(machine, threads, times_are):
    times_are(seemed_fast=4e-3, is_fast=1e-3)
    runs = {name: lambda x: plus_one(x) for name in ("seemed_fast", "is_fast", "no_chance")}
    secs = {"seemed_fast": [1.0] * 9, "is_fast": [1.01, 1.02, 0.98] * 3, "no_chance": [5.0] * 7}
    run, choice = unsettled(runs, secs, threads, was_busy=True)
    assert choice.name == "seemed_fast" and choice.is_open and set(run._runs) == {"seemed_fast", "is_fast"}
    assert torch.equal(run(X)[0], X + 1)  # begins another contest, and runs as before meanwhile
    threads.finish()
    assert choice.name == "is_fast" and run.run is runs["is_fast"] and choice.num_repeats == 1
    assert not choice.is_open and choice.is_sure and choice.gain == pytest.approx((4, 4)) and not choice.was_busy
    assert choice.second == "seemed_fast" and choice.num_rounds == 12
    run(X)
    assert len(threads) == 1 and run._runs == {}  # settled: nothing runs on, and the others are let go


def test_equals_are_measured_a_few_times_and_no_more(machine, threads, times_are):
    machine += [True] * 9
    times_are(a=1e-3, b=1e-3)
    secs = {"a": [1.0, 1.2] * 5, "b": [1.1] * 10}
    run, choice = unsettled({"a": plus_one, "b": plus_one}, secs, threads)
    first = choice.name
    for _ in range(9):
        run(X)
        threads.finish()
    assert len(threads) == choice.num_repeats == 3 and choice.name == first and not choice.is_open
    assert choice.num_rounds == 10 + 3 * 12  # rounds of busy times count together


def test_a_contest_that_fails_leaves_the_program_as_it_was(machine, threads):
    calls = []

    def fails_later(x):
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("not here")
        calls.append(x)
        return (x,)

    run, choice = unsettled({"a": fails_later, "b": fails_later}, {"a": [1.0] * 9, "b": [1.0, 1.1, 0.9] * 3}, threads)
    run(X), threads.finish(), run(X)
    assert len(calls) == 2 and len(threads) == 1 and not choice.is_open


def test_the_program_goes_on_with_its_own_inputs(machine, threads, times_are):
    times_are(a=1e-3, b=1e-3)
    seen = []

    def writes(x, weight):
        seen.append((threading.current_thread() is threading.main_thread(), x.data_ptr(), weight.data_ptr()))
        x += weight
        return (x,)

    choice, result = Choice(), RaceResult({"a": [1.0] * 9, "b": [1.0, 1.1, 0.9] * 3})
    choice.note(result, "a", False)
    start = Repeats(threads.start, weights=frozenset({1}))
    run = Unsettled({"a": writes, "b": writes}, result, choice, frozenset({0}), start)
    x, weight = torch.zeros(4), torch.ones(4)
    run(x, weight), threads.finish()
    assert torch.equal(x, torch.ones(4))
    assert all(p != x.data_ptr() and w == weight.data_ptr() for is_main, p, w in seen if not is_main) and len(seen) > 9


@pytest.mark.parametrize("busy", [False, True])
def test_only_what_is_not_settled_is_repeated(machine, threads, times_are, busy, monkeypatch):
    monkeypatch.setattr(guard, "_TOO_SMALL_SECS", 0.0)
    times_are(pytorch=4e-3, other=1e-3)
    machine.append(busy)
    other = {"other": lambda: plus_one}
    run, choice = choose(plus_one, other, [X], 1e-3, repeats=Repeats(threads.start))
    assert choice.name == "other" and choice.was_busy == choice.is_open == isinstance(run, Unsettled) == busy
    assert choice.second == PYTORCH and choice.gain == pytest.approx((4, 4)) and choice.is_sure != busy
    machine.append(True)
    y = X.clone().requires_grad_()
    run, choice = choose(plus_one, other, [y], 1e-3, repeats=Repeats(threads.start))
    assert not isinstance(run, Unsettled) and not choice.is_open  # those of training are not
