"""`foretune train`: a data set into a file of weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from foretune.costmodel.latent import LatentCostModel
from foretune.costmodel.training import TrainConfig, train
from foretune.datasets.store import RecordStore


def train_and_save(data: Path, out: Path, epochs: int = 40, seed: int = 0) -> dict[str, Any]:
    """Trains on all records of a data set and writes the weights of the best epoch.

    Returns:
        Figures of the best epoch on held-out tasks.
    """
    with RecordStore(data) as store:
        trajectories = list(store.trajectories())
    trained = train(trajectories, TrainConfig(epochs=epochs, seed=seed), _print_epoch)
    LatentCostModel(trained.network, trained.training_hash).save(out)
    return max(trained.history, key=lambda figures: figures["top1"] + figures["pairwise"])


def _print_epoch(figures: dict[str, float]) -> None:
    print("  ".join(f"{name} {value:.4g}" for name, value in figures.items()), file=sys.stderr)
