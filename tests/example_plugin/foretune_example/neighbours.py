"""A cost model that knows nothing of programs: a candidate is as good as the three measured ones whose decisions are
nearest.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foretune import Candidate, DataError, MeasureRecord, ModelError, Task, Trace, Trajectory
from foretune.costmodel import CostModel

SCHEMA = "foretune-example-1"
NUM_NUMBERS, NUM_NEIGHBOURS = 32, 3


def numbers_of(trace: Trace) -> np.ndarray:
    """Logarithms of the first numbers that were decided; [NUM_NUMBERS] float64."""
    decided = [
        number
        for action in trace.actions
        if action.decision is not None
        for number in np.ravel(np.array(action.decision))
    ]
    row = np.zeros(NUM_NUMBERS)
    row[: len(decided[:NUM_NUMBERS])] = np.log2(1.0 + np.abs(np.array(decided[:NUM_NUMBERS], dtype=float)))
    return row


class NeighboursModel(CostModel):
    """Nearest neighbours among the measured candidates.

    Args:
        seed: of nothing; every cost model takes one.
    """

    name = "neighbours"

    def __init__(self, seed: int = 0) -> None:
        self._points, self._scores = np.zeros((0, NUM_NUMBERS)), np.zeros(0)
        self._fresh: list[tuple[np.ndarray, float]] = []  # of the task that is being tuned

    def fit(self, trajectories: Sequence[Trajectory], validation: Sequence[Trajectory] = ()) -> None:
        """Keeps what was measured, with scores relative to the best of each task."""
        tasks: dict[tuple, list[MeasureRecord]] = defaultdict(list)
        for record in (t.record for t in trajectories):
            if record.run_secs and len(record.trace):
                tasks[record.candidate.task.key].append(record)
        tasks = {key: records for key, records in tasks.items() if len(records) > 1}
        if not tasks:
            raise DataError(
                "no task has two measured schedules, so there is nothing to learn from: collect more records"
            )
        rows = [
            (numbers_of(r.trace), np.log(min(x.best_secs for x in records) / r.best_secs))
            for records in tasks.values()
            for r in records
        ]
        self._points, self._scores = np.stack([point for point, _ in rows]), np.array([score for _, score in rows])
        self._fresh = []

    def predict(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray:
        """Mean score of the nearest neighbours; [N] float64."""
        if not len(self._points):
            raise ModelError("the neighbours model has neither been trained nor loaded: call fit or load first")
        points, scores = self._points, self._scores
        if len(self._fresh) > NUM_NEIGHBOURS:
            points, scores = (
                np.stack([point for point, _ in self._fresh]),
                np.array([score for _, score in self._fresh]),
            )
        return np.array([self._score(numbers_of(c.trace), points, scores) for c in candidates])

    def _score(self, point: np.ndarray, points: np.ndarray, scores: np.ndarray) -> float:
        distances = np.linalg.norm(points - point, axis=1)
        nearest = np.argsort(distances, kind="stable")[:NUM_NEIGHBOURS]
        return float(np.average(scores[nearest], weights=1.0 / (0.01 + distances[nearest])))

    def update(self, records: Sequence[MeasureRecord]) -> None:
        """Goes by fresh measurements alone, once there are some."""
        self._fresh += [
            (numbers_of(r.trace), -float(np.log(r.best_secs))) for r in records if r.run_secs and len(r.trace)
        ]

    def save(self, path: Path) -> None:
        """Writes a JSON document."""
        path.write_text(
            json.dumps({"schema": SCHEMA, "points": self._points.tolist(), "scores": self._scores.tolist()})
        )

    @classmethod
    def load(cls, path: Path) -> NeighboursModel:
        """Reads what `save` wrote."""
        model = cls()
        try:
            document = json.loads(path.read_text())
            if document["schema"] != SCHEMA:
                raise ValueError(f"schema {document['schema']!r}")
            model._points, model._scores = np.array(document["points"]), np.array(document["scores"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path} is no file of the neighbours model: {error}; train it again") from error
        return model
