"""A graph with symbolic sizes: those sizes that are seen most have a way to run of their own, all others share one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

_FEWEST_CALLS, _LEAST_SHARE = 16, 1 / 16  # of a size, before anything is made for it
_LOST_FACTOR = 2  # seen so many times as often as another one, a size takes its place
_MADE_FACTOR = 2  # times as many as there are places are made in all
_AGE_CALLS = 4096  # after which what was seen counts half


class BySize:
    """Runs a graph; what the sizes seen most run by is made while it does.

    Args:
        run: runs all sizes that have no way of their own.
        positions: of the inputs that are sizes, which say the shapes of all others.
        most: sizes that have a way of their own, at most; another one takes the place of the one that is seen least.
        make: called with inputs of a size and with what takes the result: what runs this size, or None where nothing
            is faster than `run`. It may give the result later, from another thread, and must give one.
    """

    def __init__(
        self,
        run: Callable,
        positions: Sequence[int],
        most: int,
        make: Callable[[Sequence[Any], Callable[[Callable | None], None]], None],
    ) -> None:
        self._run, self._positions, self._most = run, tuple(positions), most
        self._make: Callable | None = make
        self._left = _MADE_FACTOR * most
        self._own: dict[tuple[int, ...], Callable] = {}
        self._known: set[tuple[int, ...]] = set()  # which something was made for, or was begun
        self._counts: dict[tuple[int, ...], int] = {}
        self._num_calls = 0
        self._is_making = threading.Lock()  # one at a time

    def __call__(self, *inputs: Any) -> Any:
        """Runs the graph."""
        sizes = tuple([inputs[position] for position in self._positions])
        if self._make is not None:
            self._count(sizes, inputs)
        return self._own.get(sizes, self._run)(*inputs)

    def _count(self, sizes: tuple[int, ...], inputs: Sequence[Any]) -> None:
        self._num_calls += 1
        count = self._counts[sizes] = self._counts.get(sizes, 0) + 1
        if self._num_calls >= _AGE_CALLS:
            self._counts = {known: number // 2 for known, number in list(self._counts.items()) if number > 1}
            self._num_calls //= 2
        if count < _FEWEST_CALLS or count < _LEAST_SHARE * self._num_calls or sizes in self._known:
            return
        if len(self._own) < self._most or count >= _LOST_FACTOR * self._counts.get(self._least(), 0):
            self._begin(sizes, inputs)

    def _least(self) -> tuple[int, ...]:
        """Of the sizes with a way of their own, the one that is seen least."""
        return min(list(self._own), key=lambda sizes: self._counts.get(sizes, 0))

    def _begin(self, sizes: tuple[int, ...], inputs: Sequence[Any]) -> None:
        make = self._make
        if make is None or not self._is_making.acquire(blocking=False):
            return
        self._known.add(sizes)
        self._left -= 1
        if not self._left:
            self._make = None
        make(inputs, lambda run: self._take(sizes, run))

    def _take(self, sizes: tuple[int, ...], run: Callable | None) -> None:
        if run is not None:
            if len(self._own) >= self._most:
                del self._own[self._least()]
            self._own[sizes] = run
        self._is_making.release()
