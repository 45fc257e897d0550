"""TLP: a transformer over the sequence of schedule primitives; sees neither the program nor the final program.

Source: Zhai et al., TLP: A Deep Learning-based Cost Model for Tensor Program Tuning, 2023.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from foretune.costmodel.rivals.action_sequences import NUM_FEATURES, encode_sequences, symbols_of
from foretune.costmodel.rivals.groups import Group
from foretune.costmodel.rivals.neural import Inputs, NeuralRival, masked_sum
from foretune.task import Candidate, Task

_WIDTH, _HEADS, _LAYERS, _MAX_POSITION = 128, 4, 1, 128


class ActionEmbedding(nn.Module):
    """Tokens of actions; dimension letters: T actions, D width.

    Args:
        num_symbols: known symbols; id 0 is any other.
        width: D.
    """

    def __init__(self, num_symbols: int, width: int) -> None:
        super().__init__()
        self.symbol = nn.Embedding(num_symbols + 1, width)
        self.numbers = nn.Sequential(nn.Linear(NUM_FEATURES, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """[N, T, D]."""
        return self.symbol(batch["symbols"]) + self.numbers(batch["numbers"])


class TlpNetwork(nn.Module):
    """Actions [N, T] -> scores [N], the sum of what each action contributes."""

    def __init__(self, num_symbols: int) -> None:
        super().__init__()
        self.embedding = ActionEmbedding(num_symbols, _WIDTH)
        self.position = nn.Embedding(_MAX_POSITION, _WIDTH)
        layer = nn.TransformerEncoderLayer(_WIDTH, _HEADS, 2 * _WIDTH, dropout=0.0, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, _LAYERS, nn.LayerNorm(_WIDTH), enable_nested_tensor=False)
        self.out = nn.Sequential(nn.Linear(_WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 1))

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Scores, higher is better; [N]."""
        mask = batch["symbols_mask"]  # [N, T]
        position = torch.arange(mask.shape[1]).clamp(max=_MAX_POSITION - 1)
        x = self.embedding(batch) + self.position(position)  # [N, T, D]
        x = self.encoder(x, src_key_padding_mask=~mask)
        return masked_sum(self.out(x), mask).squeeze(1)  # [N]


class ActionSequenceRival(NeuralRival):
    """A neural rival that reads nothing but the sequence of actions."""

    def _read(self, groups: Sequence[Group]) -> dict[str, Any]:
        return {"symbols": list(symbols_of((g.task, g.candidates) for g in groups))}

    def _inputs(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> list[Inputs]:
        ids = {symbol: i + 1 for i, symbol in enumerate(self._shape["symbols"])}
        return [
            {"symbols": symbols, "numbers": numbers} for symbols, numbers in encode_sequences(task, candidates, ids)
        ]


class TlpModel(ActionSequenceRival):
    """TLP's transformer on the actions."""

    name = "tlp"

    def _network(self, shape: Mapping[str, Any]) -> nn.Module:
        return TlpNetwork(len(shape["symbols"]))
