"""The latent model's own trees on static features of the final program: what is left of its lead if a rival has them,
too.

Source: Prokhorenkova et al., CatBoost: unbiased boosting with categorical features, 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from foretune.costmodel.latent.store_features import pool_stores
from foretune.costmodel.latent.trees import TreeHead
from foretune.costmodel.rivals.groups import Group
from foretune.costmodel.rivals.rival import StaticRival
from foretune.task import Candidate, Task

_TREES, _LEVELS = 2000, 6


class CatBoostModel(StaticRival):
    """Oblivious trees on pooled static features; failed candidates are left out."""

    name = "catboost"

    def _train(self, groups: Sequence[Group], validation: Sequence[Group]) -> None:
        timed = [g.select(np.flatnonzero(g.throughput)) for g in groups]
        self._head = TreeHead(_TREES, _LEVELS)
        self._head.grow([pool_stores(g.finals) for g in timed], [np.log(g.throughput) for g in timed], self.seed)

    def _score(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> np.ndarray:
        return self._head(torch.from_numpy(pool_stores(finals))).double().numpy()

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {}, {name: value.numpy() for name, value in self._head.state_dict().items()}

    def _restore(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._head = TreeHead(_TREES, _LEVELS)
        self._head.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
