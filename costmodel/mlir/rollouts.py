"""Training of rollouts: from a program and a schedule to where the transformed program is, without applying the
schedule.

The encoder stays as it is. The transition, the embeddings of actions and the head of changes learn to predict the
labels of the transformed program, and to end where its encoding is (latent consistency).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from foretune.costmodel.mlir.actions import encode_traces
from foretune.costmodel.mlir.encoding import EncodedProgram
from foretune.costmodel.mlir.network import MlirNetwork
from foretune.costmodel.mlir.training import collate
from foretune.trace import Trace

_CONSISTENCY = 0.1
_RATE = 2e-3


@dataclass(frozen=True)
class RolloutExample:
    """A schedule's effect.

    Attributes:
        before, after: the program without and with the schedule.
        trace: the schedule.
        target: features of the processor.
        labels: [A + Q] of the transformed program; NaN where unknown.
    """

    before: EncodedProgram
    after: EncodedProgram
    trace: Trace
    target: np.ndarray
    labels: np.ndarray


def train_rollouts(
    network: MlirNetwork,
    examples: Sequence[RolloutExample],
    symbols: Sequence[str],
    runs_column: int,
    epochs: int = 12,
    seed: int = 0,
    report: Callable[[dict[str, float]], None] = lambda figures: None,
) -> None:
    """Trains the rollout parts of a network in place."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network.eval()
    before, start = _encoded(network, [(e.before, e.target) for e in examples], runs_column)
    after, _ = _encoded(network, [(e.after, e.target) for e in examples], runs_column)
    parts = (network.state_in, network.action, network.action_numbers, network.transition, network.change)
    optimizer = torch.optim.AdamW(
        [p for part in parts for p in part.parameters()], lr=_RATE, weight_decay=1e-2, fused=True
    )
    actions, numbers = (torch.from_numpy(part) for part in encode_traces([e.trace for e in examples], symbols))
    labels = torch.from_numpy(np.stack([e.labels for e in examples])).float()
    for epoch in range(epochs):
        losses = []
        for group in optimizer.param_groups:
            group["lr"] = _RATE * (1 - epoch / epochs) + 1e-4
        order = rng.permutation(len(examples))
        for first in range(0, len(order), 128):
            rows = order[first : first + 128]
            optimizer.zero_grad()
            z, predicted = network.roll(before[rows], start[rows], actions[rows], numbers[rows])
            with torch.no_grad():
                wanted = network.state_in(after[rows])
            known = ~labels[rows].isnan()
            error = (predicted - labels[rows].nan_to_num()) * known
            loss = (
                torch.nn.functional.huber_loss(error, torch.zeros_like(error), delta=0.25)
                + _CONSISTENCY * (_direction(z) - _direction(wanted)).square().mean()
            )
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for part in parts for p in part.parameters()], 1.0)
            optimizer.step()
            losses.append(float(loss.detach()))
        report({"epoch": epoch, "rollout_loss": float(np.mean(losses))})


def _direction(z: torch.Tensor) -> torch.Tensor:
    """A state without its scale, which could only grow where both ends are trained; [N, D]."""
    return torch.nn.functional.layer_norm(z, z.shape[1:])


@torch.inference_mode()
def _encoded(
    network: MlirNetwork, programs: Sequence[tuple[EncodedProgram, np.ndarray]], runs_column: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """(states [N, 2 D], labels [N, A + Q]) of programs as they are; the encoder does not change."""
    states, labels = [], []
    for first in range(0, len(programs), 256):
        batch = collate(programs[first : first + 256], runs_column)
        h = network.encode(batch)
        states.append(network.state(h, batch))
        labels.append(network.labels(h, batch))
    return torch.cat(states).clone(), torch.cat(labels).clone()
