"""The network of the MLIR cost model: statements, encoded with what is around them, each add their part of every cost.

Costs add up: a program executes, occupies and moves what its statements do. The heads therefore give the logarithm of
each statement's part, on top of the logarithm of how often it runs where a cost is dynamic, and a program's cost is the
sum. That makes the parts an explanation as well. What does not add up (registers, shares) is read off pooled states.

A schedule that was not applied yet is rolled out in latent space: a gated recurrent unit steps the pooled state by
embedded actions, trained to end where the encoding of the transformed module is (Hafner et al., Dream to Control, 2020,
in the manner of `network.py`), and the same heads read the parts of the costs that the steps changed.

Dimension letters: P programs, S statements of all programs, F features, D latent, A additive labels, Q pooled labels, T
actions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

ADDITIVE = (
    "instructions",
    "memory_operands",
    "spills",
    "reloads",
    "dynamic_instructions",
    "bytes_read",
    "bytes_written",
    "mca_cycles",
    "mca_throughput",
    "secs",
)
DYNAMIC = frozenset(ADDITIVE[4:])
POOLED = ("registers", "gpr_registers", "vector_registers", "vector_share", "dynamic_vector_share")
LABELS = (*ADDITIVE, *POOLED)


@dataclass(frozen=True)
class MlirNetworkConfig:
    """Sizes.

    Attributes:
        features: F of a statement, before the logarithms are joined to them.
        target: features of the processor.
        latent: D.
        rounds: of messages among statements.
        actions: names of actions that rollouts know; 0 is any other.
        action_numbers: of one action.
    """

    features: int
    target: int
    latent: int = 160
    rounds: int = 2
    actions: int = 1
    action_numbers: int = 8


@dataclass(frozen=True)
class Batch:
    """Programs together.

    Attributes:
        statements: [S, F] float32.
        program: [S] int64, of each statement.
        nest, parent: [S] int64: groups of statements, numbered over the whole batch.
        log_runs: [S] float32, natural logarithm of how often a statement runs.
        target: [P, target] float32.
        count: P.
    """

    statements: torch.Tensor
    program: torch.Tensor
    nest: torch.Tensor
    parent: torch.Tensor
    log_runs: torch.Tensor
    target: torch.Tensor

    @property
    def count(self) -> int:
        """P."""
        return len(self.target)


def _scale(x: torch.Tensor) -> torch.Tensor:
    """What makes deviations 1; 0 for what never changes in the training data, of which nothing can be known. [N, F] ->
    [F].
    """
    deviation = x.std(0, correction=0)
    return torch.where(deviation > 1e-3, 1 / deviation.clamp(min=1e-2), torch.zeros(()))


def _mean(x: torch.Tensor, group: torch.Tensor, count: int) -> torch.Tensor:
    """[S, D] -> [count, D]."""
    total = torch.zeros(count, x.shape[1]).index_add_(0, group, x)
    size = torch.zeros(count).index_add_(0, group, torch.ones(len(group)))
    return total / size.clamp(min=1)[:, None]


def _max(x: torch.Tensor, group: torch.Tensor, count: int) -> torch.Tensor:
    """[S, D] -> [count, D]."""
    return torch.full((count, x.shape[1]), -1e4).scatter_reduce(0, group[:, None].expand_as(x), x, "amax")


def _log_sum(a: torch.Tensor, group: torch.Tensor, count: int) -> torch.Tensor:
    """Logarithm of the sum of exponentials: [S, A] -> [count, A]."""
    top = _max(a.detach(), group, count)
    total = torch.zeros(count, a.shape[1]).index_add_(0, group, (a - top[group]).exp())
    return top + total.clamp(min=1e-12).log()


class MlirNetwork(nn.Module):
    """One member of the ensemble.

    Args:
        config: sizes.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    target_mean: torch.Tensor
    target_scale: torch.Tensor
    label_mean: torch.Tensor
    label_scale: torch.Tensor
    part_bounds: torch.Tensor
    pooled_bounds: torch.Tensor
    runs: torch.Tensor

    def __init__(self, config: MlirNetworkConfig) -> None:
        super().__init__()
        self.config, width = config, config.latent
        self.register_buffer("mean", torch.zeros(2 * config.features))
        self.register_buffer("scale", torch.ones(2 * config.features))
        self.register_buffer("target_mean", torch.zeros(config.target))
        self.register_buffer("target_scale", torch.ones(config.target))
        self.register_buffer("label_mean", torch.zeros(len(LABELS)))
        self.register_buffer("label_scale", torch.ones(len(LABELS)))
        self.inside = nn.Sequential(
            nn.Linear(2 * config.features + config.target, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )
        self.messages = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(5 * width), nn.Linear(5 * width, width), nn.SiLU(), nn.Linear(width, width))
            for _ in range(config.rounds)
        )
        self.parts = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, len(ADDITIVE))
        )
        self.pooled = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, len(POOLED))
        )
        self.register_buffer("part_bounds", torch.tensor([[-1e4], [1e4]]).repeat(1, len(ADDITIVE)))
        self.register_buffer("pooled_bounds", torch.tensor([[-1e4], [1e4]]).repeat(1, len(POOLED)))
        self.register_buffer("runs", torch.tensor([float(name in DYNAMIC) for name in ADDITIVE]))
        # rollouts of schedules that were not applied
        self.state_in = nn.Linear(2 * width, width)
        self.action = nn.Embedding(config.actions, width)
        self.action_numbers = nn.Linear(config.action_numbers, width)
        self.transition = nn.GRUCell(width, width)
        self.change = nn.Sequential(
            nn.LayerNorm(2 * width), nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, len(LABELS))
        )

    def fit_scales(self, statements: torch.Tensor, target: torch.Tensor, labels: torch.Tensor) -> None:
        """Standardises inputs and labels over the training data; labels [P, A + Q] are NaN where unknown."""
        x = self._joined(statements)
        self.mean.copy_(x.mean(0))
        self.scale.copy_(_scale(x))
        self.target_mean.copy_(target.mean(0))
        self.target_scale.copy_(_scale(target))
        known = ~labels.isnan()
        mean = labels.nan_to_num().sum(0) / known.sum(0).clamp(min=1)
        deviation = ((labels - mean).nan_to_num().square().sum(0) / known.sum(0).clamp(min=1)).sqrt()
        self.label_mean.copy_(mean)
        self.label_scale.copy_(deviation.clamp(min=1e-2))

    def fit_new_scales(self, statements: torch.Tensor) -> None:
        """Standardises the inputs that never changed in the data of before, and so were left out; the others keep their
        scales, which the weights rest on.
        """
        x = self._joined(statements)
        new = self.scale == 0
        self.mean.copy_(torch.where(new, x.mean(0), self.mean))
        self.scale.copy_(torch.where(new, _scale(x), self.scale))

    @staticmethod
    def _joined(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, torch.log1p(x.clamp(min=0))], 1)

    def encode(self, batch: Batch) -> torch.Tensor:
        """States of statements; [S, D]."""
        x = ((self._joined(batch.statements) - self.mean) * self.scale).clamp(-6, 6)
        target = (batch.target - self.target_mean) * self.target_scale
        h = self.inside(torch.cat([x, target[batch.program]], 1))
        nests, parents = int(batch.nest.max()) + 1, int(batch.parent.max()) + 1
        for message in self.messages:
            around = [
                _mean(h, batch.nest, nests)[batch.nest],
                _mean(h, batch.parent, parents)[batch.parent],
                _mean(h, batch.program, batch.count)[batch.program],
                _max(h, batch.program, batch.count)[batch.program],
            ]
            h = h + message(torch.cat([h, *around], 1))
        return h

    def statement_parts(self, h: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Logarithm of what each statement adds to each additive label; [S, A]."""
        parts = self.parts(h)
        if not self.training:
            parts = torch.minimum(torch.maximum(parts, self.part_bounds[0]), self.part_bounds[1])
        return parts + self.runs * batch.log_runs[:, None]

    def fit_bounds(self, parts: torch.Tensor, labels: torch.Tensor) -> None:
        """Keeps single statements, far from all training data, from adding what none of them ever added for one run.

        Args:
            parts: [S, A] what `parts` gives for the training data.
            labels: [P, A + Q] of it; NaN where unknown.
        """
        self.part_bounds.copy_(
            torch.quantile(parts[:: max(1, len(parts) // 100_000)], torch.tensor([0.0002, 0.9998]), dim=0)
        )
        pooled = labels[:, len(ADDITIVE) :]
        self.pooled_bounds[0], self.pooled_bounds[1] = pooled.nan_to_num(1e4).amin(0), pooled.nan_to_num(-1e4).amax(0)

    def pooled_labels(self, h: torch.Tensor, batch: Batch) -> torch.Tensor:
        """What does not add up; [P, Q]."""
        found = self.pooled(self.state(h, batch)) * self.label_scale[len(ADDITIVE) :] + self.label_mean[len(ADDITIVE) :]
        return (
            found
            if self.training
            else torch.minimum(torch.maximum(found, self.pooled_bounds[0]), self.pooled_bounds[1])
        )

    def state(self, h: torch.Tensor, batch: Batch) -> torch.Tensor:
        """[P, 2 D]."""
        return torch.cat([_mean(h, batch.program, batch.count), _max(h, batch.program, batch.count)], 1)

    def labels(self, h: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Predicted labels of encoded programs, on the scale of `mlir_labels.to_scale`; [P, A + Q]."""
        return torch.cat(
            [_log_sum(self.statement_parts(h, batch), batch.program, batch.count), self.pooled_labels(h, batch)], 1
        )

    def forward(self, batch: Batch) -> torch.Tensor:
        """Predicted labels; [P, A + Q]."""
        return self.labels(self.encode(batch), batch)

    def roll(
        self, state: torch.Tensor, start: torch.Tensor, actions: torch.Tensor, numbers: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Steps the state of programs by actions that were not applied.

        Args:
            state: [P, 2 D] of the programs as they are. start: [P, A + Q], their labels.
            actions: [P, T] int64; -1 after the last one. numbers: [P, T, action_numbers] float32.

        Returns:
            The latent states at the end, [P, D], and the labels there, [P, A + Q].
        """
        first = self.state_in(state)
        z = first
        for t in range(actions.shape[1]):
            live = actions[:, t] >= 0
            step = self.action(actions[:, t].clamp(min=0)) + self.action_numbers(numbers[:, t])
            z = torch.where(live[:, None], self.transition(step, z), z)
        change = self.change(torch.cat([first, z], 1)) * self.label_scale
        moved = (actions[:, 0] >= 0).float()[:, None] if actions.shape[1] else torch.zeros(len(state), 1)
        return z, start + change * moved

    def rollout(self, batch: Batch, actions: torch.Tensor, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """`roll` from programs that are still to be encoded."""
        h = self.encode(batch)
        return self.roll(self.state(h, batch), self.labels(h, batch), actions, numbers)
