"""PiecewiseLayer: a linear layer over features that are told as positions in quantile bins."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class PiecewiseLayer(nn.Module):
    """Each feature as its position in quantile bins, so that thresholds are easy to learn, and a linear layer over all.

    Source: Gorishniy, Rubachev and Babenko, On Embeddings for Numerical Features in Tabular Deep Learning, 2022.

    Args:
        width: F, number of features.
        bins: of each feature.
        out: width of the result.
    """

    low: torch.Tensor
    scale: torch.Tensor

    def __init__(self, width: int, bins: int, out: int) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(width, bins))
        self.register_buffer("scale", torch.zeros(width, bins))
        self.linear = nn.Linear(width * bins, out)

    def fit(self, x: np.ndarray) -> None:
        """Sets the bins by the quantiles of training data [N, F]."""
        edges = np.quantile(x, np.linspace(0, 1, self.low.shape[1] + 1), axis=0).T  # [F, bins + 1]
        size = np.diff(edges, axis=1)
        self.low.copy_(torch.from_numpy(edges[:, :-1]))
        self.scale.copy_(torch.from_numpy(np.where(size > 1e-6, 1 / np.maximum(size, 1e-6), 0.0)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, F] -> [N, out]."""
        if torch.is_grad_enabled() or len(x) < 2:
            return self.linear(self._positions(x, slice(None)))
        # most features are the same for all points of a design space: they are told once
        varies = (x != x[0]).any(0).nonzero().squeeze(1)
        weight = self.linear.weight.unflatten(1, self.low.shape)[:, varies].flatten(1)  # [out, varying * bins]
        constant = self.linear(self._positions(x[:1], slice(None))) - functional.linear(
            self._positions(x[:1, varies], varies), weight
        )
        return torch.addmm(constant, self._positions(x[:, varies], varies), weight.T)

    def _positions(self, x: torch.Tensor, features: slice | torch.Tensor) -> torch.Tensor:
        """Positions in the bins of some features: [N, f] -> [N, f * bins]."""
        return (x.unsqueeze(2) - self.low[features]).mul_(self.scale[features]).clamp_(0, 1).flatten(1)
