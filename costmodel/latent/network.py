"""The latent world model's network: encode a program, step it by actions, score where it ends.

    z0 = encode(program, hardware)        once per workload
    z' = next(z, a)                       once per distinct prefix
    score(z0, zT, sum of a, state)        once per trajectory; the symbolic state is exact: for schedules, the loop nest
    (`loopnest.py`)

Dimension letters: G programs, N trajectories, T steps, U distinct steps, V nodes, E edges, D latent, K heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from foretune.costmodel.latent.encoding import (
    HARDWARE_FEATURES,
    MAX_EDGE_FEATURES,
    MAX_NODE_FEATURES,
    NUMBER_FEATURES,
    Batch,
    GraphArrays,
    StepTable,
    Vocabulary,
)
from foretune.costmodel.latent.piecewise import PiecewiseLayer
from foretune.costmodel.schedules import loopnest
from foretune.errors import OptionError


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes.

    Attributes:
        latent: D.
        rounds: of message passing in the program encoder.
        members: of the ensemble; each has these sizes.
        trees, tree_levels: boosted trees beside the members, and their depth; 0 trees for none.
        heads: K score heads of each member.
        bins: of each symbolic feature.
        final: width of the static features of the final program that the latent is trained to agree with; 0 without
            them.
        dynamics: step the state by actions; False takes the bag of actions instead.
        symbolic: see the symbolic part of the state; False for learned parts alone.
        program: see the program's structure; False sees the actions alone.
        hardware: see the hardware's features.
        linear: a linear score of the symbolic state beside the members, and scores in units of log speed; for domains
            with little data.
    """

    latent: int = 48
    rounds: int = 3
    members: int = 2
    trees: int = 2000
    tree_levels: int = 6
    heads: int = 4
    bins: int = 8
    final: int = 0
    dynamics: bool = True
    symbolic: bool = True
    program: bool = True
    hardware: bool = True
    linear: bool = False

    def __post_init__(self) -> None:
        if (
            type(self.trees) is not int
            or self.trees < 0
            or type(self.tree_levels) is not int
            or not 1 <= self.tree_levels <= 12
        ):
            raise OptionError(
                f"`trees >= 0` and `1 <= tree_levels <= 12` must hold, but got trees={self.trees} and"
                f" tree_levels={self.tree_levels}"
            )
        for name in ("latent", "rounds", "members", "heads", "bins"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise OptionError(f"`{name} >= 1` must hold, but got {name}={value}")
        if (
            type(self.final) is not int
            or self.final < 0
            or not all(
                type(v) is bool for v in (self.dynamics, self.symbolic, self.program, self.hardware, self.linear)
            )
        ):
            raise OptionError(
                "final must be a width, and dynamics, symbolic, program, hardware and linear truth values, but got"
                f" {self}"
            )

    @property
    def sees_nest(self) -> bool:
        """Whether the symbolic state, which follows from the program's loops, is looked at."""
        return self.symbolic and self.program


def _mlp(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, hidden), nn.SiLU(), nn.Linear(hidden, width_out))


class LatentNetwork(nn.Module):
    """Program encoder, action encoder, transition and heads.

    Args:
        vocabulary: what it knows.
        config: sizes.
        state: width of the symbolic state.
    """

    hardware_mean: torch.Tensor
    hardware_scale: torch.Tensor
    final_mean: torch.Tensor
    final_scale: torch.Tensor

    def __init__(
        self, vocabulary: Vocabulary, config: NetworkConfig = NetworkConfig(), state: int = loopnest.NUM_FEATURES
    ) -> None:
        super().__init__()
        self.vocabulary, self.config = vocabulary, config
        width = config.latent
        self.node_kind = nn.Embedding(len(vocabulary.node_kinds) + 1, width)
        self.node_in = nn.Linear(MAX_NODE_FEATURES, width)
        self.edge_kind = nn.Embedding(len(vocabulary.edge_kinds) + 1, width)
        self.edge_in = nn.Linear(MAX_EDGE_FEATURES, width)
        self.message = nn.ModuleList(_mlp(2 * width, width, width) for _ in range(2 * config.rounds))
        self.node_norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.rounds))
        self.program_out = _mlp(2 * width + HARDWARE_FEATURES, width, width)
        self.register_buffer("hardware_mean", torch.zeros(HARDWARE_FEATURES))
        self.register_buffer("hardware_scale", torch.zeros(HARDWARE_FEATURES))

        self.symbol = nn.Embedding(len(vocabulary.symbols) + 1, width)
        self.numbers_in = _mlp(NUMBER_FEATURES, width, width)
        self.touched_in = nn.Linear(width, width, bias=False)
        self.step_out = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.fixed_in = nn.Linear(width, width)

        self.transition = nn.GRUCell(width, width)
        self.nest_in = nn.Sequential(
            PiecewiseLayer(state, config.bins, 2 * width), nn.SiLU(), nn.Linear(2 * width, width),
        )  # fmt: skip
        self.score_heads = nn.Sequential(
            nn.Linear(4 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width), nn.SiLU()
        )
        self.score_out = nn.Linear(width, config.heads)
        self.legality_out = nn.Linear(width, 1)
        if config.final:
            self.register_buffer("final_mean", torch.zeros(config.final))
            self.register_buffer("final_scale", torch.zeros(config.final))
            self.final_in = nn.Sequential(
                nn.Linear(config.final, 2 * width), nn.SiLU(), nn.Linear(2 * width, width), nn.SiLU()
            )
            self.final_out = nn.Linear(width, config.final)
            self.agree = nn.Linear(width, width)

    def fit_scales(self, hardware: np.ndarray, nests: np.ndarray, final: np.ndarray) -> None:
        """Sets the scales of all inputs by training data; what is constant there is ignored from then on.

        Args:
            hardware: [G, HARDWARE_FEATURES]. nests: [N, state]. final: [N, config.final].
        """
        _standardise(self.hardware_mean, self.hardware_scale, hardware)
        for layer in self.modules():
            if isinstance(layer, PiecewiseLayer):
                layer.fit(nests)
        if self.config.final and len(final):
            _standardise(self.final_mean, self.final_scale, final)

    def encode_nodes(self, graph: GraphArrays) -> torch.Tensor:
        """Embeds a program's nodes by message passing; [V, D]."""
        source, destination = torch.from_numpy(graph.edges)  # [E], [E]
        edge = self.edge_kind(torch.from_numpy(graph.edge_kinds)) + self.edge_in(
            torch.from_numpy(graph.edge_features)
        )  # [E, D]
        h = self.node_kind(torch.from_numpy(graph.kinds)) + self.node_in(torch.from_numpy(graph.features))  # [V, D]
        for i, norm in enumerate(self.node_norm):
            total = torch.zeros_like(h)
            # both directions, so that a loop learns of the buffers it walks over and of the loops inside it
            total.index_add_(0, destination, self.message[2 * i](torch.cat([h[source], edge], 1)))
            total.index_add_(0, source, self.message[2 * i + 1](torch.cat([h[destination], edge], 1)))
            h = norm(h + total)
        return h if self.config.program else torch.zeros_like(h)

    def encode(self, nodes: torch.Tensor, program_of_node: torch.Tensor, hardware: torch.Tensor) -> torch.Tensor:
        """The latent states of the unscheduled programs.

        Args:
            nodes: [V, D] of all programs. program_of_node: [V]. hardware: [G, HARDWARE_FEATURES].

        Returns:
            [G, D].
        """
        programs = len(hardware)
        hardware = ((hardware - self.hardware_mean) * self.hardware_scale).clamp(-3, 3) * self.config.hardware
        count = torch.bincount(program_of_node, minlength=programs).unsqueeze(1)
        mean = nodes.new_zeros(programs, nodes.shape[1]).index_add_(0, program_of_node, nodes) / count
        index = program_of_node.unsqueeze(1).expand_as(nodes)
        largest = nodes.new_full((programs, nodes.shape[1]), -torch.inf).scatter_reduce(0, index, nodes, "amax")
        return torch.tanh(self.program_out(torch.cat([mean, largest, hardware], 1)))

    def encode_steps(self, table: StepTable, nodes: torch.Tensor) -> torch.Tensor:
        """Embeds distinct steps, with the fixed actions before each; [U, D]."""
        own = self._embed(table.symbols, table.nodes, table.numbers, nodes)  # [U, D]
        if len(table.fixed_symbols):
            fixed = self._embed(table.fixed_symbols, table.fixed_nodes, table.fixed_numbers, nodes)
            sums = torch.cat([fixed.new_zeros(1, fixed.shape[1]), fixed.cumsum(0)])  # prefix sums over fixed actions
            start, end = torch.from_numpy(table.fixed).T
            counts = (end - start).clamp(min=1).unsqueeze(1)
            own = own + self.fixed_in((sums[end] - sums[start]) / counts)
        return own

    def _embed(self, symbols, step_nodes, numbers, nodes: torch.Tensor) -> torch.Tensor:
        step_nodes = torch.from_numpy(step_nodes)
        mask = (step_nodes >= 0).unsqueeze(2)
        touched = (nodes[step_nodes.clamp(min=0)] * mask).sum(1) / mask.sum(1).clamp(min=1)  # [U, D]
        x = (
            self.symbol(torch.from_numpy(symbols))
            + self.numbers_in(torch.from_numpy(numbers))
            + self.touched_in(touched)
        )
        return self.step_out(x)

    def next(self, z: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """The latent state after an action; [N, D], [N, D] -> [N, D]."""
        return self._next(z, self._gates(a))

    def features(self, start: torch.Tensor, end: torch.Tensor, total: torch.Tensor, nest: torch.Tensor) -> torch.Tensor:
        """What the heads read.

        Args:
            start, end: latent states [N, D]. total: sum of the actions [N, D]. nest: symbolic state [N, state].

        Returns:
            [N, D].
        """
        nest = self.nest_in(nest if self.config.sees_nest else torch.zeros_like(nest))
        return self.score_heads(torch.cat([start, end, total, nest], 1))

    def rollout(self, z: torch.Tensor, steps: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rolls trajectories forward side by side.

        Args:
            z: [N, D] where each begins. steps: [U, D]. ids: [N, T] rows of `steps`.

        Returns:
            (latent states at the end [N, D], sums of the steps [N, D]).
        """
        return self._rollout(z, steps, self._gates(steps), ids)

    def rollout_shared(
        self, z0: torch.Tensor, steps: torch.Tensor, ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`rollout` from one start [1, D], with each distinct prefix rolled once."""
        gates = self._gates(steps)
        which = torch.zeros(len(ids), dtype=torch.int64)  # [N] prefix of each trajectory
        z, total = z0, torch.zeros_like(z0)
        for t in range(ids.shape[1]):
            distinct, inverse = torch.unique(which * len(steps) + ids[:, t], return_inverse=True)
            if 2 * len(distinct) > len(ids):  # hardly anything left to share
                end, rest = self._rollout(z[which], steps, gates, ids[:, t:])
                return end, total[which] + rest
            parent, step = distinct // len(steps), distinct % len(steps)
            z, total = self._next(z[parent], gates[step]), total[parent] + steps[step]
            which = inverse
        return z[which], total[which]

    def _rollout(
        self, z: torch.Tensor, steps: torch.Tensor, gates: torch.Tensor, ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        total = torch.zeros_like(z)
        for t in range(ids.shape[1]):
            z, total = self._next(z, gates[ids[:, t]]), total + steps[ids[:, t]]
        return z, total

    def _gates(self, steps: torch.Tensor) -> torch.Tensor:
        """What each distinct step adds to the transition's gates: [U, D] -> [U, 3 D]."""
        return functional.linear(steps, self.transition.weight_ih, self.transition.bias_ih)

    def _next(self, z: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        """The gated recurrent unit, with the step's part of its gates computed beforehand; [N, D], [N, 3 D] -> [N,
        D].
        """
        if not self.config.dynamics:
            return z
        width = z.shape[1]
        own = functional.linear(z, self.transition.weight_hh, self.transition.bias_hh)
        reset, update = torch.sigmoid(gates[:, : 2 * width] + own[:, : 2 * width]).split(width, 1)
        fresh = torch.tanh(torch.addcmul(gates[:, 2 * width :], reset, own[:, 2 * width :]))
        return torch.lerp(fresh, z, update)

    def final_features(self, final: torch.Tensor) -> torch.Tensor:
        """The latent features of finished programs, which rollouts are trained to agree with.

        Args:
            final: [N, config.final] static features.

        Returns:
            [N, D].
        """
        return self.final_in(self.standardised(final))

    def standardised(self, final: torch.Tensor) -> torch.Tensor:
        """Static features with mean 0 and deviation 1 over the training data; [N, config.final]."""
        return ((final - self.final_mean) * self.final_scale).clamp(-8, 8)

    def forward(self, batch: Batch) -> torch.Tensor:
        """The latent features [N, D] at the ends of all trajectories of a batch."""
        nodes = self.encode_nodes(batch.graph)
        z0 = self.encode(nodes, torch.from_numpy(batch.program_of_node), torch.from_numpy(batch.hardware))
        steps = self.encode_steps(batch.table, nodes)
        lengths = [rows.shape[1] for rows in batch.ids]
        ends: list = [None] * len(batch.ids)
        for length in sorted(set(lengths)):  # trajectories of equal length are rolled together
            members = [i for i, n in enumerate(lengths) if n == length]
            start = z0[torch.from_numpy(np.concatenate([batch.program_of[i] for i in members]))]
            ids = torch.from_numpy(np.concatenate([batch.ids[i] for i in members]))
            z, total = self.rollout(start, steps, ids)
            nest = torch.from_numpy(np.concatenate([batch.nests[i] for i in members]))
            features = self.features(start, z, total, nest)
            for i, part in zip(members, features.split([len(batch.ids[i]) for i in members])):
                ends[i] = part
        return torch.cat(ends)

    def score(self, features: torch.Tensor) -> torch.Tensor:
        """Scores of latent features: [N, D] -> [N, K], higher is better."""
        return self.score_out(features)

    def legality(self, features: torch.Tensor) -> torch.Tensor:
        """Logits that a trace is legal: [N, D] -> [N]."""
        return self.legality_out(features).squeeze(1)


def _standardise(mean: torch.Tensor, scale: torch.Tensor, rows: np.ndarray) -> None:
    deviation = rows.std(0, dtype=np.float64)
    mean.copy_(torch.from_numpy(rows.mean(0, dtype=np.float64)))
    scale.copy_(torch.from_numpy(np.where(deviation > 1e-4, 1 / np.maximum(deviation, 1e-4), 0.0)))
