"""LightGBM LambdaRank, on static features of the final program or on the actions alone.

Source: Burges, From RankNet to LambdaRank to LambdaMART, 2010; Ke et al., LightGBM, 2017. Ansor and
MetaSchedule rank with boosted trees on the same per-store features (Zheng et al., Ansor, 2020; Shao et al., Tensor
Program Optimization with Probabilistic Programs, 2022).

Parameters were chosen by the validation score. Measurements of a task that is being tuned add trees to the trained
ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from foretune.costmodel.latent.store_features import pool_stores
from foretune.costmodel.model_file import text_array
from foretune.costmodel.rivals.action_bags import ActionBags
from foretune.costmodel.rivals.groups import Group, selection_score
from foretune.costmodel.rivals.lambdarank import MAX_GROUP, parameters, relevance
from foretune.costmodel.rivals.rival import Rival, StaticRival
from foretune.support.optional import require
from foretune.task import Candidate, Task

_PARAMETERS = {"lambdarank_truncation_level": 30, "learning_rate": 0.05, "feature_fraction": 0.3}
_ROUNDS, _PATIENCE, _ROUNDS_WITHOUT_VALIDATION, _ADAPTATION_ROUNDS = 600, 60, 100, 30


class _LambdaRank:
    """The part that the two models share: boosted trees on one vector for each candidate."""

    seed: int
    _booster: Any = None
    _base: Any = None

    def _boost(
        self,
        tables: Sequence[np.ndarray],
        groups: Sequence[Group],
        tables_validation: Sequence[np.ndarray],
        validation: Sequence[Group],
    ) -> None:
        lightgbm = require("lightgbm", "the lightgbm model")
        data = self._dataset(tables, groups)
        if not validation:
            self._booster = self._base = lightgbm.train(
                self._parameters(len(data.data)), data, _ROUNDS_WITHOUT_VALIDATION
            )
            return
        starts = np.cumsum([0] + [len(g.candidates) for g in validation])

        def metric(scores: np.ndarray, _: Any) -> tuple[str, float, bool]:
            parts = iter(np.split(scores, starts[1:-1]))
            return "selection", selection_score(lambda group: next(parts), validation), True

        held_out = self._dataset(tables_validation, validation, reference=data)
        self._booster = self._base = lightgbm.train(
            self._parameters(len(data.data)), data, _ROUNDS, valid_sets=[held_out], feval=metric,
            callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
        )  # fmt: skip

    def _boost_further(self, tables: Sequence[np.ndarray], groups: Sequence[Group]) -> None:
        data = self._dataset(tables, groups)
        self._booster = require("lightgbm", "the lightgbm model").train(
            self._parameters(len(data.data)), data, _ADAPTATION_ROUNDS, init_model=self._base
        )

    def _dataset(self, tables: Sequence[np.ndarray], groups: Sequence[Group], reference: Any = None) -> Any:
        x = np.concatenate([t[:MAX_GROUP] for t in tables])
        y = np.concatenate([relevance(g.throughput[:MAX_GROUP]) for g in groups])
        sizes = [min(len(t), MAX_GROUP) for t in tables]
        return require("lightgbm", "the lightgbm model").Dataset(x, y, group=sizes, reference=reference)

    def _parameters(self, num_rows: int) -> dict[str, Any]:
        return parameters(num_rows, self.seed, torch.get_num_threads(), **_PARAMETERS)

    def _boosted_scores(self, table: np.ndarray) -> np.ndarray:
        return self._booster.predict(table, num_threads=torch.get_num_threads())

    def _booster_arrays(self) -> dict[str, np.ndarray]:
        return {"booster": text_array(self._booster.model_to_string())}

    def _restore_booster(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._booster = self._base = require("lightgbm", "the lightgbm model").Booster(
            model_str=arrays["booster"].tobytes().decode()
        )


class LightGbmModel(_LambdaRank, StaticRival):
    """LambdaRank on pooled static features of the final program."""

    name = "lightgbm"

    def _train(self, groups: Sequence[Group], validation: Sequence[Group]) -> None:
        self._boost(
            [pool_stores(g.finals) for g in groups], groups, [pool_stores(g.finals) for g in validation], validation
        )

    def _adapt(self, groups: Sequence[Group]) -> None:
        self._boost_further([pool_stores(g.finals) for g in groups], groups)

    def _score(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> np.ndarray:
        return self._boosted_scores(pool_stores(finals))

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, self._booster_arrays()

    def _restore(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._restore_booster(arrays)


class LightGbmActionsModel(_LambdaRank, Rival):
    """LambdaRank on the bag of actions and the numbers of the decisions; sees neither program nor final program."""

    name = "lightgbm_actions"

    def _train(self, groups: Sequence[Group], validation: Sequence[Group]) -> None:
        self._bags = ActionBags.of(groups)
        self._boost([self._table(g) for g in groups], groups, [self._table(g) for g in validation], validation)

    def _adapt(self, groups: Sequence[Group]) -> None:
        self._boost_further([self._table(g) for g in groups], groups)

    def _table(self, group: Group) -> np.ndarray:
        return self._bags.table(group.task, group.candidates)

    def _score(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> np.ndarray:
        return self._boosted_scores(self._bags.table(task, candidates))

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"symbols": list(self._bags.symbols)}, self._booster_arrays()

    def _restore(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._bags = ActionBags(tuple(map(str, header["symbols"])))
        self._restore_booster(arrays)
