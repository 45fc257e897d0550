"""Ensemble: several latent networks and boosted trees, trained apart, that answer together.

Their disagreement is the uncertainty (Lakshminarayanan, Pritzel and Blundell, Simple and Scalable Predictive
Uncertainty Estimation using Deep Ensembles, 2017). States, steps and features are those of the members one after the
other, so an ensemble is used as one network is. The trees (`trees.py`) read the symbolic state alone; their score is
one more latent feature.

Dimension letters: as in `network.py`; M members, D latent of all of them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import nn

from foretune.costmodel.latent.encoding import Batch, GraphArrays, StepTable, Vocabulary, collate
from foretune.costmodel.latent.labels import LabelledTask
from foretune.costmodel.latent.linear import LinearHead, non_negative_weights
from foretune.costmodel.latent.network import LatentNetwork, NetworkConfig
from foretune.costmodel.latent.trees import TreeHead
from foretune.costmodel.schedules import loopnest


class Ensemble(nn.Module):
    """Latent networks of the same vocabulary and sizes, with or without trees.

    Args:
        members: at least one.
        trees: that score the symbolic state, or None.
        linear: another score of it, which brings all scores into units of log speed, or None.
    """

    members: Sequence[LatentNetwork]
    tree_weight: torch.Tensor

    def __init__(
        self, members: Sequence[LatentNetwork], trees: TreeHead | None = None, linear: LinearHead | None = None
    ) -> None:
        super().__init__()
        self.members = cast("Sequence[LatentNetwork]", nn.ModuleList(members))
        self.trees = trees
        self.register_buffer("tree_weight", torch.zeros(()))
        self.linear = linear

    @staticmethod
    def untrained(vocabulary: Vocabulary, config: NetworkConfig, state: int = loopnest.NUM_FEATURES) -> Ensemble:
        """Networks with fresh weights, as many as the configuration says, that read a symbolic state of some width."""
        trees = TreeHead(config.trees, config.tree_levels) if config.trees and config.sees_nest else None
        linear = LinearHead(state) if config.linear and config.sees_nest else None
        return Ensemble([LatentNetwork(vocabulary, config, state) for _ in range(config.members)], trees, linear)

    @property
    def vocabulary(self) -> Vocabulary:
        """What the members know."""
        return self.members[0].vocabulary

    @property
    def config(self) -> NetworkConfig:
        """Sizes of each member."""
        return replace(self.members[0].config, members=len(self.members))

    def encode_nodes(self, graph: GraphArrays) -> torch.Tensor:
        """Embeds a program's nodes; [V, D]."""
        return torch.cat([m.encode_nodes(graph) for m in self.members], 1)

    def encode(self, nodes: torch.Tensor, program_of_node: torch.Tensor, hardware: torch.Tensor) -> torch.Tensor:
        """The latent states of the unscheduled programs; see `LatentNetwork.encode`."""
        return self._together(lambda m, part: m.encode(part, program_of_node, hardware), nodes)

    def encode_steps(self, table: StepTable, nodes: torch.Tensor) -> torch.Tensor:
        """Embeds distinct steps; [U, D]."""
        return self._together(lambda m, part: m.encode_steps(table, part), nodes)

    def next(self, z: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """The latent state after an action; [N, D], [N, D] -> [N, D]."""
        return self._together(lambda m, state, action: m.next(state, action), z, a)

    def rollout_shared(
        self, z0: torch.Tensor, steps: torch.Tensor, ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """States at the ends and sums of the steps, with each distinct prefix rolled once; see
        `LatentNetwork.rollout_shared`.
        """
        pairs = [m.rollout_shared(z, s, ids) for m, z, s in zip(self.members, self._parts(z0), self._parts(steps))]
        ends, totals = zip(*pairs)
        return torch.cat(ends, 1), torch.cat(totals, 1)

    def features(self, start: torch.Tensor, end: torch.Tensor, total: torch.Tensor, nest: torch.Tensor) -> torch.Tensor:
        """What the heads read, the trees' score last: [N, D + 1]; see `LatentNetwork.features`."""
        return self._with_trees(self._together(lambda m, *parts: m.features(*parts, nest), start, end, total), nest)

    def final_features(self, final: torch.Tensor) -> torch.Tensor:
        """The latent features of finished programs, of which the trees say nothing: [N, D + 1]; see
        `LatentNetwork.final_features`.
        """
        features = torch.cat([m.final_features(final) for m in self.members], 1)
        return torch.cat([features, features.new_zeros(len(features), 1)], 1)

    def score(self, features: torch.Tensor) -> torch.Tensor:
        """Scores by each head of each member, with the trees' score in each: [N, D + 1] -> [N, M K], higher is
        better.
        """
        heads = self._together(lambda m, part: m.score(part), features[:, :-1])
        return (heads if self.linear is None else self.linear.network_weight * heads) + features[:, -1:]

    def legality(self, features: torch.Tensor) -> torch.Tensor:
        """Logits that a trace is legal: [N, D + 1] -> [N]."""
        return torch.stack([m.legality(part) for m, part in zip(self.members, self._parts(features[:, :-1]))]).mean(0)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The latent features [N, D + 1] at the ends of all trajectories of a batch."""
        return self._with_trees(
            torch.cat([m(batch) for m in self.members], 1), torch.from_numpy(np.concatenate(batch.nests))
        )

    def weigh_trees(self, tasks: Sequence[LabelledTask]) -> None:
        """Gives the trees as much say as all networks together have, by the spread of their scores within tasks."""
        if self.trees is None or not tasks:
            return
        self.tree_weight.fill_(1.0)
        spreads = []
        with torch.inference_mode():
            for task in tasks:
                if len(task.relative) > 1:
                    features = self(collate([task.encoded]))
                    trees = features[:, -1]
                    spreads.append(((self.score(features).mean(1) - trees).std(), trees.std()))
        own, trees = (float(torch.stack(part).mean()) for part in zip(*spreads))
        self.tree_weight.fill_(own / trees if trees > 1e-9 else 0.0)

    def calibrate(self, tasks: Sequence[LabelledTask]) -> None:
        """Weighs networks and trees against the linear score, by what each of them adds to it on these tasks; never
        below nothing.
        """
        if self.linear is None:
            return
        columns, rest = [], []
        with torch.inference_mode():
            for task in tasks:
                timed = np.isfinite(task.relative)
                features = torch.cat([m(collate([task.encoded])) for m in self.members], 1)
                nest = torch.from_numpy(np.concatenate(task.encoded.nests))
                heads = self._together(lambda m, part: m.score(part), features).mean(1)
                trees = torch.zeros(len(nest)) if self.trees is None else self.trees(nest)
                parts = torch.stack([heads, trees], 1).double().numpy()[timed]  # [N, 2]
                known = task.relative[timed] - self.linear(nest).double().numpy()[timed]
                columns.append(parts - parts.mean(0))
                rest.append(known - known.mean())
        weights = non_negative_weights(np.concatenate(columns), np.concatenate(rest))
        self.linear.network_weight.fill_(weights[0])
        self.tree_weight.fill_(weights[1])

    def _with_trees(self, features: torch.Tensor, nest: torch.Tensor) -> torch.Tensor:
        score = features.new_zeros(len(features)) if self.trees is None else self.tree_weight * self.trees(nest)
        if self.linear is not None:
            score = score + self.linear(nest)
        return torch.cat([features, score.unsqueeze(1)], 1)

    def _together(self, compute: Callable[..., torch.Tensor], *states: torch.Tensor) -> torch.Tensor:
        """Applies each member to its part of some states."""
        return torch.cat([compute(m, *parts) for m, *parts in zip(self.members, *map(self._parts, states))], 1)

    def _parts(self, states: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return states.chunk(len(self.members), 1)
