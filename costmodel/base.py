"""The CostModel role, and its variant that looks at the finished program."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from foretune.errors import ModelError
from foretune.record import MeasureRecord, Trajectory
from foretune.task import Candidate, Task

Featurizer = Callable[[Task, Sequence[Candidate]], list[np.ndarray]]
"""Static features of each candidate's final program: [S, F] float32, a row for each store; no rows where it cannot be
built.
"""


class CostModel(ABC):
    """Ranks the candidates of a task; higher scores are better, and comparable within one task only."""

    name = "abstract"
    trained_as = ""
    """Another model whose training gives the very same weights, and whose file this one reads; empty for none."""

    @property
    def settings(self) -> str:
        """Identifies what training depends on beside data and seed; empty if that never changes."""
        return ""

    @abstractmethod
    def fit(self, trajectories: Sequence[Trajectory], validation: Sequence[Trajectory] = ()) -> None:
        """Trains from scratch on measured trajectories of many tasks.

        Args:
            trajectories: what to learn from; default schedules (empty traces) among them are left out.
            validation: of other tasks, for early stopping and choices between variants; never learnt from.

        Raises:
            DataError: no task has two measured schedules.
            ModelError: the data lacks something that this model needs.
        """

    @abstractmethod
    def predict(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray:
        """Scores candidates of one task; higher is better.

        Returns:
            [N] float64; minus infinity for a candidate that is known to be unbuildable.

        Raises:
            ModelError: the model was neither trained nor loaded.
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


@runtime_checkable
class PredictsSpread(Protocol):
    """A cost model that states how unsure it is of its scores."""

    def predict_with_spread(self, task: Task, candidates: Sequence[Candidate]) -> tuple[np.ndarray, np.ndarray]:
        """Scores [N], higher is better, and their standard deviations [N]."""
        ...


@runtime_checkable
class PredictsLegality(Protocol):
    """A cost model that says which candidates can be built and run at all."""

    def predict_legality(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray:
        """Probability that each candidate is legal; [N]."""
        ...


class StaticCostModel(CostModel):
    """A model that looks at the finished program, so that each candidate must be replayed before it is scored.

    Training reads the features that trajectories carry. Afterwards a featurizer must be bound: one
    that looks features up (`foretune.costmodel.rivals.groups.recorded_features`) or one that replays the trace.
    """

    _featurizer: Featurizer | None = None

    def bind(self, featurizer: Featurizer) -> None:
        """Says where the features of candidates come from."""
        self._featurizer = featurizer

    def featurize(self, task: Task, candidates: Sequence[Candidate]) -> list[np.ndarray]:
        """The features of each candidate's final program: [S, F] float32, no rows where it cannot be built.

        Raises:
            ModelError: no featurizer is bound.
        """
        if self._featurizer is None:
            raise ModelError(
                f"the {self.name} model looks at the finished program: bind a featurizer to it before predicting"
            )
        return self._featurizer(task, candidates)
