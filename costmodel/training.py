"""Training of the latent model on measured trajectories.

A step takes a few tasks, concatenated without padding. The loss ranks within the task (pairwise logistic, weighted towards the fast end
in the manner of LambdaRank: Burges, From RankNet to LambdaRank to LambdaMART, 2010), regresses the
logarithm of relative speed, and predicts legality.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from foretune.costmodel.encoding import EncodedTask, Vocabulary, collate, encode_graph, encode_hardware, encode_space, observed_space
from foretune.costmodel.network import LatentNetwork, NetworkConfig
from foretune.errors import DataError, OptionError
from foretune.record import Status, Trajectory

_MIN_RANKABLE = 8  # tasks with fewer timed schedules say little of a ranking


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Attributes:
        epochs: passes over the data.
        learning_rate: peak, of a cosine schedule with warm-up.
        tasks_per_step: tasks whose losses are averaged in one step.
        validation_share: share of the tasks held out for early stopping.
        seed: of weights, order and held-out tasks.
        network: sizes.
    """

    epochs: int = 20
    learning_rate: float = 2e-3
    tasks_per_step: int = 8
    validation_share: float = 0.1
    seed: int = 0
    network: NetworkConfig = NetworkConfig()

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.tasks_per_step < 1 or self.learning_rate <= 0:
            raise OptionError(f"epochs, tasks_per_step and learning_rate must be positive, but got {self}")
        if not 0 <= self.validation_share < 1:
            raise OptionError(f"`0 <= validation_share < 1` must hold, but got {self.validation_share}")


@dataclass(frozen=True)
class Trained:
    """The outcome of a training.

    Attributes:
        network: weights of the best epoch.
        history: one dict of figures for each epoch.
        training_hash: a hash over the keys of the records that were trained on.
    """

    network: LatentNetwork
    history: list[dict[str, float]]
    training_hash: str


@dataclass(frozen=True)
class LabelledTask:
    """All trajectories of one task, encoded, with what was measured; N trajectories.

    Attributes:
        encoded: program and steps.
        relative: [N] log of (best time / time), at most 0; NaN where there is no time.
        legal: [N] 1 where the program could be built and run.
    """

    encoded: EncodedTask
    relative: np.ndarray
    legal: np.ndarray


def group_by_task(trajectories: Iterable[Trajectory]) -> dict[tuple[str, str], list[Trajectory]]:
    """Trajectories by task key; default schedules (empty traces) are left out."""
    groups: dict[tuple[str, str], list[Trajectory]] = defaultdict(list)
    for trajectory in trajectories:
        if len(trajectory.record.trace):
            groups[trajectory.record.candidate.task.key].append(trajectory)
    return dict(groups)


def label_task(trajectories: Sequence[Trajectory], vocabulary: Vocabulary) -> LabelledTask:
    """Encodes the trajectories of one task."""
    task = trajectories[0].record.candidate.task
    rows_of: dict[str, list[int]] = defaultdict(list)
    for i, trajectory in enumerate(trajectories):
        rows_of[trajectory.record.trace.space_id].append(i)
    tables, ids, nests = [], [], []
    for rows in rows_of.values():
        space, points = observed_space([trajectories[i].record.trace for i in rows])
        encoded = encode_space(space, task.workload.graph, vocabulary)
        tables.append(encoded.table)
        ids.append(encoded.ids(points))
        nests.append(encoded.nest.features(points))
    records = [trajectories[i].record for rows in rows_of.values() for i in rows]
    secs = np.array([r.best_secs if r.status is Status.OK else np.nan for r in records])
    relative = np.log(np.nanmin(secs) / secs) if np.isfinite(secs).any() else secs
    legal = np.array([r.status in (Status.OK, Status.WRONG_OUTPUT) for r in records], np.float32)
    graph = encode_graph(task.workload.graph, vocabulary)
    return LabelledTask(EncodedTask(graph, encode_hardware(task.target.hardware), tuple(tables), tuple(ids), tuple(nests)), relative, legal)


def ranking_loss(scores: torch.Tensor, relative: torch.Tensor) -> torch.Tensor:
    """Pairwise logistic loss; pairs weigh more the further apart they are and the faster the faster one is.

    Args:
        scores: [N, K] higher is better.
        relative: [N] log of relative speed, at most 0.
    """
    difference = relative[:, None] - relative[None, :]  # [N, N]
    weight = difference.clamp(min=0, max=1.0) * torch.exp(relative / 2)[:, None]
    loss = F.softplus(-(scores[:, None, :] - scores[None, :, :]))  # [N, N, K]
    return (loss * weight.unsqueeze(2)).sum() / (weight.sum().clamp(min=1e-6) * scores.shape[1])


def task_loss(scores: torch.Tensor, legality: torch.Tensor, task: LabelledTask) -> torch.Tensor:
    """The training loss of one task, from its scores [N, K] and legality logits [N]."""
    loss = 0.2 * F.binary_cross_entropy_with_logits(legality, torch.from_numpy(task.legal))
    timed = np.flatnonzero(np.isfinite(task.relative))
    if len(timed) >= 2:
        relative = torch.from_numpy(task.relative[timed]).float()
        scores = scores[torch.from_numpy(timed)]
        centred = scores - scores.mean(0)
        loss = loss + ranking_loss(scores, relative) + 0.3 * F.smooth_l1_loss(centred, (relative - relative.mean())[:, None].expand_as(centred))
    return loss


def batch_loss(network: LatentNetwork, tasks: Sequence[LabelledTask]) -> torch.Tensor:
    """Mean loss of several tasks."""
    scores, legality = network(collate([t.encoded for t in tasks]))
    sizes = [len(t.relative) for t in tasks]
    parts = zip(scores.split(sizes), legality.split(sizes), tasks)
    return torch.stack([task_loss(s, g, t) for s, g, t in parts]).mean()


def top_k_score(scores: np.ndarray, relative: np.ndarray, k: int) -> float:
    """Best time over best time among the k ranked highest; 1 is perfect."""
    timed = np.isfinite(relative)
    scores, relative = scores[timed], relative[timed]
    return float(np.exp(relative[np.argsort(-scores, kind="stable")[:k]].max() - relative.max())) if len(relative) else 1.0


def train(
    trajectories: Sequence[Trajectory], config: TrainConfig = TrainConfig(), report: Callable[[dict[str, float]], None] = lambda figures: None
) -> Trained:
    """Trains a latent model.

    Args:
        trajectories: measured, of many tasks.
        config: how.
        report: called with the figures of each epoch.

    Raises:
        DataError: there is nothing to rank: no task has two timed trajectories.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    groups = group_by_task(trajectories)
    usable = {k: v for k, v in groups.items() if sum(t.record.status is Status.OK for t in v) >= 2}
    if not usable:
        raise DataError("training needs at least one task with two measured schedules")
    graphs = [v[0].record.candidate.task.workload.graph for v in usable.values()]
    representative = {(k, t.record.trace.space_id): (t.record.trace, t.record.candidate.task.workload.graph) for k, v in usable.items() for t in v}
    vocabulary = Vocabulary.of(graphs, representative.values())
    network = LatentNetwork(vocabulary, config.network)
    batches = [label_task(v, vocabulary) for v in usable.values()]
    order = rng.permutation(len(batches))
    held_out = int(len(batches) * config.validation_share)
    validation, training = [batches[i] for i in order[:held_out]], [batches[i] for i in order[held_out:]]

    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    steps_per_epoch = -(-len(training) // config.tasks_per_step)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.epochs * steps_per_epoch, pct_start=0.1)
    history: list[dict[str, float]] = []
    best, best_state = -np.inf, None
    for epoch in range(config.epochs):
        network.train()
        total = 0.0
        shuffled = rng.permutation(len(training))
        for start in range(0, len(training), config.tasks_per_step):
            chosen = shuffled[start : start + config.tasks_per_step]
            optimizer.zero_grad()
            loss = batch_loss(network, [training[i] for i in chosen])
            loss.backward()
            total += float(loss.detach()) * len(chosen)
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        network.eval()
        figures = {"epoch": epoch, "loss": total / len(training), **evaluate_batches(network, validation or training)}
        history.append(figures)
        report(figures)
        if figures["top1"] + figures["pairwise"] > best:
            best, best_state = figures["top1"] + figures["pairwise"], {k: v.clone() for k, v in network.state_dict().items()}
    network.load_state_dict(best_state)
    keys = sorted(t.record.trace.key + t.record.candidate.task.workload.hash for v in usable.values() for t in v)
    return Trained(network, history, hashlib.sha256("".join(keys).encode()).hexdigest()[:16])


def evaluate_batches(network: LatentNetwork, tasks: Sequence[LabelledTask]) -> dict[str, float]:
    """Mean top-1 and top-5 score and pairwise accuracy over tasks; higher is better."""
    top1, top5, pairwise = [], [], []
    with torch.inference_mode():
        for task in tasks:
            scores = network(collate([task.encoded]))[0].mean(1).numpy()
            timed = np.isfinite(task.relative)
            if timed.sum() < _MIN_RANKABLE:
                continue
            top1.append(top_k_score(scores, task.relative, 1))
            top5.append(top_k_score(scores, task.relative, 5))
            s, r = scores[timed], task.relative[timed]
            apart = r[:, None] - r[None, :] > 0.01
            if apart.any():
                pairwise.append(float((s[:, None] > s[None, :])[apart].mean()))
    if not top1:
        return {"top1": 1.0, "top5": 1.0, "pairwise": 0.5}
    return {"top1": float(np.mean(top1)), "top5": float(np.mean(top5)), "pairwise": float(np.mean(pairwise or [0.5]))}
