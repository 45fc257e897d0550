"""PaCM, Pruner's pattern-aware cost model: statements, and attention over patterns of data movement.

Source: Qiao et al., Pruner: A Draft-then-Verify Exploration Mechanism to Accelerate Tensor Program Tuning, 2025.
Statement features go through a perceptron and are summed; a sequence of data-movement blocks goes through multi-head
attention; a head joins both. Pruner reads the data movement of a GPU's multi-level tiles from the schedule. Here the
tokens are the buffer accesses of the final program in program order (what they touch, how often it is reused and at
what distance), and the footprints, runs and iteration counts at each cut of the tiled loop nest.

Dimension letters: N candidates, S stores, A accesses, F features, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from foretune.costmodel.latent.encoding import observed_space
from foretune.costmodel.latent.store_features import BUFFER_COLUMNS, buffer_rows
from foretune.costmodel.rivals.action_sequences import rows_by_space
from foretune.costmodel.rivals.groups import Group
from foretune.costmodel.rivals.neural import Inputs, NeuralRival, Standardised, masked_mean, masked_sum
from foretune.costmodel.rivals.rival import StaticRival
from foretune.costmodel.schedules import loopnest
from foretune.costmodel.schedules.template_walk import loop_nest
from foretune.task import Candidate, Task

_WIDTH, _HEADS, _LAYERS, _NEST_TOKENS = 96, 4, 1, 5


class PacmNetwork(nn.Module):
    """Stores [N, S, F], accesses [N, A, BUFFER_COLUMNS + 1] and the loop nest [N, 1, NUM_NEST_FEATURES] -> scores
    [N].
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.store_in = nn.Sequential(
            Standardised("stores", num_features),
            nn.Linear(num_features, 2 * _WIDTH),
            nn.ReLU(),
            nn.Linear(2 * _WIDTH, _WIDTH),
            nn.ReLU(),
        )
        self.access_in = nn.Sequential(
            Standardised("accesses", BUFFER_COLUMNS + 1),
            nn.Linear(BUFFER_COLUMNS + 1, _WIDTH),
            nn.ReLU(),
            nn.Linear(_WIDTH, _WIDTH),
        )
        self.nest_in = nn.Sequential(
            Standardised("nest", loopnest.NUM_NEST_FEATURES),
            nn.Linear(loopnest.NUM_NEST_FEATURES, _NEST_TOKENS * _WIDTH),
        )
        self.nest_kind = nn.Parameter(0.1 * torch.randn(_NEST_TOKENS, _WIDTH))
        layer = nn.TransformerEncoderLayer(_WIDTH, _HEADS, 2 * _WIDTH, dropout=0.0, batch_first=True, norm_first=True)
        self.attention = nn.TransformerEncoder(layer, _LAYERS, nn.LayerNorm(_WIDTH), enable_nested_tensor=False)
        self.out = nn.Sequential(nn.Linear(2 * _WIDTH, _WIDTH), nn.ReLU(), nn.Linear(_WIDTH, 1))

    def forward(self, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Scores, higher is better; [N]."""
        statements = masked_sum(self.store_in(batch["stores"]), batch["stores_mask"])  # [N, D]
        nest = self.nest_in(batch["nest"][:, 0]).unflatten(1, (_NEST_TOKENS, _WIDTH)) + self.nest_kind
        tokens = torch.cat([nest, self.access_in(batch["accesses"])], 1)  # [N, _NEST_TOKENS + A, D]
        real = torch.ones(nest.shape[:2], dtype=torch.bool)
        mask = torch.cat([real, batch["accesses_mask"]], 1)
        patterns = masked_mean(self.attention(tokens, src_key_padding_mask=~mask), mask)  # [N, D]
        return self.out(torch.cat([statements, patterns], 1)).squeeze(1)  # [N]


class PacmModel(StaticRival, NeuralRival):
    """The pattern-aware transformer on final program and loop nest."""

    name = "pacm"

    def _read(self, groups: Sequence[Group]) -> dict[str, Any]:
        return {"num_features": self.num_features, "num_nest_features": loopnest.NUM_NEST_FEATURES}

    def _network(self, shape: Mapping[str, Any]) -> nn.Module:
        if int(shape["num_nest_features"]) != loopnest.NUM_NEST_FEATURES:
            raise ValueError(
                f"the loop nest has {loopnest.NUM_NEST_FEATURES} features in this release, but the file was trained on"
                f" {shape['num_nest_features']}"
            )
        return PacmNetwork(int(shape["num_features"]))

    def _inputs(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> list[Inputs]:
        nests = np.zeros((len(candidates), 1, loopnest.NUM_NEST_FEATURES), np.float32)
        for rows in rows_by_space(candidates):
            space, points = observed_space([candidates[i].trace for i in rows])
            nests[rows, 0] = loop_nest(space, task.workload.graph).features(points)[:, : loopnest.NUM_NEST_FEATURES]
        return [{"stores": final, "accesses": buffer_rows(final), "nest": nest} for final, nest in zip(finals, nests)]
