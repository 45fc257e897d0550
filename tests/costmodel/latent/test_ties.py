"""Pairs whose times differ by no more than noise teach nothing of the ranking."""

from __future__ import annotations

import torch

from foretune.costmodel.latent.losses import LossConfig, ranking_loss
from foretune.costmodel.passes.model import PassCostModel


def gradient(tie: float) -> list[float]:
    scores = torch.zeros((3, 1), requires_grad=True)
    ranking_loss(scores, torch.tensor([0.0, -0.01, -0.5]), 1.0, tie).backward()
    assert scores.grad is not None
    return scores.grad[:, 0].tolist()


def test_a_tie_has_no_gradient_of_its_own():
    exact, tied = gradient(0.0), gradient(0.05)
    assert exact[0] < exact[1] < 0 < exact[2] and tied[0] < 0 and tied[1] < 0 < tied[2]
    alone = torch.zeros((2, 1), requires_grad=True)
    ranking_loss(alone, torch.tensor([0.0, -0.01]), 1.0, 0.05).backward()
    assert alone.grad is not None and alone.grad.abs().sum() == 0


def test_passes_are_trained_without_them():
    assert PassCostModel.default_config(0).losses.ties and not LossConfig().ties
