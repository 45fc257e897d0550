"""Trials of a tuning run: how they ended, how the best grew, and their records on disk."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any

from foretune.datasets.records.store import RecordStore
from foretune.record import Trajectory
from foretune.task import Task

_MOST_BATCHES = 64  # files of a store, before they are merged


UNCERTAIN = 1.005
"""A winner must be faster than this, to be told from noise."""


class TrialLog:
    """What the trials of a run say; for results that hold them.

    Attributes:
        trials: in order; each has a `status`, and a `cost` relative to the baseline's, infinite if it failed.
    """

    trials: list[Any]

    @property
    def statuses(self) -> dict[str, int]:
        """How many trials ended how."""
        return dict(Counter(trial.status.value for trial in self.trials))

    def best_so_far(self) -> list[float]:
        """The best gain after each trial, as the search saw it; 1 is the baseline."""
        gains, best = [], 1.0
        for trial in self.trials:
            best = max(best, 1 / trial.cost if 0 < trial.cost < math.inf else 0.0)
            gains.append(best)
        return gains


def append_records(
    store: Path,
    task: Task,
    trajectories: Many[Trajectory],
    source: str = "foretune",
    features: tuple[tuple[float, ...], ...] = (),
) -> None:
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
