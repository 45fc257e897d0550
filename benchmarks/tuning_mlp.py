"""TVM's MLPModel, made to work; imported only where it is used, because TVM's module needs PyTorch.

As shipped (TVM 0.27), `MLPModel()` ends a tuning after its first batch. It holds a fifth of the *tasks* out for
testing, a fifth of one is none, and `np.concatenate` refuses an empty list ("need at least one array to concatenate").
It passes `verbose` to PyTorch's StepLR, which 2.13 does not take. It fails on a batch without candidates, as small
design spaces have when they are exhausted, and where a single one is left over when candidates are divided into batches
of 128.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
from torch.optim import lr_scheduler
from tvm.s_tir.meta_schedule.cost_model.mlp_model import MLPModel, SegmentSumMLPTrainer

_PARTS = 5


class _StepLR(lr_scheduler.StepLR):
    """Takes the option that PyTorch has removed."""

    def __init__(self, *args: Any, verbose: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)


class PartsTrainer(SegmentSumMLPTrainer):
    """Keeps a task's candidates as five groups in turn, so that one of them is held out; speeds stay relative to the
    task's best.
    """

    def update(self, features: list[np.ndarray], costs: np.ndarray, group_hash: str) -> None:
        """Adds measured candidates and trains again, by TVM's own rule."""
        if not len(costs):
            return
        for part in range(_PARTS):
            if len(costs[part::_PARTS]):
                self.state.add_to_group(features[part::_PARTS], costs[part::_PARTS], f"{group_hash}/{part}")
        groups = [group for key, group in self.state.data.items() if key.startswith(f"{group_hash}/")]
        best = min(float(np.min(group.costs)) for group in groups)
        for group in groups:
            group.min_cost = best
        self.predict_incremental(features, costs)
        if self.state.untrained_size / self.state.data_size > 0.2 and len(groups) == _PARTS:
            with mock.patch.object(lr_scheduler, "StepLR", _StepLR):
                self.train_full()
        else:
            self.train_incremental(features, costs)


def make_mlp_model() -> MLPModel:
    """The model with its untrained weights."""
    trainer = PartsTrainer()
    trainer.state.model.register_forward_hook(
        lambda network, inputs, scores: scores.reshape(-1)
    )  # of a single one, TVM drops the axis
    return MLPModel(trainer=trainer)
