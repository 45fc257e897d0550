"""XGBoost as in TVM's MetaSchedule: one regression tree ensemble for stores, summed over the stores of a program.

Source: Shao et al., Tensor Program Optimization with Probabilistic Programs, 2022, and the defaults of TVM's
`XGBModel`: depth 10, eta 0.2, gamma 0.001, no minimum child weight; the squared error between relative throughput and
the sum of the stores' predictions, each weighted by the throughput; up to 10,000 rounds, stopped after 50 without
progress. TVM watches the training error because it has nothing else; given validation tasks, this watches how well they
are ranked.

TVM answers at random until it has 100 measurements. This does not: it predicts as soon as it has been trained.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from foretune.costmodel.model_file import text_array
from foretune.costmodel.rivals.groups import Group, selection_score
from foretune.costmodel.rivals.rival import StaticRival
from foretune.support.optional import require
from foretune.task import Candidate, Task

_PARAMETERS = {
    "max_depth": 10,
    "gamma": 0.001,
    "min_child_weight": 0,
    "eta": 0.2,
    "tree_method": "hist",
    "base_score": 0.5,
}
_ROUNDS, _PATIENCE, _ADAPTATION_ROUNDS = 10_000, 50, 30


class XgboostModel(StaticRival):
    """MetaSchedule's cost model. Fresh measurements add trees to the trained ones."""

    name = "xgboost"
    _booster: Any = None
    _base: Any = None

    def _train(self, groups: Sequence[Group], validation: Sequence[Group]) -> None:
        callback = require("xgboost.callback", f"the {self.name} model")
        packed = _pack(groups)
        if validation:
            watched, starts = _pack(validation), np.cumsum([len(g.candidates) for g in validation])[:-1]

            def metric(per_store: np.ndarray, data: Any) -> tuple[str, float]:
                parts = iter(np.split(watched.sums(per_store), starts))
                return "selection", selection_score(lambda group: next(parts), validation)
        else:
            watched = packed

            def metric(per_store: np.ndarray, data: Any) -> tuple[str, float]:
                error = packed.sums(per_store)[packed.owner] - packed.labels
                return "rmse", float(np.sqrt(np.mean(error * error)))

        stop = callback.EarlyStopping(
            rounds=_PATIENCE, maximize=bool(validation), save_best=True, min_delta=0.0 if validation else 1e-5
        )
        self._booster = self._base = self._boost(
            packed, _ROUNDS, evals=[(watched.data, "watched")], custom_metric=metric, callbacks=[stop]
        )

    def _adapt(self, groups: Sequence[Group]) -> None:
        self._booster = self._boost(_pack(groups), _ADAPTATION_ROUNDS, xgb_model=self._base)

    def _boost(self, packed: _Packed, rounds: int, **options: Any) -> Any:
        parameters = {
            **_PARAMETERS,
            "seed": self.seed,
            "nthread": torch.get_num_threads(),
            "disable_default_eval_metric": 1,
            "verbosity": 0,
        }
        return require("xgboost", f"the {self.name} model").train(
            parameters,
            packed.data,
            num_boost_round=rounds,
            obj=lambda per_store, data: packed.gradients(per_store),
            verbose_eval=False,
            **options,
        )

    def _score(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> np.ndarray:
        per_store = self._booster.inplace_predict(np.concatenate(finals), predict_type="margin")
        return np.bincount(_owners(finals), weights=per_store, minlength=len(finals))

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {"booster": text_array(bytes(self._booster.save_raw("json")))}

    def _restore(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        xgboost = require("xgboost", f"the {self.name} model")
        text = arrays["booster"].tobytes()
        if not text.startswith(b"{"):
            raise ValueError("the booster is not JSON")
        self._booster = self._base = xgboost.Booster({"nthread": torch.get_num_threads()})
        self._booster.load_model(bytearray(text))


class _Packed:
    """The stores of all candidates, one after the other, with the candidate that each belongs to."""

    def __init__(self, finals: Sequence[np.ndarray], throughput: np.ndarray) -> None:
        xgboost = require("xgboost", "the xgboost model")
        self.owner = _owners(finals)
        self.labels = throughput[self.owner]
        self.data = xgboost.DMatrix(
            np.concatenate(finals), label=self.labels, weight=self.labels, nthread=torch.get_num_threads()
        )

    def sums(self, per_store: np.ndarray) -> np.ndarray:
        """Predictions of the candidates from those of their stores."""
        return np.bincount(self.owner, weights=per_store)

    def gradients(self, per_store: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and second derivative of half the squared error, weighted by the label."""
        return (self.sums(per_store)[self.owner] - self.labels) * self.labels, self.labels.copy()


def _pack(groups: Sequence[Group]) -> _Packed:
    return _Packed([f for g in groups for f in g.finals], np.concatenate([g.throughput for g in groups]))


def _owners(finals: Sequence[np.ndarray]) -> np.ndarray:
    return np.repeat(np.arange(len(finals)), [len(f) for f in finals])
