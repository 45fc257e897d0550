"""The two floors: no knowledge at all, and the best single measure of size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from foretune.costmodel.base import StaticCostModel
from foretune.costmodel.latent import store_features
from foretune.costmodel.metrics import pairwise_accuracy
from foretune.costmodel.rivals.groups import Group
from foretune.costmodel.rivals.rival import Rival
from foretune.errors import ModelError
from foretune.task import Candidate, Task


class RandomModel(Rival):
    """Scores at random: the floor that every model must beat."""

    name = "random"

    def _train(self, groups: Sequence[Group], validation: Sequence[Group]) -> None:
        pass

    def _score(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> np.ndarray:
        # a candidate's score depends on the seed and the candidate alone, not on its company
        return np.array([np.random.default_rng([self.seed, int(c.trace.key, 16)]).random() for c in candidates])

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {}

    def _restore(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        pass


def _column(column: int) -> Callable[[Candidate, np.ndarray], float]:
    return lambda candidate, final: float(np.log2(np.exp2(final[:, column].astype(np.float64)).sum()))


_TRACE_MEASURES: dict[str, Callable[[Candidate, np.ndarray], float]] = {
    "num_actions": lambda candidate, final: len(candidate.trace),
    "num_decisions": lambda candidate, final: len(candidate.trace.decisions),
}
_STORE_MEASURES: dict[str, Callable[[Candidate, np.ndarray], float]] = {
    "num_stores": lambda candidate, final: len(final)
}
_COLUMN_MEASURES: dict[str, Callable[[Candidate, np.ndarray], float]] = {
    "num_loops": _column(store_features.NUM_LOOPS),
    "written_bytes": _column(store_features.WRITTEN_BYTES),
    "touched_bytes": lambda candidate, final: float(
        np.exp2(store_features.buffer_rows(final)[:, store_features.BUFFER_UNIQUE_BYTES]).sum()
    ),
}
_MEASURES = {**_TRACE_MEASURES, **_STORE_MEASURES, **_COLUMN_MEASURES}


class SizeModel(Rival, StaticCostModel):
    """Ranks by one measure of size, of the trace or of the final program.

    Training chooses the measure and whether more or less of it is better, by pairwise accuracy on the training tasks.
    Data without final-program features leaves the measures of the trace, and then no featurizer is needed.

    Attributes:
        measure: the chosen one.
        sign: 1 if more is better, -1 if less is.
    """

    name = "size"
    measure = "num_actions"
    sign = -1.0

    def _train(self, groups: Sequence[Group], validation: Sequence[Group]) -> None:
        widths = {f.shape[1] for g in groups for f in g.finals if len(f)}
        measures = {
            **_TRACE_MEASURES,
            **(_STORE_MEASURES if widths else {}),
            **(_COLUMN_MEASURES if widths == {store_features.NUM_COLUMNS} else {}),
        }
        accuracy = {name: _accuracy(name, groups) for name in measures}
        self.measure = max(accuracy, key=lambda name: abs(accuracy[name] - 0.5))
        self.sign = 1.0 if accuracy[self.measure] >= 0.5 else -1.0

    def _finals(self, task: Task, candidates: Sequence[Candidate]) -> Sequence[np.ndarray]:
        return (
            super()._finals(task, candidates) if self.measure in _TRACE_MEASURES else self.featurize(task, candidates)
        )

    def _score(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> np.ndarray:
        return self.sign * _sizes(self.measure, candidates, finals, missing=-self.sign * np.inf)

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"measure": self.measure, "sign": self.sign}, {}

    def _restore(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        if header["measure"] not in _MEASURES:
            raise ModelError(
                f"the size model knows the measures {sorted(_MEASURES)}, but the file names {header['measure']!r}"
            )
        self.measure, self.sign = header["measure"], float(header["sign"])


def _sizes(
    measure: str, candidates: Sequence[Candidate], finals: Sequence[np.ndarray], missing: float = np.nan
) -> np.ndarray:
    if measure in _TRACE_MEASURES:
        return np.array([_MEASURES[measure](c, f) for c, f in zip(candidates, finals)], np.float64)
    return np.array([_MEASURES[measure](c, f) if len(f) else missing for c, f in zip(candidates, finals)], np.float64)


def _accuracy(measure: str, groups: Sequence[Group]) -> float:
    found = []
    for group in groups:
        sizes = _sizes(measure, group.candidates, group.finals)
        kept = np.flatnonzero((group.throughput > 0) & np.isfinite(sizes))
        if len(kept) >= 2:
            found.append(pairwise_accuracy(sizes[kept], 1.0 / group.throughput[kept]))
    return float(np.nanmean(found)) if found and not np.isnan(found).all() else 0.5
