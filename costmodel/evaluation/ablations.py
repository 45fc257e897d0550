"""The latent model with one part left out: what is each part worth?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from foretune.costmodel.base import StaticCostModel
from foretune.costmodel.latent.ensemble import Ensemble
from foretune.costmodel.latent.labels import pooled_width
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.store_features import pool_stores
from foretune.costmodel.latent.training import TrainConfig
from foretune.errors import ModelError
from foretune.record import Trajectory
from foretune.task import Candidate, Task


class _Ablation(LatentCostModel):
    """A latent model whose training differs in a few settings."""

    network_settings: Mapping[str, bool | int] = {}
    loss_weights: Mapping[str, float] = {}

    @classmethod
    def default_config(cls, seed: int) -> TrainConfig:
        """How `fit` trains."""
        config = super().default_config(seed)
        return replace(
            config,
            network=replace(config.network, **cls.network_settings),
            losses=replace(config.losses, **cls.loss_weights),
        )


class NoDynamics(_Ablation):
    """A bag of actions beside the unscheduled program: the state is never stepped, neither the learned nor the symbolic
    part.
    """

    name = "latent_no_dynamics"
    network_settings: Mapping[str, bool] = {"dynamics": False, "symbolic": False}


class NoTransition(_Ablation):
    """The learned part of the state is never stepped; the symbolic part is."""

    name = "latent_no_transition"
    network_settings: Mapping[str, bool] = {"dynamics": False}


class NoSymbols(_Ablation):
    """The learned part of the state alone: no symbolic part, and no trees, which read nothing else."""

    name = "latent_no_symbols"
    network_settings: Mapping[str, bool] = {"symbolic": False}


class NoProgram(_Ablation):
    """Blind to the program: neither its graph nor what follows from its loops."""

    name = "latent_no_program"
    network_settings: Mapping[str, bool] = {"program": False}


class NoHardware(_Ablation):
    """Blind to the hardware's features."""

    name = "latent_no_hardware"
    network_settings: Mapping[str, bool] = {"hardware": False}


class NoConsistency(_Ablation):
    """Trained without looking at the programs that traces produced."""

    name = "latent_no_consistency"
    loss_weights: Mapping[str, float] = {"consistency": 0.0, "prediction": 0.0}


class NoTrees(_Ablation):
    """Without the boosted trees beside the networks."""

    name = "latent_no_trees"
    trained_as = "latent"  # networks and trees are trained apart
    network_settings: Mapping[str, bool | int] = {"trees": 0}

    @classmethod
    def load(cls, path: Path) -> NoTrees:
        """Reads what `save` wrote, or the networks of a latent model."""
        whole = super().load(path)
        members = list(whole.network.members)
        for member in members:
            member.config = replace(member.config, trees=0)
        return cls(Ensemble(members), whole.training_hash)


class Snapshot(StaticCostModel):
    """A static snapshot: the latent model's encoding of the finished program, without a trajectory."""

    name = "latent_snapshot"
    trained_as = "latent"

    def __init__(self, latent: LatentCostModel | None = None, seed: int = 0) -> None:
        self._latent = latent if latent is not None else LatentCostModel(seed=seed)

    @property
    def settings(self) -> str:
        """Those of the latent model."""
        return self._latent.settings

    def fit(self, trajectories: Sequence[Trajectory], validation: Sequence[Trajectory] = ()) -> None:
        """Trains the latent model, whose teacher this is."""
        if not any(pooled_width(t) for t in trajectories):
            raise ModelError(f"the {self.name} model needs features of final programs, which the data does not have")
        self._latent.fit(trajectories, validation)

    def predict(self, task: Task, candidates: Sequence[Candidate]) -> np.ndarray:
        """Scores candidates by their final programs; [N] float64, minus infinity where there is none."""
        network = self._latent.network
        finals = self.featurize(task, candidates)
        scores = np.full(len(candidates), -np.inf)
        known = [i for i, final in enumerate(finals) if len(final)]
        if known:
            with torch.inference_mode():
                features = network.final_features(torch.from_numpy(pool_stores([finals[i] for i in known])))
                scores[known] = network.score(features).mean(1).double().numpy()
        return scores

    def save(self, path: Path) -> None:
        """Writes the latent model."""
        self._latent.save(path)

    @classmethod
    def load(cls, path: Path) -> Snapshot:
        """Reads what `save` wrote."""
        return cls(LatentCostModel.load(path))
