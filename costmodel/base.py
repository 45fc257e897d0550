"""The roles of cost models: a `Ranker` orders the candidates of one task, a `CostPredictor` says what programs cost.

A `CostModel` is a ranker that is trained on many tasks and kept in a file; `StaticCostModel` is one that looks at the
finished program.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, Protocol, Self, TypeVar, runtime_checkable

import numpy as np

from foretune.errors import ModelError
from foretune.record import MeasureRecord, Trajectory
from foretune.task import Candidate, Task

Featurizer = Callable[[Task, Sequence[Candidate]], list[np.ndarray]]
"""Static features of each candidate's final program: [S, F] float32, a row for each store; no rows where it cannot be
built.
"""


class Ranker(ABC):
    """Orders the candidates of a task before they are measured.

    A search asks for scores (`predict`), measures the best, tells what it saw (`update`), and asks again. Scores are
    comparable within one task only; a higher score is better. They say nothing in seconds: that is a `CostPredictor`'s.
    """

    @abstractmethod
    def predict(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray:
        """Scores candidates of one task; higher is better. The score of one does not depend on the others.

        Returns:
            [N] float64; minus infinity for a candidate that is known to be unbuildable.

        Raises:
            ModelError: the ranker was neither trained nor loaded, or does not know such programs.
        """

    def update(self, records: Sequence[MeasureRecord]) -> None:  # noqa: B027 - one that cannot adapt ignores measurements
        """Adapts to fresh measurements of tasks that are being tuned; failures among them are allowed."""


class CostModel(Ranker):
    """A ranker that is trained on records of many tasks and kept in a file.

    `foretune.testing.CostModelContract` tests what is said here.
    """

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
    def save(self, path: Path) -> None:
        """Writes the model to a file, whole or not at all; see `foretune.costmodel.model_file`."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            ModelError: the file is damaged or of another schema.
        """


@dataclass(frozen=True)
class CostPrediction:
    """What a predictor says of one program.

    Attributes:
        costs: label -> value, in the label's unit; lower is better, but for shares.
        spread: label -> standard deviation of the logarithm (of shares: of the value), calibrated on programs that were
            held out; 0 of what is known exactly.
    """

    costs: dict[str, float]
    spread: dict[str, float]

    def interval(self, name: str, deviations: float = 1.645) -> tuple[float, float]:
        """Where a cost lies, nine times of ten by default."""
        value, spread = self.costs[name], deviations * self.spread[name]
        if "share" in name:
            return max(0.0, value - spread), min(1.0, value + spread)
        return value * math.exp(-spread), value * math.exp(spread)


P = TypeVar("P")


class CostPredictor(ABC, Generic[P]):
    """Says what programs cost, in absolute units, and how unsure it is. Programs are `P`, with their processor.

    Costs are comparable between programs, where scores of a `Ranker` are not. `foretune.testing.CostPredictorContract`
    tests what is said here.

    Attributes:
        name: kind of the model in its file.
        labels: of the costs.
    """

    name: ClassVar[str]
    labels: ClassVar[tuple[str, ...]]

    @abstractmethod
    def predict_costs(self, programs: Sequence[P]) -> Sequence[CostPrediction]:
        """A prediction for each program, in order: a finite cost and a spread of at least 0 for each label. That of one
        does not depend on the others.

        Raises:
            ModelError: a program is of another release than the model.
        """

    @abstractmethod
    def save(self, path: Path) -> None:
        """Writes the model to a file, whole or not at all; see `foretune.costmodel.model_file`."""

    @classmethod
    @abstractmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            ModelError: the file is damaged, of another schema or of another model.
        """


@runtime_checkable
class PredictsSpread(Protocol):
    """A ranker that states how unsure it is of its scores."""

    def predict_with_spread(self, task: Task, candidates: Sequence[Candidate]) -> tuple[np.ndarray, np.ndarray]:
        """Scores [N], higher is better, and their standard deviations [N]."""
        ...


@runtime_checkable
class PredictsLegality(Protocol):
    """A ranker that says which candidates can be built and run at all."""

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
