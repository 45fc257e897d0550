"""What the neural rivals share: one trainer, one loss, one budget.

A model turns each candidate into named sequences of rows; sequences are padded to the longest of a batch
and come with a mask of what is real. Scores must not depend on the padding.

All are trained with the same loss (LambdaRank: Burges, From RankNet to LambdaRank to LambdaMART, 2010, as in
TenSet and TLP), the same number of tasks in a step, the same epochs, and the same rule for stopping early.

Dimension letters: N candidates, L length of a sequence, F features.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from foretune.costmodel.rivals.groups import Group, graded_relevance, selection_score
from foretune.costmodel.rivals.rival import Rival
from foretune.errors import ModelError, OptionError
from foretune.task import Candidate, Task

Inputs = Mapping[str, np.ndarray]
"""Sequences of one candidate: name -> [L, F] float32, or [L] int64 ids."""

_SCORED_AT_ONCE = 2048


@dataclass(frozen=True)
class NeuralConfig:
    """How to train; the same for all neural rivals.

    Attributes:
        epochs: passes over the training tasks, at most.
        patience: epochs without progress on the validation tasks after which training ends.
        learning_rate: peak, of a cosine schedule with warm-up.
        tasks_per_step: tasks whose losses are added in one step.
        candidates_per_task: of a larger task, this many are drawn anew in each epoch.
        adaptation_steps, adaptation_rate: of fine-tuning on the measurements of the tasks that are being tuned.
    """

    epochs: int = 40
    patience: int = 10
    learning_rate: float = 1e-3
    tasks_per_step: int = 8
    candidates_per_task: int = 128
    adaptation_steps: int = 20
    adaptation_rate: float = 3e-4

    def __post_init__(self) -> None:
        if (
            min(self.epochs, self.patience, self.tasks_per_step, self.adaptation_steps) < 1
            or self.candidates_per_task < 2
        ):
            raise OptionError(
                "epochs, patience, tasks_per_step and adaptation_steps must be at least 1 and candidates_per_task at"
                f" least 2, but got {self}"
            )
        if min(self.learning_rate, self.adaptation_rate) <= 0:
            raise OptionError(
                f"learning rates must be positive, but got {self.learning_rate} and {self.adaptation_rate}"
            )


class NeuralRival(Rival):
    """A rival that is a neural network; one that looks at the finished program is a `StaticRival` first.

    Args:
        seed: of weights and order.
        config: how to train.
    """

    def __init__(self, seed: int = 0, config: NeuralConfig = NeuralConfig()) -> None:
        super().__init__(seed)
        self.config = config
        self._made: nn.Module | None = None

    @property
    def network(self) -> nn.Module:
        """The network; it is made when the model is trained or read."""
        if self._made is None:
            raise ModelError(f"the {self.name} model is not trained; `fit` or `load` it first")
        return self._made

    @abstractmethod
    def _read(self, groups: Sequence[Group]) -> dict[str, Any]:
        """What the network's shape depends on, such as a vocabulary, read off training data; JSON data."""

    @abstractmethod
    def _network(self, shape: Mapping[str, Any]) -> nn.Module:
        """An untrained network: {name: [N, L, F] or [N, L], name_mask: [N, L] bool} -> [N]."""

    @abstractmethod
    def _inputs(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> list[Inputs]:
        """Sequences of each candidate."""

    def _train(self, groups: Sequence[Group], validation: Sequence[Group]) -> None:
        torch.manual_seed(self.seed)
        self._shape = self._read(groups)
        self._made = self._network(self._shape)
        inputs = [self._inputs(g.task, g.candidates, g.finals) for g in groups]
        standardise(self.network, inputs)
        held_out = [self._inputs(g.task, g.candidates, g.finals) for g in validation]
        self._optimise(groups, inputs, validation, held_out)
        self._base = copy.deepcopy(self.network.state_dict())

    def _optimise(
        self,
        groups: Sequence[Group],
        inputs: Sequence[list[Inputs]],
        validation: Sequence[Group],
        held_out: Sequence[list[Inputs]],
    ) -> None:
        config, rng = self.config, np.random.default_rng(self.seed)
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate, weight_decay=1e-2, fused=True)
        steps = config.epochs * -(-len(groups) // config.tasks_per_step)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.learning_rate, total_steps=max(steps, 2), pct_start=0.1
        )
        best, best_epoch, best_state = -np.inf, 0, None
        for epoch in range(config.epochs):
            order = rng.permutation(len(groups))
            for start in range(0, len(order), config.tasks_per_step):
                chosen = order[start : start + config.tasks_per_step]
                self._step(optimizer, [groups[i] for i in chosen], [inputs[i] for i in chosen], rng)
                schedule.step()
            if not validation:
                continue
            parts = iter(held_out)
            score = selection_score(lambda group, parts=parts: self._network_scores(next(parts)), validation)
            if score > best:
                best, best_epoch, best_state = score, epoch, copy.deepcopy(self.network.state_dict())
            elif epoch - best_epoch >= config.patience:
                break
        if best_state is not None:
            self.network.load_state_dict(best_state)
        self.network.eval()

    def _step(
        self,
        optimizer: torch.optim.Optimizer,
        groups: Sequence[Group],
        inputs: Sequence[list[Inputs]],
        rng: np.random.Generator,
    ) -> None:
        rows = [self._drawn(len(g.candidates), rng) for g in groups]
        self.network.train()
        optimizer.zero_grad()
        scores = self.network(collate([items[i] for items, kept in zip(inputs, rows) for i in kept]))
        parts = zip(scores.split([len(kept) for kept in rows]), groups, rows)
        loss = torch.stack(
            [lambda_rank_loss(s, torch.from_numpy(graded_relevance(g.throughput[kept]))) for s, g, kept in parts]
        ).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        optimizer.step()

    def _drawn(self, count: int, rng: np.random.Generator) -> np.ndarray:
        limit = self.config.candidates_per_task
        return np.arange(count) if count <= limit else rng.choice(count, limit, replace=False)

    def _adapt(self, groups: Sequence[Group]) -> None:
        self.network.load_state_dict(self._base)
        torch.manual_seed(self.seed)
        rng = np.random.default_rng(self.seed)
        inputs = [self._inputs(g.task, g.candidates, g.finals) for g in groups]
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=self.config.adaptation_rate, fused=True)
        for _ in range(self.config.adaptation_steps):
            chosen = rng.permutation(len(groups))[: self.config.tasks_per_step]
            self._step(optimizer, [groups[i] for i in chosen], [inputs[i] for i in chosen], rng)
        self.network.eval()

    def _score(self, task: Task, candidates: Sequence[Candidate], finals: Sequence[np.ndarray]) -> np.ndarray:
        return self._network_scores(self._inputs(task, candidates, finals))

    def _network_scores(self, inputs: Sequence[Inputs]) -> np.ndarray:
        self.network.eval()
        with torch.inference_mode():
            parts = [
                self.network(collate(inputs[i : i + _SCORED_AT_ONCE])) for i in range(0, len(inputs), _SCORED_AT_ONCE)
            ]
        return torch.cat(parts).double().numpy()

    def _state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        return {"shape": self._shape}, {k: v.numpy() for k, v in self.network.state_dict().items()}

    def _restore(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._shape = header["shape"]
        self._made = self._network(self._shape).eval()
        self.network.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in arrays.items()})
        self._base = copy.deepcopy(self.network.state_dict())


class Standardised(nn.Module):
    """Brings features to mean 0 and deviation 1, as seen in the training data; constant features become 0.

    Args:
        name: of the sequence whose features it takes.
        width: number of features.
    """

    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, name: str, width: int) -> None:
        super().__init__()
        self.name = name
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, L, F] -> [N, L, F]."""
        return ((x - self.mean) * self.scale).clamp(-8, 8)


def standardise(network: nn.Module, inputs: Sequence[list[Inputs]]) -> None:
    """Sets the means and scales of all `Standardised` layers of a network from training data."""
    for layer in network.modules():
        if isinstance(layer, Standardised):
            rows = np.concatenate([item[layer.name] for items in inputs for item in items])
            deviation = rows.std(0, dtype=np.float64) if len(rows) else np.zeros(rows.shape[1])
            layer.mean.copy_(torch.from_numpy(rows.mean(0, dtype=np.float64) if len(rows) else deviation))
            layer.scale.copy_(torch.from_numpy(np.where(deviation > 1e-4, 1 / np.maximum(deviation, 1e-4), 0.0)))


def collate(inputs: Sequence[Inputs]) -> dict[str, torch.Tensor]:
    """Pads the sequences of a batch.

    Returns:
        For each name: the rows [N, L, F] or ids [N, L], and under `name_mask` what is real [N, L] bool. L is at least
        1.
    """
    batch: dict[str, torch.Tensor] = {}
    for name, first in inputs[0].items():
        length = max(1, *(len(item[name]) for item in inputs))
        rows = np.zeros((len(inputs), length, *first.shape[1:]), first.dtype)
        mask = np.zeros((len(inputs), length), bool)
        for i, item in enumerate(inputs):
            rows[i, : len(item[name])] = item[name]
            mask[i, : len(item[name])] = True
        batch[name], batch[f"{name}_mask"] = torch.from_numpy(rows), torch.from_numpy(mask)
    return batch


def lambda_rank_loss(scores: torch.Tensor, relevance: torch.Tensor) -> torch.Tensor:
    """Pairwise logistic loss, a pair weighted by how much swapping it would change the normalised discounted gain.

    Args:
        scores: [N] higher is better.
        relevance: [N] in [0, 1].
    """
    gain = torch.exp2(relevance) - 1  # [N]
    position = scores.detach().argsort(descending=True).argsort()
    discount = 1 / torch.log2(position + 2.0)  # [N]
    ideal = (gain.sort(descending=True).values / torch.log2(torch.arange(len(gain)) + 2.0)).sum().clamp(min=1e-6)
    weight = (
        (gain[:, None] - gain[None, :]).clamp(min=0) * (discount[:, None] - discount[None, :]).abs() / ideal
    )  # [N, N]
    return (weight * F.softplus(scores[None, :] - scores[:, None])).sum()


def masked_sum(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sum over the real rows of each sequence: [N, L, F], [N, L] -> [N, F]."""
    return (x * mask.unsqueeze(-1)).sum(1)


def masked_mean(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean over the real rows of each sequence, 0 without any: [N, L, F], [N, L] -> [N, F]."""
    return masked_sum(x, mask) / mask.sum(1, keepdim=True).clamp(min=1)
