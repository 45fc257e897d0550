"""Training of the latent model on measured trajectories: early stopping on other tasks, checkpoints, exact resume.

A step takes a few tasks, concatenated without padding.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foretune.costmodel.latent.checkpoint import Checkpoint
from foretune.costmodel.latent.encoding import collate
from foretune.costmodel.latent.ensemble import Ensemble
from foretune.costmodel.latent.labels import LabelledTask, group_by_task, label_task, pooled_width
from foretune.costmodel.latent.losses import LossConfig, batch_loss
from foretune.costmodel.latent.network import LatentNetwork, NetworkConfig
from foretune.costmodel.latent.trace_encoder import ScheduleTraces, TraceEncoder
from foretune.costmodel.metrics import MIN_TIMED, pairwise_accuracy, top_k_score
from foretune.errors import DataError, IllegalActionError, OptionError
from foretune.record import Trajectory

_log = logging.getLogger(__name__)
_MIN_STEPS = 8  # of an epoch
_FEW_TASKS = 30  # of which the held-out ones are worth more to the trees than as a control


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        epochs: passes over the data by each member, at most.
        patience: epochs without progress on the validation tasks after which training ends.
        learning_rate: peak, of a cosine schedule with warm-up.
        tasks_per_step: tasks whose losses are averaged in one step.
        trajectories_per_task: of a larger task, this many are drawn anew in each epoch.
        validation_share: share of the tasks held out if no validation tasks are given.
        seed: of weights, order and held-out tasks.
        network: sizes.
        losses: weights of the losses.
    """

    epochs: int = 16
    patience: int = 10
    learning_rate: float = 2e-3
    tasks_per_step: int = 8
    trajectories_per_task: int = 128
    validation_share: float = 0.1
    seed: int = 0
    network: NetworkConfig = field(default_factory=NetworkConfig)
    losses: LossConfig = field(default_factory=LossConfig)

    def __post_init__(self) -> None:
        if (
            min(self.epochs, self.patience, self.tasks_per_step) < 1
            or self.trajectories_per_task < 2
            or self.learning_rate <= 0
        ):
            raise OptionError(
                "epochs, patience, tasks_per_step, trajectories_per_task and learning_rate must be positive, but got"
                f" {self}"
            )
        if not 0 <= self.validation_share < 1:
            raise OptionError(f"`0 <= validation_share < 1` must hold, but got {self.validation_share}")


@dataclass(frozen=True)
class Trained:
    """The outcome of a training.

    Attributes:
        network: each member with the weights of its best epoch.
        history: one dict of figures for each epoch of each member.
        figures: of the ensemble on the validation tasks, see `validate`; before its trees see these tasks, where there
            are few.
        training_hash: a hash over the keys of the records that were trained on.
    """

    network: Ensemble
    history: list[dict[str, float]]
    figures: dict[str, float]
    training_hash: str


def train(
    trajectories: Sequence[Trajectory],
    config: TrainConfig = TrainConfig(),
    report: Callable[[dict[str, float]], None] = lambda figures: None,
    validation: Sequence[Trajectory] = (),
    checkpoint: Path | None = None,
    start: Ensemble | None = None,
    encoder: TraceEncoder = ScheduleTraces(),
) -> Trained:
    """Trains a latent model.

    Args:
        trajectories: measured, of many tasks.
        config: how.
        report: called with the figures of each epoch.
        validation: of other tasks, for early stopping; a share of the tasks is held out if there are none.
        checkpoint: a file that is written after each epoch, one more for each further member; if it is there, training
            goes on from it, exactly as if it had not been interrupted.
        start: trained networks to go on from in place (fine-tuning); they keep their vocabulary and sizes.
        encoder: of the domain.

    Raises:
        DataError: there is nothing to rank: no task has two timed trajectories that can be read.
        ModelError: the checkpoint is damaged, or of other data or another configuration.
    """
    groups = {k: v for k, v in group_by_task(trajectories).items() if sum(bool(t.record.run_secs) for t in v) >= 2}
    if not groups:
        raise DataError("training needs at least one task with two measured schedules")
    torch.manual_seed(config.seed)
    training_hash = _hash(
        t.record.trace.key + t.record.candidate.task.workload.hash for v in groups.values() for t in v
    )
    ensemble = _untrained(list(groups.values()), config, encoder) if start is None else start
    held_out = _labelled(group_by_task(validation).values(), ensemble, encoder)
    labelled = _labelled(groups.values(), ensemble, encoder)
    if not labelled:
        raise DataError(
            f"none of the {len(groups)} tasks has schedules that the model can read; the warnings above say why"
        )
    if not held_out:
        order = np.random.default_rng(config.seed).permutation(len(labelled))
        count = int(len(labelled) * config.validation_share)
        held_out, labelled = [labelled[i] for i in order[:count]], [labelled[i] for i in order[count:]]
    if start is None:
        _fit_scales(ensemble, labelled)
    history = []
    for i, network in enumerate(ensemble.members):
        member_config = replace(config, seed=config.seed + i)
        identity = _hash(
            [
                training_hash,
                json.dumps(asdict(member_config), sort_keys=True),
                str(i),
                "" if start is None else "fine-tuned",
            ]
        )
        path = checkpoint if checkpoint is None or i == 0 else checkpoint.with_name(f"{checkpoint.name}.{i}")
        history += _train_member(network, labelled, held_out or labelled, member_config, report, path, identity, i)
    if ensemble.trees is not None:
        if start is None:
            ensemble.trees.fit(labelled, config.seed)
        ensemble.weigh_trees(held_out or labelled)
    if ensemble.linear is not None:
        if start is None:
            ensemble.linear.fit(labelled)
        ensemble.calibrate(held_out or labelled)
    figures = validate(ensemble.eval(), held_out or labelled, config.losses.ties)
    if ensemble.trees is not None and ensemble.linear is None and start is None and len(labelled) < _FEW_TASKS:
        ensemble.trees.fit([*labelled, *held_out], config.seed)  # nothing stops them early: no task need be held back
    return Trained(ensemble, history, figures, training_hash)


def _labelled(groups: Iterable[Sequence[Trajectory]], ensemble: Ensemble, encoder: TraceEncoder) -> list[LabelledTask]:
    """Tasks as arrays; one of which no schedule can be read is left out, with a warning."""
    found = []
    for trajectories in groups:
        try:
            found.append(label_task(trajectories, ensemble.vocabulary, ensemble.config.final, encoder))
        except IllegalActionError as error:
            _log.warning("a task is left out of the training: %s", error)
    return found


def _train_member(
    network: LatentNetwork, labelled: Sequence[LabelledTask], held_out: Sequence[LabelledTask], config: TrainConfig,
    report: Callable[[dict[str, float]], None], checkpoint: Path | None, identity: str, member: int,
) -> list[dict[str, float]]:  # fmt: skip
    """Trains one network in place, to the weights of its best epoch; the figures of its epochs."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=1e-2, fused=True)
    steps = config.epochs * _steps_per_epoch(len(labelled), config)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=steps, pct_start=0.1)
    state = Checkpoint(network, optimizer, schedule, rng, identity)
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint)
    while len(state.history) < config.epochs and not state.is_stale(config.patience):
        loss = _epoch(network, labelled, optimizer, schedule, rng, config)
        figures = {
            "member": member,
            "epoch": len(state.history),
            "loss": loss,
            **validate(network, held_out, config.losses.ties),
        }
        state.add(figures, figures["top1"] + figures["top5"] + figures["pairwise"])
        if checkpoint is not None:
            state.save(checkpoint)
        report(figures)
    network.load_state_dict(state.best_weights)
    return state.history


def _untrained(groups: Sequence[list[Trajectory]], config: TrainConfig, encoder: TraceEncoder) -> Ensemble:
    vocabulary = encoder.vocabulary(
        (t.record.trace, v[0].record.candidate.task.workload.graph) for v in groups for t in v
    )
    vocabulary = replace(
        vocabulary, target_kinds=tuple(sorted({v[0].record.candidate.task.target.kind for v in groups}))
    )
    final = max((pooled_width(t) for v in groups for t in v), default=0)
    return Ensemble.untrained(vocabulary, replace(config.network, final=final), encoder.state_width(vocabulary))


def _fit_scales(ensemble: Ensemble, tasks: Sequence[LabelledTask]) -> None:
    hardware = np.stack([t.encoded.hardware for t in tasks])
    nests = np.concatenate([nest for t in tasks for nest in t.encoded.nests])
    for network in ensemble.members:
        network.fit_scales(hardware, nests, np.concatenate([t.final[t.observed] for t in tasks]))


def _steps_per_epoch(num_tasks: int, config: TrainConfig) -> int:
    """One pass over the tasks; over few tasks, several."""
    return max(_MIN_STEPS, -(-num_tasks // config.tasks_per_step))


def _epoch(
    network: LatentNetwork,
    tasks: Sequence[LabelledTask],
    optimizer,
    schedule,
    rng: np.random.Generator,
    config: TrainConfig,
) -> float:
    network.train()
    losses = []
    order: list[int] = []
    for _ in range(_steps_per_epoch(len(tasks), config)):
        if not order:
            order = rng.permutation(len(tasks)).tolist()
        chosen, order = order[: config.tasks_per_step], order[config.tasks_per_step :]
        optimizer.zero_grad()
        loss = batch_loss(network, [tasks[i].drawn(config.trajectories_per_task, rng) for i in chosen], config.losses)
        loss.backward()
        losses.append(float(loss.detach()))
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    network.eval()
    return float(np.mean(losses))


def validate(network: LatentNetwork | Ensemble, tasks: Sequence[LabelledTask], ties: bool = False) -> dict[str, float]:
    """Mean top-1 and top-5 score and pairwise accuracy over tasks that have enough timed trajectories, in the latter
    without ties, where asked; higher is better.
    """
    rows = []
    with torch.inference_mode():
        for task in tasks:
            timed = np.isfinite(task.relative)
            if timed.sum() >= MIN_TIMED:
                scores = network.score(network(collate([task.encoded]))).mean(1).double().numpy()[timed]
                secs = np.exp(-task.relative[timed])
                pairwise = pairwise_accuracy(scores, secs, task.tie if ties else 0.0)
                rows.append((top_k_score(scores, secs, 1), top_k_score(scores, secs, 5), pairwise))
    top1, top5, pairwise = np.nanmean(rows, 0) if rows else (1.0, 1.0, 0.5)
    return {"top1": float(top1), "top5": float(top5), "pairwise": float(pairwise)}


def _hash(texts: Any) -> str:
    return hashlib.sha256("".join(sorted(texts)).encode()).hexdigest()[:16]
