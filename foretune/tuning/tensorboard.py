"""Curves of tuning runs in TensorBoard."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any, cast

from foretune.support.optional import require
from foretune.tuning.callback import Callback, TrialEvent


class TensorBoardCallback(Callback):
    """Writes, for each task, the value of each measurement, the best so far and the number of failures.

    Steps are the measurements of the task, in all runs that this callback follows.

    Args:
        folder: for TensorBoard's files; `tensorboard --logdir` shows it.

    Raises:
        UnsupportedError: the package tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        summary = cast("Any", require("tensorboard.summary", "a log of tuning runs"))
        self._writer = summary.Writer(str(Path(folder).expanduser()))
        self._steps: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()

    def on_trial(self, event: TrialEvent) -> None:
        """Adds a point to the curves of the task."""
        self._steps[event.task] += 1
        step = self._steps[event.task]
        if math.isfinite(event.value):
            self._writer.add_scalar(f"{event.task}/measured", event.value, step, description=event.unit)
        else:
            self._failures[event.task] += 1
        if math.isfinite(event.best):
            self._writer.add_scalar(f"{event.task}/best", event.best, step, description=event.unit)
        self._writer.add_scalar(f"{event.task}/failures", self._failures[event.task], step)

    def on_end(self) -> None:
        """Puts all points on disk."""
        self._writer.flush()
