"""LinearHead: a ridge regression on the symbolic state, a member of the ensemble that needs little data.

Labels and features are taken relative to their means over a task, so that nothing is spent on telling tasks apart, and
what does not vary within tasks has no say (Hoerl and Kennard, Ridge Regression, 1970). Labels are in units of log
speed, and so are the scores.

Dimension letters: N points, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from foretune.costmodel.latent.labels import LabelledTask

_STRENGTH = 50.0
_LARGEST = 0.3  # of a label: a jackpot says little of other tasks


class LinearHead(nn.Module):
    """A linear score of the symbolic state.

    Args:
        state: F.
    """

    weight: torch.Tensor
    network_weight: torch.Tensor

    def __init__(self, state: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(state))
        self.register_buffer("network_weight", torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, F] -> [N], higher is better."""
        return x @ self.weight

    def fit(self, tasks: Sequence[LabelledTask]) -> None:
        """Fits the timed trajectories of some tasks, in closed form."""
        tables, labels = [], []
        for task in tasks:
            timed = np.isfinite(task.relative)
            x, y = np.concatenate(task.encoded.nests)[timed].astype(np.float64), task.relative[timed]
            tables.append(x - x.mean(0))
            labels.append(np.clip(y - np.median(y), -_LARGEST, _LARGEST))
            labels[-1] -= labels[-1].mean()
        x, y = np.concatenate(tables), np.concatenate(labels)
        self.weight.copy_(torch.from_numpy(np.linalg.solve(x.T @ x + _STRENGTH * np.eye(x.shape[1]), x.T @ y)))


def non_negative_weights(columns: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Weights of at least 0 that fit a target best, by least squares over all subsets of a few columns: [N, K], [N] ->
    [K].
    """
    best, lowest = np.zeros(columns.shape[1]), float(target @ target)
    for chosen in range(1, 2 ** columns.shape[1]):
        picked = [k for k in range(columns.shape[1]) if chosen >> k & 1]
        weights = np.linalg.lstsq(columns[:, picked], target, rcond=None)[0]
        error = float(np.sum((columns[:, picked] @ weights - target) ** 2))
        if (weights >= 0).all() and error < lowest:
            best, lowest = np.zeros(columns.shape[1]), error
            best[picked] = weights
    return best
