"""Training of the MLIR cost model's networks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from foretune.costmodel.mlir.encoding import EncodedProgram
from foretune.costmodel.mlir.network import Batch, MlirNetwork, MlirNetworkConfig
from foretune.errors import DataError, OptionError


@dataclass(frozen=True)
class MlirExample:
    """A program with its labels.

    Attributes:
        program: its structure.
        target: features of the processor.
        labels: [A + Q] on the scale of `mlir_labels`; NaN where unknown.
        log_runs: column of the statements' features with the logarithm, to base 2, of how often each runs.
        group: programs of one group are in the same split.
    """

    program: EncodedProgram
    target: np.ndarray
    labels: np.ndarray
    group: str = ""


@dataclass(frozen=True)
class MlirTrainConfig:
    """How to train.

    Attributes:
        epochs: passes over the data, at most.
        patience: epochs without progress on held-out programs after which training ends.
        batch: programs in a step.
        learning_rate: peak.
        seed: of weights and order.
        latent: size of states.
        members: networks.
    """

    epochs: int = 40
    patience: int = 8
    batch: int = 192
    learning_rate: float = 2e-3
    seed: int = 0
    latent: int = 160
    members: int = 2

    def __post_init__(self) -> None:
        if min(self.epochs, self.patience, self.batch, self.latent, self.members) < 1 or self.learning_rate <= 0:
            raise OptionError(
                f"epochs, patience, batch, latent, members and learning_rate must be positive, but got {self}"
            )


_HUBER = 0.25  # of the logarithms: a quarter off is where errors stop counting squared
_IMPORTANCE = {"instructions": 2.0, "registers": 2.0, "mca_cycles": 2.0, "secs": 2.0}


def collate(examples: Sequence[tuple[EncodedProgram, np.ndarray]], runs_column: int) -> Batch:
    """Programs, each with its target's features, as one batch."""
    counts = [len(program.nest) for program, _ in examples]
    nests = np.cumsum([0, *(int(p.nest.max()) + 1 for p, _ in examples)])
    parents = np.cumsum([0, *(int(p.parent.max()) + 1 for p, _ in examples)])
    statements = torch.from_numpy(np.concatenate([p.statements for p, _ in examples]))
    return Batch(
        statements,
        torch.from_numpy(np.repeat(np.arange(len(examples)), counts)),
        torch.from_numpy(np.concatenate([p.nest + n for (p, _), n in zip(examples, nests)])),
        torch.from_numpy(np.concatenate([p.parent + n for (p, _), n in zip(examples, parents)])),
        statements[:, runs_column] * float(np.log(2)),
        torch.from_numpy(np.stack([t for _, t in examples]).astype(np.float32)),
    )


def train_member(
    examples: Sequence[MlirExample],
    held_out: Sequence[MlirExample],
    network_config: MlirNetworkConfig,
    runs_column: int,
    label_names: Sequence[str],
    config: MlirTrainConfig,
    report: Callable[[dict[str, float]], None] = lambda figures: None,
    deadline: Callable[[], bool] = lambda: False,
    start: MlirNetwork | None = None,
) -> MlirNetwork:
    """Trains one network to the weights of its best epoch.

    Args:
        examples, held_out: of different programs.
        network_config: sizes.
        runs_column: see `MlirExample`.
        label_names: names of the labels, in order.
        config: how.
        report: called with the figures of each epoch.
        deadline: asked after each epoch whether to stop.
        start: a trained network to go on from; it is changed in place and keeps its scales, but for inputs that its
            data left out.

    Raises:
        DataError: there is nothing to train on.
    """
    if not examples:
        raise DataError("training needs labelled MLIR programs, but there are none")
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    network = start if start is not None else MlirNetwork(replace(network_config, latent=config.latent))
    labels = torch.from_numpy(np.stack([e.labels for e in examples])).float()
    statements = torch.from_numpy(np.concatenate([e.program.statements for e in examples]))
    if start is None:
        network.fit_scales(statements, torch.from_numpy(np.stack([e.target for e in examples])).float(), labels)
    else:
        network.fit_new_scales(statements)
    weights = torch.tensor([_IMPORTANCE.get(name, 1.0) for name in label_names])
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=1e-2, fused=True)
    steps = max(1, -(-len(examples) // config.batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.epochs * steps + 1, pct_start=0.1
    )
    best, best_epoch, kept = float("inf"), 0, copy.deepcopy(network.state_dict())
    sizes = np.array([len(e.program.nest) for e in examples])
    for epoch in range(config.epochs):
        network.train()
        losses = []
        order = rng.permutation(len(examples))
        order = order[
            np.argsort(sizes[order] // 8 + rng.integers(0, 3, len(order)), kind="stable")
        ]  # programs of like size in one step
        parts = [order[i : i + config.batch] for i in range(0, len(order), config.batch)]
        for at in rng.permutation(len(parts)):
            chosen = parts[at]
            batch = collate([(examples[i].program, examples[i].target) for i in chosen], runs_column)
            optimizer.zero_grad()
            loss = _loss(network, network(batch), labels[chosen], weights)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
        network.eval()
        figures = {
            "epoch": epoch,
            "loss": float(np.mean(losses)),
            "held_out": held_out_loss(network, held_out or examples, runs_column, weights),
        }
        report(figures)
        if figures["held_out"] < best:
            best, best_epoch, kept = figures["held_out"], epoch, copy.deepcopy(network.state_dict())
        elif epoch - best_epoch >= config.patience:
            break
        if deadline():
            break
    network.load_state_dict(kept)
    network.eval()
    with torch.inference_mode():
        parts = [
            network.parts(network.encode(collate([(e.program, e.target) for e in examples[i : i + 256]], runs_column)))
            for i in range(0, len(examples), 256)
        ]
    network.fit_bounds(torch.cat(parts), labels)
    return network


def _loss(network: MlirNetwork, predicted: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    known = ~labels.isnan()
    error = (predicted - labels.nan_to_num()) * known
    error = error / torch.where(network.label_scale < 0.4, network.label_scale, torch.ones(())).clamp(min=0.05)
    return (
        torch.nn.functional.huber_loss(error, torch.zeros_like(error), delta=_HUBER, reduction="none") * known * weights
    ).sum() / (known * weights).sum().clamp(min=1)


@torch.inference_mode()
def held_out_loss(
    network: MlirNetwork, examples: Sequence[MlirExample], runs_column: int, weights: torch.Tensor
) -> float:
    """Mean loss over programs; lower is better."""
    total = 0.0
    for start in range(0, len(examples), 256):
        part = examples[start : start + 256]
        batch = collate([(e.program, e.target) for e in part], runs_column)
        total += float(
            _loss(network, network(batch), torch.from_numpy(np.stack([e.labels for e in part])).float(), weights)
        ) * len(part)
    return total / max(1, len(examples))
