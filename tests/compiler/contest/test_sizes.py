"""Which sizes have a way to run of their own."""

from __future__ import annotations

import pytest

from foretune.compiler.contest import sizes
from foretune.compiler.contest.sizes import BySize


class Made:
    """Makes at once, or keeps what takes the result."""

    def __init__(self, at_once: bool = True, fails: bool = False) -> None:
        self.sizes, self.waiting, self.at_once, self.fails = [], [], at_once, fails

    def __call__(self, inputs, done) -> None:
        self.sizes.append(inputs[0])
        give = lambda: done(None if self.fails else lambda *given: ("own", *given))  # noqa: E731
        give() if self.at_once else self.waiting.append(give)


def by_size(make: Made, most: int = 2) -> BySize:
    return BySize(lambda *given: ("shared", *given), [0], most, make)


def call(run: BySize, size: int, times: int = 1) -> str:
    for _ in range(times):
        found, *given = run(size, "x")
        assert given == [size, "x"]
    return found


def test_the_frequent_size_has_its_own_and_the_others_share():
    make = Made()
    run = by_size(make)
    for _ in range(3):
        for size in range(1, 9):
            assert call(run, size) == "shared"
        call(run, 5, 5)
    assert make.sizes == [5] and call(run, 5) == "own" and call(run, 4) == "shared"


def test_sizes_that_are_all_different_get_nothing():
    make = Made()
    run = by_size(make)
    for _ in range(20):
        for size in range(100):
            call(run, size)
    assert make.sizes == []


def test_one_is_made_at_a_time_and_the_program_does_not_wait():
    make = Made(at_once=False)
    run = by_size(make)
    assert call(run, 1, 50) == call(run, 2, 50) == "shared" and make.sizes == [1]
    make.waiting.pop()()
    assert call(run, 1) == "own" and call(run, 2) == "shared" and make.sizes == [1, 2]


def test_places_and_attempts_are_bounded():
    make = Made()
    run = by_size(make)
    for size in range(1, 9):
        call(run, size, 16 * 3**size)
    assert make.sizes == [1, 2, 3, 4] and sorted(run._own) == [(3,), (4,)] and run._make is None
    make = Made(fails=True)
    run = by_size(make)
    assert call(run, 7, 100) == "shared" and make.sizes == [7]  # it is not tried again


@pytest.mark.parametrize("factor", [1, 3])
def test_who_is_seen_much_more_often_takes_a_place(factor):
    make = Made()
    run = by_size(make, most=1)
    call(run, 1, 100)
    call(run, 2, 100 * factor)
    assert call(run, 2) == ("own" if factor > 2 else "shared") and len(run._own) == 1


def test_what_was_seen_long_ago_counts_less(monkeypatch):
    monkeypatch.setattr(sizes, "_AGE_CALLS", 128)
    run = by_size(Made(), most=1)
    call(run, 1, 1000)
    for size in range(2, 1000):
        call(run, size)
    assert len(run._counts) <= 130
    assert call(run, 1000, 40) == "own"
