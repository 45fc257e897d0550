"""Small networks of the same form that are trained one by one and averaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class EnsembleConfig:
    """Sizes and training.

    Attributes:
        members: networks, K.
        width: of their two inner layers.
        epochs, batch, learning_rate, weight_decay: of training.
        seed: of weights and order.
    """

    members: int
    width: int
    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    seed: int = 0


def make_member(inputs: int, outputs: int, config: EnsembleConfig) -> nn.Sequential:
    """A network with fresh weights."""
    return nn.Sequential(
        nn.Linear(inputs, config.width),
        nn.SiLU(),
        nn.Linear(config.width, config.width),
        nn.SiLU(),
        nn.Linear(config.width, outputs),
    )


def train_members(
    make: Callable[[], nn.Module],
    x: torch.Tensor,
    wanted: torch.Tensor,
    loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    config: EnsembleConfig,
    longest_gradient: float = float("inf"),
) -> Iterator[nn.Module]:
    """The trained networks, each when it is done; the same for the same seed.

    Args:
        make: makes a network with fresh weights.
        x: [P, X] inputs.
        wanted: [P, ...] what is to be learnt.
        loss_of: (outputs, wanted) of a batch -> loss.
        config: how.
        longest_gradient: longer ones are cut to this norm.
    """
    for seed in range(config.seed, config.seed + config.members):
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = make()
        optimizer = torch.optim.AdamW(network.parameters(), config.learning_rate, weight_decay=config.weight_decay)
        steps = config.epochs * -(-len(x) // config.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps)
        for _ in range(config.epochs):
            for rows in torch.randperm(len(x), generator=generator).split(config.batch):
                loss = loss_of(network(x[rows]), wanted[rows])
                optimizer.zero_grad()
                loss.backward()
                if longest_gradient < float("inf"):
                    nn.utils.clip_grad_norm_(network.parameters(), longest_gradient)
                optimizer.step()
                schedule.step()
        yield network.eval()
