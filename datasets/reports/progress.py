"""Best time so far over the measurements of a task, whatever order the shards hold the records in.

Two passes in constant memory: the first finds the records that improved on all earlier ones, the second counts
how many came before each of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretune.datasets.records.store import RecordStore
from foretune.datasets.reports.measurements import COLUMNS, TaskKey, large_batches, measurements


@dataclass(frozen=True)
class Progress:
    """Best-so-far curve of one task: a falling staircase of S steps.

    Attributes:
        num_records: measurements, failed ones too.
        positions: [S] int64, which measurement improved; the first is 1.
        secs: [S] float64, best time from there on. Lower is better.
    """

    num_records: int
    positions: np.ndarray
    secs: np.ndarray

    def quality(self, at: np.ndarray) -> np.ndarray:
        """Best time of all over best time after so many measurements; 0 before the first success, at most 1. Higher is
        better.

        Args:
            at: [G] numbers of measurements; beyond the last one, the last value stays.
        """
        if not len(self.secs):
            return np.zeros(len(at))
        return np.concatenate([[0.0], self.secs[-1] / self.secs])[
            np.searchsorted(self.positions, at, side="right")
        ]  # [G]


def read_progress(store: RecordStore) -> dict[TaskKey, Progress]:
    """The curve of every task; measurements are ordered by timestamp, then by their order in the store."""
    steps: dict[TaskKey, np.ndarray] = {}  # [S, 3] timestamp, index, seconds
    index = 0
    for batch in large_batches(store, COLUMNS):
        found = measurements(batch)
        for key, rows in found.by_task():
            rows = rows[~np.isnan(found.best_secs[rows])]
            points = np.stack([found.timestamp[rows], index + rows, found.best_secs[rows]], 1)
            steps[key] = _improvements(np.concatenate([steps[key], points]) if key in steps else points)
        index += batch.num_rows
    counts = {key: np.zeros(len(s), np.int64) for key, s in steps.items()}
    num_records = dict.fromkeys(steps, 0)
    index = 0
    for batch in large_batches(store, COLUMNS):
        found = measurements(batch)
        for key, rows in found.by_task():
            if key in steps:  # a store that is being written to may have grown
                num_records[key] += len(rows)
                times, places = steps[key][:, :1], steps[key][:, 1:2]  # [S, 1]
                earlier = (found.timestamp[rows] < times) | (
                    (found.timestamp[rows] == times) & (index + rows <= places)
                )  # [S, N]
                counts[key] += earlier.sum(1)
        index += batch.num_rows
    return {key: Progress(num_records[key], counts[key], steps[key][:, 2]) for key in steps}


def _improvements(points: np.ndarray) -> np.ndarray:
    points = points[np.lexsort((points[:, 1], points[:, 0]))]
    before = np.minimum.accumulate(np.concatenate([[np.inf], points[:, 2]]))[:-1]
    return points[points[:, 2] < before]
