"""Rival: what all rivals of the latent model have in common.

A rival is four functions: inputs of candidates, training on groups, scoring of inputs, and the state
to be saved. This class turns them into the CostModel role.

Measurements of a task that is being tuned are kept and handed to `_adapt` together. A rival that was
never fitted is trained from scratch on them, which is how Ansor and MetaSchedule use theirs.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from foretune.costmodel.base import CostModel, StaticCostModel
from foretune.costmodel.model_file import read_model, write_model
from foretune.costmodel.rivals.groups import Group, labelled_groups, relative_throughput, training_groups
from foretune.errors import ModelError
from foretune.record import MeasureRecord, Trajectory
from foretune.task import Candidate, Task


class Rival(CostModel):
    """A model that ranks from the trace alone.

    Args:
        seed: of everything random.
    """

    num_features = 0
    """Features of a store that the model was trained on; 0 if it does not look at the finished program."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._fitted = False
        self._from_scratch = False
        self._measured: dict[tuple[str, str], dict[str, MeasureRecord]] = {}

    # -- what a rival defines --------------------------------------------------------------------

    @abstractmethod
    def _train(self, groups: Sequence[Group], validation: Sequence[Group]) -> None:
        """Trains from scratch; `validation` may be empty."""

    @abstractmethod
    def _score(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> np.ndarray:
        """Scores candidates; `finals` are empty arrays for models that do not look at the finished program; [N]
        float64.
        """

    @abstractmethod
    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON data and arrays that `_restore` can rebuild the model from."""

    @abstractmethod
    def _restore(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Rebuilds the model from what `_state` gave."""

    def _adapt(self, groups: Sequence[Group]) -> None:
        """Adapts to all candidates measured so far on the tasks that are being tuned."""

    # -- the CostModel role ----------------------------------------------------------------------

    def fit(self, trajectories: Sequence[Trajectory], validation: Sequence[Trajectory] = ()) -> None:
        """Trains from scratch; see `CostModel.fit`."""
        self._train_from_scratch(training_groups(trajectories), labelled_groups(validation))
        self._fitted, self._from_scratch, self._measured = True, False, {}

    def predict(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray:
        """Scores candidates of one task; [N] float64, higher is better."""
        if not self._fitted:
            raise ModelError(f"the {self.name} model has neither been trained nor loaded")
        return self._score_group(task, candidates, self._finals(task, candidates)) if len(candidates) else np.zeros(0)

    def update(self, records: Sequence[MeasureRecord]) -> None:
        """Adapts to measured records, together with those of earlier calls."""
        for record in records:
            if len(record.trace):
                self._measured.setdefault(record.candidate.task.key, {})[record.trace.key] = record
        groups = [g for g in map(self._measured_group, self._measured.values()) if np.count_nonzero(g.throughput) >= 2]
        if not groups:
            return
        if self._fitted and not self._from_scratch:
            self._adapt(groups)
        else:
            self._train_from_scratch(groups, ())
            self._fitted = self._from_scratch = True

    def save(self, path: Path) -> None:
        """Writes the model as it is now, adapted or not, to a safetensors file."""
        if not self._fitted:
            raise ModelError(f"the {self.name} model has not been trained: there is nothing to save")
        header, arrays = self._state()
        write_model(path, self.name, {"seed": self.seed, "num_features": self.num_features, **header}, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote."""
        header, arrays = read_model(path, cls.name)
        model = cls(seed=int(header["seed"]))
        try:
            model.num_features = int(header["num_features"])
            model._restore(header, arrays)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
            raise ModelError(f"{path} does not fit this release: {type(error).__name__}: {error}") from error
        model._fitted = True
        return model

    def _train_from_scratch(self, groups: Sequence[Group], validation: Sequence[Group]) -> None:
        self._train(groups, validation)

    # -- finished programs -----------------------------------------------------------------------

    def _finals(self, task: Task, candidates: Sequence[Candidate]) -> Sequence[np.ndarray]:
        return [np.zeros((0, 0), np.float32)] * len(candidates)

    def _score_group(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> np.ndarray:
        return self._score(task, candidates, finals)

    def _group_scores(self, group: Group) -> np.ndarray:
        return self._score_group(group.task, group.candidates, group.finals)

    def _measured_group(self, measured: Mapping[str, MeasureRecord]) -> Group:
        records = list(measured.values())
        candidates = tuple(r.candidate for r in records)
        task = candidates[0].task
        return Group(task, candidates, tuple(self._finals(task, candidates)), relative_throughput(records))


class StaticRival(Rival, StaticCostModel):
    """A rival that looks at the finished program; candidates without features rank last and are not trained on."""

    def _train_from_scratch(self, groups: Sequence[Group], validation: Sequence[Group]) -> None:
        built = [g for g in map(_built, groups) if np.count_nonzero(g.throughput) >= 2]
        if not built:
            raise ModelError(
                f"the {self.name} model needs features of final programs, but the data has no task with two measured"
                " schedules that carry them (imported logs have only actions and times)"
            )
        widths = {f.shape[1] for g in built for f in g.finals}
        if len(widths) > 1:
            raise ModelError(
                f"the {self.name} model needs features of one width, but the data has widths {sorted(widths)}"
            )
        self.num_features = widths.pop()
        super()._train_from_scratch(built, [g for g in map(_built, validation) if np.count_nonzero(g.throughput) >= 2])

    def _finals(self, task: Task, candidates: Sequence[Candidate]) -> Sequence[np.ndarray]:
        return self.featurize(task, candidates)

    def _score_group(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> np.ndarray:
        scores = np.full(len(candidates), -np.inf)
        rows = [i for i, final in enumerate(finals) if len(final)]
        if rows:
            if finals[rows[0]].shape[1] != self.num_features:
                raise ModelError(
                    f"the {self.name} model was trained on {self.num_features} features a store, but got"
                    f" {finals[rows[0]].shape[1]}"
                )
            scores[rows] = self._score(task, [candidates[i] for i in rows], [finals[i] for i in rows])
        return scores

    def _measured_group(self, measured: Mapping[str, MeasureRecord]) -> Group:
        return _built(super()._measured_group(measured))


def _built(group: Group) -> Group:
    return group.select(np.array([i for i, final in enumerate(group.finals) if len(final)], np.int64))
