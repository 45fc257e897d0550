"""A selective state-space model over the sequence of actions, as in TCL.

Source: Gu and Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023. The recurrence is
evaluated in its dual form, one masked matrix product for each head (Dao and Gu, Transformers are SSMs, 2024), which is
exact and, for traces of some tens of actions, faster than a scan.

Dimension letters: N candidates, T actions, D width, H heads, P width of a head, S state of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from foretune.costmodel.rivals.neural import masked_mean
from foretune.costmodel.rivals.tlp import ActionEmbedding, ActionSequenceRival

_WIDTH, _HEADS, _HEAD_WIDTH, _STATE, _LAYERS, _KERNEL = 96, 4, 32, 16, 2, 4
_INNER = _HEADS * _HEAD_WIDTH


class SelectiveStateSpace(nn.Module):
    """One block: each step decides from its own input how much state to keep, to write and to read."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(_WIDTH)
        self.project_in = nn.Linear(_WIDTH, 2 * _INNER + 2 * _STATE + _HEADS)
        mixed = _INNER + 2 * _STATE
        self.convolution = nn.Conv1d(mixed, mixed, _KERNEL, groups=mixed, padding=_KERNEL - 1)
        self.log_rate = nn.Parameter(torch.log(torch.linspace(0.05, 1.0, _HEADS)))
        self.skip = nn.Parameter(torch.ones(_HEADS, 1))
        self.norm_out = nn.LayerNorm(_INNER)
        self.project_out = nn.Linear(_INNER, _WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, T, D] -> [N, T, D]; causal, so what is padded at the end changes nothing before it."""
        length = x.shape[1]
        gate, mixed, step = self.project_in(self.norm(x)).split([_INNER, _INNER + 2 * _STATE, _HEADS], 2)
        mixed = F.silu(self.convolution(mixed.transpose(1, 2))[..., :length].transpose(1, 2))
        value, write, read = mixed.split([_INNER, _STATE, _STATE], 2)
        value = value.unflatten(2, (_HEADS, _HEAD_WIDTH)).transpose(1, 2)  # [N, H, T, P]
        step = F.softplus(step).transpose(1, 2)  # [N, H, T]
        elapsed = torch.cumsum(step * self.log_rate.exp()[:, None], 2)  # [N, H, T]
        decay = (
            elapsed[:, :, None, :] - elapsed[:, :, :, None]
        )  # [N, H, T, T], at most 0 where the second step is not later
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        kernel = (
            torch.exp(decay.masked_fill(~causal, -torch.inf)) * (read @ write.transpose(1, 2))[:, None]
        )  # [N, H, T, T]
        out = kernel @ (value * step.unsqueeze(3)) + self.skip[:, None] * value  # [N, H, T, P]
        out = out.transpose(1, 2).flatten(2)  # [N, T, H * P]
        return x + self.project_out(self.norm_out(out) * F.silu(gate))


class MambaNetwork(nn.Module):
    """Actions [N, T] -> scores [N], from the state after the last action and the mean of all."""

    def __init__(self, num_symbols: int) -> None:
        super().__init__()
        self.embedding = ActionEmbedding(num_symbols, _WIDTH)
        self.blocks = nn.Sequential(*(SelectiveStateSpace() for _ in range(_LAYERS)))
        self.norm = nn.LayerNorm(_WIDTH)
        self.out = nn.Sequential(nn.Linear(2 * _WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 1))

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Scores, higher is better; [N]."""
        mask = batch["symbols_mask"]  # [N, T]
        x = self.norm(self.blocks(self.embedding(batch)))  # [N, T, D]
        last = x[torch.arange(len(x)), (mask.sum(1) - 1).clamp(min=0)]  # [N, D]
        return self.out(torch.cat([last, masked_mean(x, mask)], 1)).squeeze(1)  # [N]


class MambaModel(ActionSequenceRival):
    """A selective state-space model on the actions."""

    name = "mamba"

    def _network(self, shape: Mapping[str, Any]) -> nn.Module:
        return MambaNetwork(len(shape["symbols"]))
