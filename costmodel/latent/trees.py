"""TreeHead: boosted trees on the symbolic state, a member of the ensemble that knows thresholds.

The symbolic state is a table of exact numbers, which trees read better than networks do (Grinsztajn, Oyallon and
Varoquaux, Why do tree-based models still outperform deep learning on typical tabular data?, 2022). CatBoost grows
oblivious trees: all nodes of a level ask the same question (Prokhorenkova et al., CatBoost: unbiased boosting with
categorical features, 2018). What is kept of them are arrays, and a compiled loop walks them for many points at once
without a branch.

Dimension letters: N points, F features, T trees, L levels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numba
import numpy as np
import torch
from torch import nn

from foretune.costmodel.latent.labels import LabelledTask
from foretune.support.optional import require
from foretune.support.scratch import step_folder

_LEARNING_RATE = 0.1
_BORDERS = 64  # thresholds of a feature to choose from
_FEATURE_SHARE = 0.3  # of the features, looked at for each level
_SLOWEST = -3.0  # of the log relative speed: slower ones are alike
_LOG_SHARE = 0.3  # of the log of the relative speed in the label, beside the relative speed itself
_BLOCK = 64  # points walked side by side


class TreeHead(nn.Module):
    """Scores of the symbolic state.

    Args:
        trees: T; fewer may be grown, the rest add nothing.
        levels: L of each tree.
    """

    feature: torch.Tensor
    threshold: torch.Tensor
    value: torch.Tensor

    def __init__(self, trees: int, levels: int) -> None:
        super().__init__()
        self.register_buffer("feature", torch.zeros(trees, levels, dtype=torch.int64))
        self.register_buffer("threshold", torch.zeros(trees, levels))
        self.register_buffer("value", torch.zeros(trees, 2**levels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, F] -> [N], higher is better.

        Raises:
            ValueError: the trees ask for a feature that there is not.
        """
        if int(self.feature.min()) < 0 or int(self.feature.max()) >= x.shape[1]:
            raise ValueError(f"the trees ask for features up to {int(self.feature.max())}, but there are {x.shape[1]}")
        out = torch.empty(len(x))
        _walk(
            x.detach().contiguous().numpy(),
            self.feature.numpy(),
            self.threshold.numpy(),
            self.value.numpy(),
            out.numpy(),
        )
        return out

    def fit(self, tasks: Sequence[LabelledTask], seed: int) -> None:
        """Grows the trees on the timed trajectories of some tasks; see `grow`."""
        timed = [np.flatnonzero(np.isfinite(task.relative)) for task in tasks]
        tables = [np.concatenate(task.encoded.nests)[rows] for task, rows in zip(tasks, timed)]
        self.grow(tables, [task.relative[rows] for task, rows in zip(tasks, timed)], seed)

    def grow(self, tables: Sequence[np.ndarray], relative: Sequence[np.ndarray], seed: int) -> None:
        """Grows the trees by squared errors relative to each task's mean; none are grown where all look alike.

        Args:
            tables: [N, F] for each task. relative: [N] log of relative speed for each task, at most 0.
            seed: of all that is random.

        Raises:
            UnsupportedError: CatBoost is not installed.
        """
        catboost = require("catboost", "the latent model")
        for buffer in (self.feature, self.threshold, self.value):
            buffer.zero_()
        x, y = np.concatenate(tables), speed_label(np.concatenate(relative))
        if (x == x[:1]).all() or (y == y[:1]).all():
            return
        groups = np.repeat(np.arange(len(tables)), [len(t) for t in tables])
        model = catboost.CatBoost(
            {
                "loss_function": "QueryRMSE",
                "iterations": len(self.value),
                "depth": self.feature.shape[1],
                "learning_rate": _LEARNING_RATE,
                "rsm": _FEATURE_SHARE,
                "border_count": _BORDERS,
                "random_seed": seed,
                "thread_count": torch.get_num_threads(),
                "allow_writing_files": False,
                "verbose": False,
            }
        )
        model.fit(catboost.Pool(x, y, group_id=groups))
        with step_folder() as folder:
            path = folder / "trees.json"
            model.save_model(str(path), format="json")
            self._keep(json.loads(path.read_bytes())["oblivious_trees"])

    def _keep(self, trees: list[dict]) -> None:
        for row, tree in enumerate(trees):
            splits = tree["splits"] or []  # a leaf's number has a bit for each, the first one's lowest
            self.feature[row, : len(splits)] = torch.tensor(
                [s["float_feature_index"] for s in splits], dtype=torch.int64
            )
            self.threshold[row, : len(splits)] = torch.tensor([s["border"] for s in splits])
            self.threshold[row, len(splits) :] = torch.inf  # levels that were not needed
            self.value[row, : len(tree["leaf_values"])] = torch.tensor(tree["leaf_values"])


def speed_label(relative: np.ndarray) -> np.ndarray:
    """What the trees are grown on: relative speed, and a share of its log, so that slow ones are told apart as well.

    Args:
        relative: [N] log of relative speed, at most 0.
    """
    return np.exp(relative) + _LOG_SHARE * np.maximum(relative, _SLOWEST)


# with its types said, it is there after the import, and so is all that Numba loads for the first function; kept beside
# Python's own bytecode
@numba.njit(
    "void(float32[:, ::1], int64[:, ::1], float32[:, ::1], float32[:, ::1], float32[::1])",
    nogil=True,
    fastmath=True,
    cache=True,
)
def _walk(x, feature, threshold, value, out):
    """Sums the trees' values: [N, F] float32, [T, L] int64, [T, L], [T, 2 ** L] -> [N]."""
    columns = np.empty((x.shape[1], _BLOCK), np.float32)  # of a block of points
    leaf, total = np.zeros(_BLOCK, np.int32), np.empty(_BLOCK, np.float32)
    for start in range(0, len(x), _BLOCK):
        count = min(_BLOCK, len(x) - start)
        for f in range(x.shape[1]):
            for i in range(count):
                columns[f, i] = x[start + i, f]
        total[:] = 0
        for t in range(len(value)):
            leaf[:] = 0
            for level in range(feature.shape[1]):
                column, border, bit = columns[feature[t, level]], threshold[t, level], np.int32(1 << level)
                for i in range(_BLOCK):
                    leaf[i] += bit if column[i] > border else np.int32(0)
            values = value[t]
            for i in range(_BLOCK):
                total[i] += values[leaf[i]]
        out[start : start + count] = total[:count]
