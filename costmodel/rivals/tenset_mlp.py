"""TenSet's multi-layer perceptron: each store through one network, summed, then a residual head.

Source: Zheng et al., TenSet: A Large-scale Program Performance Dataset for Learned Tensor Compilers, 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from foretune.costmodel.rivals.groups import Group
from foretune.costmodel.rivals.neural import Inputs, NeuralRival, Standardised, masked_sum
from foretune.costmodel.rivals.rival import StaticRival
from foretune.task import Candidate, Task

_HIDDEN = 256


class TensetMlpNetwork(nn.Module):
    """Stores [N, S, F] -> scores [N]; dimension letters: S stores, F features, D hidden."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.store_in = nn.Sequential(
            Standardised("stores", num_features),
            nn.Linear(num_features, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
        )
        self.residual = nn.ModuleList(nn.Sequential(nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU()) for _ in range(2))
        self.out = nn.Linear(_HIDDEN, 1)

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Scores, higher is better; [N]."""
        x = masked_sum(self.store_in(batch["stores"]), batch["stores_mask"])  # [N, D]
        for layer in self.residual:
            x = x + layer(x)
        return self.out(x).squeeze(1)  # [N]


class TensetMlpModel(StaticRival, NeuralRival):
    """TenSet-MLP on the static features of the final program."""

    name = "tenset_mlp"

    def _read(self, groups: Sequence[Group]) -> dict[str, Any]:
        return {"num_features": self.num_features}

    def _network(self, shape: Mapping[str, Any]) -> nn.Module:
        return TensetMlpNetwork(int(shape["num_features"]))

    def _inputs(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> list[Inputs]:
        return [{"stores": final} for final in finals]
