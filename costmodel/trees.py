"""TreeHead: boosted trees on the symbolic state, a member of the ensemble that knows thresholds.

The symbolic state is a table of exact numbers, which trees read better than networks do (Grinsztajn, Oyallon and Varoquaux, Why
do tree-based models still outperform deep learning on typical tabular data?, 2022). LightGBM grows the trees with LambdaRank;
what is kept of them are arrays, each tree filled up to a perfect binary one, that PyTorch walks for many points at once.

Dimension letters: N points, F features, T trees, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from foretune.costmodel.labels import LabelledTask
from foretune.costmodel.lambdarank import MAX_GROUP, parameters, relevance
from foretune.costmodel.rivals.optional import require

_PARAMETERS = {"lambdarank_truncation_level": 50, "learning_rate": 0.08, "feature_fraction": 0.4, "bagging_fraction": 0.8, "bagging_freq": 1}


class TreeHead(nn.Module):
    """Scores of the symbolic state.

    Args:
        trees: T; fewer may be grown, the rest add nothing.
        levels: L of each tree.
    """

    def __init__(self, trees: int, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.register_buffer("feature", torch.zeros(trees, 2**levels - 1, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(trees, 2**levels - 1))
        self.register_buffer("value", torch.zeros(trees, 2**levels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, F] -> [N], higher is better."""
        trees, inner = self.feature.shape
        feature, threshold = self.feature.flatten(), self.threshold.flatten()
        first = torch.arange(trees) * inner  # the root of each tree
        node = first.expand(len(x), -1)  # [N, T]
        for _ in range(self.levels):
            right = x.gather(1, feature[node]) > threshold[node]
            node = 2 * node - first + 1 + right
        leaf = node - first - inner + torch.arange(trees) * (inner + 1)
        return self.value.flatten()[leaf].sum(1)

    def fit(self, tasks: Sequence[LabelledTask], seed: int) -> None:
        """Grows the trees on the timed trajectories of some tasks.

        Raises:
            UnsupportedError: LightGBM is not installed.
        """
        lightgbm = require("lightgbm", "latent")
        tables, labels = [], []
        for task in tasks:
            timed = np.flatnonzero(np.isfinite(task.relative))[:MAX_GROUP]
            tables.append(np.concatenate(task.encoded.nests)[timed])
            labels.append(relevance(np.exp(task.relative[timed])))
        x = np.concatenate(tables)
        data = lightgbm.Dataset(x, np.concatenate(labels), group=[len(t) for t in tables])
        settings = parameters(len(x), seed, torch.get_num_threads(), max_depth=self.levels, **_PARAMETERS)
        model = lightgbm.train(settings, data, len(self.value)).dump_model()
        for buffer in (self.feature, self.threshold, self.value):
            buffer.zero_()
        for row, tree in enumerate(model["tree_info"]):
            self._fill(row, 0, tree["tree_structure"], 0)

    def _fill(self, row: int, node: int, split: dict[str, Any], level: int) -> None:
        """Writes a subtree; a leaf above the last level is repeated below."""
        if level == self.levels:
            self.value[row, node - (2**self.levels - 1)] = split["leaf_value"]
            return
        left = right = split
        if "split_feature" in split:
            self.feature[row, node], self.threshold[row, node] = split["split_feature"], split["threshold"]
            left, right = split["left_child"], split["right_child"]
        self._fill(row, 2 * node + 1, left, level + 1)
        self._fill(row, 2 * node + 2, right, level + 1)
