"""Ridge regression and a random forest on pooled static features (scikit-learn).

Both regress; neither adapts to fresh measurements.

Dimension letters: N candidates, F features, M tree nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from foretune.costmodel.latent.store_features import pool_stores
from foretune.costmodel.rivals.groups import Group, selection_score
from foretune.costmodel.rivals.rival import StaticRival
from foretune.support.optional import require
from foretune.task import Candidate, Task

_STRENGTHS = (1.0, 10.0, 100.0, 1000.0, 10000.0)


class RidgeModel(StaticRival):
    """Ridge regression of log throughput (Hoerl and Kennard, Ridge Regression, 1970).

    Features and labels are taken relative to their means over the task, so that nothing is spent on telling tasks
    apart. The strength of the penalty is the one that ranks validation tasks best. Failed candidates are left out.
    """

    name = "ridge"
    _coefficients: np.ndarray

    def _train(self, groups: Sequence[Group], validation: Sequence[Group]) -> None:
        linear_model = require("sklearn.linear_model", f"the {self.name} model")
        timed = [g.select(np.flatnonzero(g.throughput)) for g in groups]
        pooled = [pool_stores(g.finals).astype(np.float64) for g in timed]
        x = np.concatenate([p - p.mean(0) for p in pooled])  # [N, F]
        y = np.concatenate([np.log(g.throughput) - np.log(g.throughput).mean() for g in timed])
        scale = np.where(x.std(0) > 1e-6, x.std(0), np.inf)
        best = -np.inf
        for strength in _STRENGTHS if validation else (100.0,):
            ridge = linear_model.Ridge(alpha=strength, fit_intercept=False, solver="cholesky").fit(x / scale, y)
            before: Any = getattr(self, "_coefficients", None)
            self._coefficients = ridge.coef_ / scale
            score = selection_score(self._group_scores, validation)
            if score > best:
                best = score
            else:
                self._coefficients = before

    def _score(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> np.ndarray:
        return pool_stores(finals).astype(np.float64) @ self._coefficients

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {"coefficients": self._coefficients}

    def _restore(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._coefficients = arrays["coefficients"]


class ForestModel(StaticRival):
    """A random forest regressing throughput relative to the task's best (Breiman, Random Forests, 2001).

    After training only the trees' arrays are kept, and predictions walk them with numpy: no scikit-learn object is
    stored, and a saved file needs no scikit-learn to be read.
    """

    name = "forest"

    def _train(self, groups: Sequence[Group], validation: Sequence[Group]) -> None:
        ensemble = require("sklearn.ensemble", f"the {self.name} model")
        x = np.concatenate([pool_stores(g.finals) for g in groups])
        y = np.concatenate([g.throughput for g in groups])
        forest = ensemble.RandomForestRegressor(
            n_estimators=100,
            min_samples_leaf=2,
            max_features=0.2,
            random_state=self.seed,
            n_jobs=torch.get_num_threads(),
        ).fit(x, y)
        trees = [estimator.tree_ for estimator in forest.estimators_]
        starts = np.cumsum([0] + [t.node_count for t in trees])
        self._trees = {
            "roots": starts[:-1].astype(np.int32),
            "left": np.concatenate(
                [np.where(t.children_left >= 0, t.children_left + s, -1) for t, s in zip(trees, starts)]
            ).astype(np.int32),
            "right": np.concatenate(
                [np.where(t.children_right >= 0, t.children_right + s, -1) for t, s in zip(trees, starts)]
            ).astype(np.int32),
            "feature": np.concatenate([np.maximum(t.feature, 0) for t in trees]).astype(np.int32),
            "threshold": np.concatenate([t.threshold for t in trees]),
            "value": np.concatenate([t.value[:, 0, 0] for t in trees]),
        }

    def _score(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> np.ndarray:
        x = pool_stores(finals)
        trees = self._trees
        rows = np.arange(len(x))[:, None]
        at = np.broadcast_to(trees["roots"], (len(x), len(trees["roots"])))  # [N, trees]
        while (inner := trees["left"][at] >= 0).any():
            goes_left = x[rows, trees["feature"][at]] <= trees["threshold"][at]
            at = np.where(inner, np.where(goes_left, trees["left"][at], trees["right"][at]), at)
        return trees["value"][at].mean(1)

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, self._trees

    def _restore(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._trees = {name: arrays[name] for name in ("roots", "left", "right", "feature", "threshold", "value")}
