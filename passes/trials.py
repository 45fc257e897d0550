"""Trials of a tuning run: how they ended, how the best grew, and their records on disk."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence as Many
from pathlib import Path
from typing import Protocol

from foretune.datasets.store import RecordStore
from foretune.record import Status, Trajectory
from foretune.task import Task

_MOST_BATCHES = 64  # files of a store, before they are merged


class Measured(Protocol):
    """A trial of any search."""

    @property
    def status(self) -> Status:
        """How it ended."""

    @property
    def cost(self) -> float:
        """Relative to the baseline's; infinite if it failed."""


def count_statuses(trials: Iterable[Measured]) -> dict[str, int]:
    """How many trials ended how."""
    return dict(Counter(trial.status.value for trial in trials))


def best_gains(trials: Iterable[Measured]) -> list[float]:
    """The best gain after each trial, as the search saw it; 1 is the baseline."""
    gains, best = [], 1.0
    for trial in trials:
        best = max(best, 1 / trial.cost if 0 < trial.cost < math.inf else 0.0)
        gains.append(best)
    return gains


def append_records(store: Path, task: Task, trajectories: Many[Trajectory], source: str = "foretune", features: tuple[tuple[float, ...], ...] = ()) -> None:
    """Adds a task's records to a store, which is open no longer than that, so that runs may share it.

    Args:
        store: folder.
        task: of all of them.
        trajectories: to add; nothing is opened if there are none.
        source: of the records.
        features: of the task's program.
    """
    if not trajectories:
        return
    with RecordStore(store, writable=True) as opened:
        opened.append_workloads([task], {task.workload.hash: features} if features else {})
        opened.append(trajectories, source)
        if len(opened.manifest.shards) > _MOST_BATCHES:
            opened.compact()
