"""`foretune train` and `foretune evaluate`: cost models from data sets, and what they are worth."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import operator
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from foretune.costmodel.evaluation import registry
from foretune.costmodel.evaluation.evaluation import EvaluationConfig, EvaluationReport, evaluate
from foretune.costmodel.evaluation.folds import evaluate_folds
from foretune.costmodel.evaluation.sweep import Setting, configured
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.training import train
from foretune.datasets.records.split import Split, make_split
from foretune.datasets.records.store import BUNDLED, RecordStore
from foretune.errors import DataError, OptionError
from foretune.record import Trajectory
from foretune.support.optional import require

_FEW_TASKS = 5  # of a test part
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRun:
    """What to train, on what.

    Attributes:
        data: folders of data sets; their splits tell what to train on.
        out: file of the weights.
        model: a name of `foretune.costmodel.evaluation.registry`.
        epochs: passes over the data at most; the model's own number by default. Only of the latent model.
        seed: of weights and order.
        share: share of the training records to train on.
        start: weights to go on from (fine-tuning), for instance those of another target. Only of the latent model.
        checkpoint: file to keep the state in after each epoch; training goes on from it. Only of the latent model.
        tensorboard: folder for TensorBoard logs. Only of the latent model.
        skip_damaged: train on what can be read.
        settings: of the training that differ from the model's own. Only of the latent model.
    """

    data: tuple[Path, ...]
    out: Path
    model: str = "latent"
    epochs: int | None = None
    seed: int = 0
    share: float = 1.0
    start: Path | None = None
    checkpoint: Path | None = None
    tensorboard: Path | None = None
    skip_damaged: bool = False
    settings: tuple[Setting, ...] = ()

    def __post_init__(self) -> None:
        registry.model_class(self.model)
        if not 0 < self.share <= 1:
            raise OptionError(f"`0 < share <= 1` must hold, but got share={self.share}")
        if self.epochs is not None and self.epochs < 1:
            raise OptionError(f"`epochs >= 1` must hold, but got epochs={self.epochs}")
        only_latent = [
            name for name in ("epochs", "start", "checkpoint", "tensorboard") if getattr(self, name) is not None
        ]
        only_latent += ["settings"] if self.settings else []
        if self.model != "latent" and only_latent:
            raise OptionError(
                f"{', '.join(only_latent)} can only be set for the latent model, but got model={self.model!r}"
            )


def run_training(run: TrainingRun) -> dict[str, Any]:
    """Trains a model and writes it.

    Returns:
        `{"model", "num_records", "num_validation_records", "secs"}`, and for the latent model `top1, top5, pairwise` on
        the validation tasks and `epochs`, those of all members together.
    """
    training, validation = _parts(run)
    start = time.perf_counter()
    figures: dict[str, Any] = {}
    if run.model == "latent":
        figures = _train_latent(run, training, validation)
    else:
        model = registry.make(run.model, run.seed)
        model.fit(training, validation)
        model.save(run.out)
    secs = time.perf_counter() - start
    return {
        "model": run.model,
        "num_records": len(training),
        "num_validation_records": len(validation),
        "secs": round(secs, 1),
        **figures,
    }


def _parts(run: TrainingRun) -> tuple[list[Trajectory], list[Trajectory]]:
    training: list[Trajectory] = []
    validation: list[Trajectory] = []
    for folder in run.data:
        with RecordStore(folder, skip_damaged=run.skip_damaged) as store:
            split = split_of(store)
            training.extend(store.trajectories(split.train))
            validation.extend(store.trajectories(split.validation))
    if run.share < 1:
        kept = np.random.default_rng(run.seed).random(len(training)) < run.share
        training = [t for t, keep in zip(training, kept) if keep]
    return training, validation


def split_of(store: RecordStore) -> Split:
    """The split beside the data, or else the one that `foretune data split` would make."""
    split = store.split()
    if split is None:
        _log.warning("%s has no split.json; workloads are split as `foretune data split` would do it", store.path)
        split = make_split({key: w.family for key, w in store.workloads().items()})
    return split


def _train_latent(run: TrainingRun, training: list[Trajectory], validation: list[Trajectory]) -> dict[str, Any]:
    config = configured(LatentCostModel.default_config(run.seed), run.settings)
    if run.epochs is not None:
        config = replace(config, epochs=run.epochs)
    network = None
    if run.start is not None:
        network = LatentCostModel.load(run.start).network
        config = replace(config, learning_rate=config.learning_rate / 4)
    with _epoch_log(run.tensorboard) as log:
        trained = train(training, config, log, validation, run.checkpoint, network)
    LatentCostModel(trained.network, trained.training_hash).save(run.out)
    return trained.figures | {"epochs": len(trained.history)}


@contextlib.contextmanager
def _epoch_log(folder: Path | None) -> Iterator:
    writer = None
    if folder is not None:
        require("tensorboard", "a log of the training")
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(folder)

    def log(figures: dict[str, float]) -> None:
        print("  ".join(f"{name} {value:.4g}" for name, value in figures.items()), file=sys.stderr)
        if writer is not None:
            for name, value in figures.items():
                writer.add_scalar(f"member {int(figures['member'])}/{name}", value, int(figures["epoch"]))

    try:
        yield log
    finally:
        if writer is not None:
            writer.close()


def run_evaluation(data: Sequence[Path], config: EvaluationConfig, folds: int = 0) -> EvaluationReport:
    """Trains and scores models on data sets.

    On the bundled data the latent model's weights are the bundled ones, which were trained on its training split; the
    others are trained.

    Args:
        data: folders of data sets; by default the bundled one of one thread.
        config: models and settings.
        folds: test each workload once, in so many folds; 0 tests the test part of the split.
    """

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    if folds:
        return evaluate_folds(read_together(data or (BUNDLED,))[0], folds, config, say)
    if not data and "latent" in config.models and "latent" not in config.weights:
        config = replace(config, weights={**config.weights, "latent": LatentCostModel.bundled_path()})
    report = evaluate(*read_together(data or (BUNDLED,)), config, say)
    if (num_tasks := report.data["num_ranked_test_tasks"]) < _FEW_TASKS:
        _log.warning("%d test tasks say little of a model; `--folds 5` tests every workload once", num_tasks)
    return report


def read_calls(path: Path) -> dict[str, float]:
    """Calls of workloads in one run of a network, from a JSON file `{hash: calls}`.

    Raises:
        DataError: the file cannot be read, or is something else.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict) or not all(type(calls) in (int, float) for calls in found.values()):
        raise DataError(f"{path} must be a JSON object of hashes of workloads and numbers of calls")
    return {str(workload): float(calls) for workload, calls in found.items()}


def read_together(folders: Sequence[Path]) -> tuple[list[Trajectory], Split]:
    """Trajectories and split of several data sets as if they were one.

    Raises:
        DataError: their splits disagree on a workload.
    """
    trajectories: list[Trajectory] = []
    splits: list[Split] = []
    for folder in folders:
        with RecordStore(folder) as store:
            splits.append(split_of(store))
            trajectories.extend(store.trajectories())
    return trajectories, functools.reduce(operator.or_, splits)
