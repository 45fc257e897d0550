"""The CostModel role."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from foretune.record import MeasureRecord, Trajectory
from foretune.task import Candidate, Task


class CostModel(ABC):
    """Ranks the candidates of a task; higher scores are better, and comparable within one task only."""

    name = "abstract"

    @abstractmethod
    def fit(self, trajectories: Sequence[Trajectory]) -> None:
        """Trains from scratch on measured trajectories of many tasks."""

    @abstractmethod
    def predict(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray:
        """Scores candidates of one task; higher is better.

        Returns:
            [N] float64.
        """

    def update(self, records: Sequence[MeasureRecord]) -> None:  # noqa: B027 - a model that cannot adapt ignores measurements
        """Adapts to fresh measurements of a task that is being tuned."""

    @abstractmethod
    def save(self, path: Path) -> None:
        """Writes the model to a file, whole or not at all."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path) -> CostModel:
        """Reads what `save` wrote.

        Raises:
            ModelError: the file is damaged or of another schema.
        """


class RandomModel(CostModel):
    """Scores at random: the floor that every model must beat."""

    name = "random"

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def fit(self, trajectories: Sequence[Trajectory]) -> None:
        """Nothing to learn."""

    def predict(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray:
        """Scores that depend on the seed and the number of candidates only; [N] float64."""
        return np.random.default_rng([self._seed, len(candidates)]).random(len(candidates))

    def save(self, path: Path) -> None:
        """Writes the seed."""
        from foretune.files import write_text_atomically

        write_text_atomically(path, f"{self._seed}\n")

    @classmethod
    def load(cls, path: Path) -> RandomModel:
        """Reads the seed."""
        return cls(int(path.read_text()))
