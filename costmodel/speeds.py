"""What the cost models that TVM's own searches call have in common: scores become speeds, and what fails is neutral.

MetaSchedule's evolutionary search and Ansor's SketchPolicy sample in proportion to the scores and take those below zero
as zero, and an exception in a callback would end their whole tuning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable
from typing import TypeVar

import numpy as np

from foretune.support.once import warn_once
from foretune.support.text import telling_line

_MAX_LOG_SPEED = 30.0  # keeps speeds finite and positive
Result = TypeVar("Result")


class Speeds:
    """Speeds of candidates, relative to the best one of the task that was seen first since it was last forgotten."""

    def __init__(self) -> None:
        self._best: dict[Hashable, float] = {}

    def of(self, task: Hashable, scores: np.ndarray) -> np.ndarray:
        """Scores, [N] with NaN where there is none, as positive speeds [N]; higher is better."""
        known = ~np.isnan(scores)
        if not known.any():
            return np.ones(len(scores))
        best = self._best.setdefault(task, float(scores[known].max()))
        speeds = np.exp(np.clip(scores - best, -_MAX_LOG_SPEED, _MAX_LOG_SPEED))
        return np.where(known, speeds, np.median(speeds[known]))

    def forget(self, task: Hashable) -> None:
        """The next scores of the task are relative to their own best."""
        self._best.pop(task, None)

    def clear(self) -> None:
        """The same for all tasks."""
        self._best.clear()


class Guard:
    """Keeps failures away from TVM.

    Args:
        log: gets one warning for each name.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._warned: set[str] = set()

    def run(self, name: str, work: Callable[[], Result]) -> Result | None:
        """Does some work on a task; None, with a warning, if it fails."""
        try:
            return work()
        except Exception as error:  # the boundary to TVM, where an exception would end the whole tuning
            if name not in self._warned:
                self._warned.add(name)
                warn_once(
                    self._log,
                    "the cost model does not understand all of %s, and is neutral there: %s: %s",
                    name[:80],
                    type(error).__name__,
                    telling_line(error),
                )
            return None
