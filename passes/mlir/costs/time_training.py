"""Training and scoring of the model of time on the exact counts of collected samples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foretune.costmodel.metrics import spearman
from foretune.costmodel.mlir.structure import structure_features
from foretune.costmodel.mlir.time_model import COUNTS, CountedProgram, MlirTimeModel, TimeConfig, train_time
from foretune.passes.mlir.costs.observe import Observation
from foretune.passes.mlir.costs.training import Split, load_split, targets
from foretune.passes.mlir.graph.features import STATEMENT_FEATURES


@dataclass(frozen=True)
class TimeTraining:
    """The outcome.

    Attributes:
        model: trained.
        figures: of the test programs: `spearman`, `rel_rmse`, `median` relative error, `within_1`, the share within the
            stated deviation.
    """

    model: MlirTimeModel
    figures: dict[str, float]


def counted(observed: Sequence[Observation]) -> tuple[list[CountedProgram], np.ndarray]:
    """Samples whose counts are complete, as they were given, and their seconds."""
    kept = [o for o in observed if o.stage == "given" and all(name in o.labels for name in (*COUNTS, "secs"))]
    programs = [
        CountedProgram(o.labels, structure_features(o.program, STATEMENT_FEATURES), t)
        for o, t in zip(kept, targets(kept))
    ]
    return programs, np.array([o.labels["secs"] for o in kept])


def train(folder: Path, config: TimeConfig = TimeConfig()) -> TimeTraining:
    """Trains on the folder's training programs, with the split of `training.load_split`.

    Raises:
        DataError: there are none.
    """
    split = load_split(folder)
    programs, secs = counted(split.train)
    digest = hashlib.sha256("".join(sorted(f"{o.sample.key}" for o in split.train)).encode()).hexdigest()[:16]
    model = train_time(programs, secs, *counted(split.validation), config, digest)
    return TimeTraining(model, score_time(model, split))


def score_time(model: MlirTimeModel, split: Split) -> dict[str, float]:
    """Errors on the test programs."""
    programs, secs = counted(split.test)
    mean, deviation = model.predict(programs)
    relative = np.exp(mean) / secs - 1
    return {
        "programs": float(len(secs)),
        "spearman": spearman(mean, np.log(secs)),
        "rel_rmse": float(np.sqrt(np.mean(np.square(relative)))),
        "median": float(np.median(np.abs(relative))),
        "within_1": float(np.mean(np.abs(mean - np.log(secs)) <= deviation)),
        "within_90": float(np.mean(np.abs(mean - np.log(secs)) <= 1.645 * deviation)),
    }
