"""The losses of the latent model.

- ranking within a task: pairwise logistic, pairs weighted towards the fast end in the manner of LambdaRank (Burges,
  From RankNet to LambdaRank to LambdaMART, 2010)
- regression of the logarithm of relative speed
- legality
- consistency: rollouts shall end where the encoding of the program that the trace really produced is (latent
  consistency of Hansen, Su and Wang, TD-MPC2, 2024); that encoding learns to rank beside them
- feature prediction: the end of a rollout shall tell the static features of the final program

Dimension letters: N trajectories, K heads, D latent, F static features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch.nn import functional as F

from foretune.costmodel.latent.encoding import collate
from foretune.costmodel.latent.labels import LabelledTask
from foretune.costmodel.latent.network import LatentNetwork
from foretune.errors import OptionError


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses beside ranking, whose weight is 1.

    Attributes:
        regression, legality, consistency, prediction: weights.
        focus: how much more pairs weigh in the ranking, the faster the faster one is: with this power of its relative
            speed.
        ties: whether pairs whose times differ by no more than noise are ties, which teach nothing of the ranking.
    """

    regression: float = 0.3
    legality: float = 0.2
    consistency: float = 0.5
    prediction: float = 0.2
    focus: float = 1.0
    ties: bool = False

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not 0 <= value < float("inf"):
                raise OptionError(f"`{name} >= 0` must hold, but got {name}={value}")


def batch_loss(
    network: LatentNetwork, tasks: Sequence[LabelledTask], config: LossConfig = LossConfig()
) -> torch.Tensor:
    """Mean loss of several tasks."""
    features = network(collate([t.encoded for t in tasks]))
    sizes = [len(t.relative) for t in tasks]
    parts = zip(network.score(features).split(sizes), network.legality(features).split(sizes), tasks)
    loss = torch.stack([_task_loss(s, g, t, config) for s, g, t in parts]).mean()
    observed = torch.from_numpy(np.concatenate([t.observed for t in tasks]))
    if network.config.final and config.consistency + config.prediction > 0 and observed.any():
        final = torch.from_numpy(np.concatenate([t.final for t in tasks]))
        loss = loss + _final_loss(network, features, final, observed, tasks, config)
    return loss


def _task_loss(scores: torch.Tensor, legality: torch.Tensor, task: LabelledTask, config: LossConfig) -> torch.Tensor:
    loss = config.legality * F.binary_cross_entropy_with_logits(legality, torch.from_numpy(task.legal))
    return loss + _speed_loss(scores, task.relative, config, task.tie)


def _speed_loss(scores: torch.Tensor, relative: np.ndarray, config: LossConfig, tie: float) -> torch.Tensor:
    timed = np.flatnonzero(np.isfinite(relative))
    if len(timed) < 2:
        return scores.sum() * 0.0
    target = torch.from_numpy(relative[timed]).float()
    scores = scores[torch.from_numpy(timed)]
    centred = scores - scores.mean(0)
    regression = F.smooth_l1_loss(centred, (target - target.mean())[:, None].expand_as(centred))
    ranking = ranking_loss(scores, target, config.focus, tie if config.ties else 0.0)
    return ranking + config.regression * regression


def _final_loss(
    network: LatentNetwork,
    features: torch.Tensor,
    final: torch.Tensor,
    observed: torch.Tensor,
    tasks: Sequence[LabelledTask],
    config: LossConfig,
) -> torch.Tensor:
    ended = network.final_features(final)  # [N, D]
    scores = network.score(ended).split([len(t.relative) for t in tasks])
    known = [np.where(t.observed, t.relative, np.nan) for t in tasks]
    teacher = torch.stack([_speed_loss(s, r, config, t.tie) for s, r, t in zip(scores, known, tasks)]).mean()
    consistency = 1 - F.cosine_similarity(network.agree(features[observed]), ended[observed].detach()).mean()
    prediction = F.smooth_l1_loss(network.final_out(features[observed]), network.standardised(final[observed]))
    return config.consistency * (teacher + consistency) + config.prediction * prediction


def ranking_loss(scores: torch.Tensor, relative: torch.Tensor, focus: float, tie: float = 0.0) -> torch.Tensor:
    """Pairwise logistic loss; pairs weigh more the further apart they are and the faster the faster one is.

    Args:
        scores: [N, K] higher is better.
        relative: [N] log of relative speed, at most 0.
        focus: see `LossConfig`.
        tie: pairs that differ by less weigh nothing.
    """
    difference = relative[:, None] - relative[None, :]  # [N, N]
    weight = difference.clamp(min=0, max=1.0) * torch.exp(focus * relative)[:, None]
    weight = weight * (difference >= tie)
    loss = F.softplus(-(scores[:, None, :] - scores[None, :, :]))  # [N, N, K]
    return (loss * weight.unsqueeze(2)).sum() / (weight.sum().clamp(min=1e-6) * scores.shape[1])
