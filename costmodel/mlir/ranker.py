"""MlirRanker: the MLIR cost model in the role of a ranker."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foretune.costmodel.base import Ranker
from foretune.costmodel.mlir.encoding import EncodedProgram, encode
from foretune.costmodel.mlir.model import MlirCostModel
from foretune.costmodel.mlir.target import MlirTarget
from foretune.support.cache import RecentCache
from foretune.task import Candidate, Task

_CACHED_TASKS = 16


class MlirRanker(Ranker):
    """Ranks schedules of a module by rolling them out from the module as it is; they are not applied. It does not adapt
    to measurements.

    Args:
        model: predicts costs.
        target: processor.
    """

    def __init__(self, model: MlirCostModel, target: MlirTarget) -> None:
        self._model, self._target = model, target
        self._programs: RecentCache[EncodedProgram] = RecentCache(_CACHED_TASKS)

    def predict(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray:
        """Minus the logarithms of the predicted seconds, [N] float64; higher is better.

        Raises:
            ModelError: the module's graph has no statements.
        """
        program = self._programs.get(task.key, lambda: encode(task.workload.graph))
        return self._model.rank_after(program, [c.trace for c in candidates], self._target)
