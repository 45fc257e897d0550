"""A contest that was not settled goes on while the program runs.

Where it was not sure who is the fastest, or others used the machine, the contest is held again later, in a thread that
ends with it: with the inputs of a call at that time, between those that might win. There are a few of them at most.
Another contender takes over only if the interval of the paired ratios says that it is faster.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from foretune.compiler.contest.choice import Choice
from foretune.compiler.contest.comparison import copies_beside
from foretune.compiler.contest.modes import modes_of_this_thread
from foretune.compiler.contest.race import RaceResult, race
from foretune.support.text import telling_line

_log = logging.getLogger("foretune")

_DELAYS_SECS = (10.0, 60.0, 300.0)  # before each repetition
_RACE_SECS = 2.0
_LEAST_CHANCE = 0.02  # to win, of whoever takes part again


@dataclass(frozen=True)
class Repeats:
    """How contests go on that were not settled.

    Attributes:
        start: runs a job in a thread.
        weights: positions of inputs that stay the same tensors from call to call, so that they need not be copied.
    """

    start: Callable[[Callable[[], None]], None]
    weights: frozenset[int] = frozenset()


class Unsettled:
    """Runs the winner of a contest that was not settled, and begins the next one in a later call.

    Args:
        runs: name -> what takes part, the winner among them.
        result: of the contest.
        choice: that was made; what comes later is noted there.
        changed: positions of inputs that a call changes.
        repeats: how it goes on.

    Attributes:
        run: who runs the graph now.
    """

    def __init__(
        self,
        runs: Mapping[str, Callable],
        result: RaceResult,
        choice: Choice,
        changed: frozenset[int],
        repeats: Repeats,
    ) -> None:
        self._runs = _with_a_chance(runs, result, choice.name)
        self._result, self._choice, self._changed, self._repeats = result, choice, changed, repeats
        self._lock = threading.Lock()
        self.run = runs[choice.name]
        self._due: float | None = time.monotonic() + _DELAYS_SECS[0]
        choice.is_open = True

    def __call__(self, *inputs: Any) -> Any:
        """Runs the graph."""
        if self._due is not None and time.monotonic() >= self._due:
            self._begin(inputs)
        return self.run(*inputs)

    def _begin(self, inputs: Sequence[Any]) -> None:
        with self._lock:
            if self._due is None:  # another thread was first
                return
            self._due = None
        own = copies_beside(inputs, self._repeats.weights)
        modes = modes_of_this_thread()
        self._repeats.start(lambda: self._repeat(own, modes))

    def _repeat(self, inputs: Sequence[Any], modes: Callable[[], AbstractContextManager[None]]) -> None:
        from foretune.compiler.measure.quietness import Quietness

        choice, quiet = self._choice, Quietness([os.getpid()])
        try:
            with modes():
                later = race(self._runs, inputs, self._changed, False, _RACE_SECS)
        except Exception as error:  # of any kind: the program goes on as it was
            _log.info("a contest in the background failed: %s: %s", type(error).__name__, telling_line(error))
            self._end()
            return
        was_busy = quiet.is_disturbed()
        # rounds of a quiet machine count alone, if there are any
        self._result = later if choice.was_busy and not was_busy else self._result.followed_by(later)
        name = self._result.successor(choice.name)
        self.run = self._runs[name]
        choice.note(self._result, name, was_busy)
        choice.num_repeats += 1
        if choice.is_sure or choice.num_repeats == len(_DELAYS_SECS):
            self._end()
        else:
            self._runs = _with_a_chance(self._runs, self._result, name)
            self._due = time.monotonic() + _DELAYS_SECS[choice.num_repeats]

    def _end(self) -> None:
        """Lets go of the others."""
        self._choice.is_open = False
        self._runs = {}


def _with_a_chance(runs: Mapping[str, Callable], result: RaceResult, name: str) -> dict[str, Callable]:
    """Those that may win after all, and the one that runs the graph; they took part in all rounds."""
    chances = result.win_rates()
    return {other: run for other, run in runs.items() if other == name or chances[other] >= _LEAST_CHANCE}
