"""Callbacks of tuning runs: whoever wants to follow measurements, whatever is tuned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from foretune.errors import OptionError
from foretune.record import Status

SECONDS, RELATIVE = "seconds", "cost relative to the baseline"


@dataclass(frozen=True)
class TrialEvent:
    """One measurement.

    Attributes:
        task: name of the kernel or program.
        number: of the measurement in its run, from 1.
        status: how it ended.
        value: what was measured; infinite if it failed. Lower is better.
        best: the least value of the task in this run so far; infinite if there is none.
        unit: of both: `SECONDS` of kernels that TVM compiles, `RELATIVE` elsewhere.
    """

    task: str
    number: int
    status: Status
    value: float
    best: float
    unit: str


class Callback:
    """Follows tuning runs. Subclasses say what they want to hear of; the rest is left out.

    Calls come from the thread that tunes, between two measurements, and are waited for. What one raises ends the run;
    what was measured until then is stored.
    """

    def on_trial(self, event: TrialEvent) -> None:
        """Called after each measurement."""

    def on_end(self) -> None:
        """Called when a run is over, or was stopped; another one may follow, as for the next graph of a model."""


class Announcer:
    """Tells callbacks what a run measures.

    Args:
        callbacks: who is told, in order.
        unit: of the values.

    Raises:
        OptionError: one of them is no callback.
    """

    def __init__(self, callbacks: Sequence[Callback], unit: str) -> None:
        check_callbacks(callbacks)
        self._callbacks, self._unit = callbacks, unit
        self._number, self._best = 0, dict[str, float]()

    def tell(self, task: str, status: Status, value: float) -> None:
        """Tells one measurement; its value counts where it worked."""
        value = value if status is Status.OK else math.inf
        self._number += 1
        self._best[task] = min(value, self._best.get(task, math.inf))
        event = TrialEvent(task, self._number, status, value, self._best[task], self._unit)
        for callback in self._callbacks:
            callback.on_trial(event)

    def end(self) -> None:
        """Tells that the run is over."""
        for callback in self._callbacks:
            callback.on_end()


def check_callbacks(callbacks: Sequence[Callback]) -> None:
    """Checks that all are callbacks.

    Raises:
        OptionError: one is not.
    """
    if not isinstance(callbacks, (list, tuple)) or not all(isinstance(callback, Callback) for callback in callbacks):
        raise OptionError(f"callbacks must be a list of foretune.tuning.callback.Callback, but got {callbacks!r}")
