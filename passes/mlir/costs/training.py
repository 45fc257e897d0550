"""Training and scoring of the MLIR cost model on collected samples.

Programs are split by the text of the program that they came from: 80 % train, 10 % choose the epoch and calibrate, 10 %
are never looked at. A scheduled program is on the side of the program that was scheduled.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foretune.costmodel.metrics import spearman
from foretune.costmodel.mlir.actions import NUM_NUMBERS, symbol
from foretune.costmodel.mlir.correction import Columns, CorrectionConfig, MlirCorrection, gather
from foretune.costmodel.mlir.correction import train_correction as correct
from foretune.costmodel.mlir.labels import to_scale
from foretune.costmodel.mlir.model import MlirCostModel
from foretune.costmodel.mlir.network import LABELS, MlirNetworkConfig
from foretune.costmodel.mlir.rollouts import RolloutExample, train_rollouts
from foretune.costmodel.mlir.target import NUM_TARGET_FEATURES, MlirTarget, known_target
from foretune.costmodel.mlir.training import MlirExample, MlirTrainConfig, train_member
from foretune.errors import DataError
from foretune.passes.mlir.costs.observe import Observation, observations
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.graph.features import STATEMENT_FEATURES
from foretune.passes.mlir.programs.generator import generate

_VALIDATION, _TEST = 10, 10  # per cent of the programs
_RUNS = STATEMENT_FEATURES.index("log_runs")
_MIN_EXECUTED = (
    40  # instructions: some programs in two hundred turn out to do nothing, and LLVM leaves little but a return
)
_SHARES = ("vector_share", "dynamic_vector_share")


@dataclass(frozen=True)
class Split:
    """Observations by side.

    Attributes:
        train, validation, test: of different programs.
    """

    train: list[Observation] = field(default_factory=list)
    validation: list[Observation] = field(default_factory=list)
    test: list[Observation] = field(default_factory=list)


@dataclass(frozen=True)
class MlirTraining:
    """The outcome of a training.

    Attributes:
        model: the ensemble.
        figures: of the test programs, by stage; see `score`.
    """

    model: MlirCostModel
    figures: dict[str, Any]


def load_split(folder: Path) -> Split:
    """The observations of a folder, by side, but for programs of which LLVM leaves next to nothing.

    Raises:
        DataError: there are none.
    """
    split, sides = Split(), {}
    for observation in observations(folder):
        if observation.labels.get("dynamic_instructions", 0.0) < _MIN_EXECUTED:
            continue
        key = (observation.sample.family, observation.sample.seed)
        if key not in sides:
            sides[key] = int(hashlib.sha256(generate(*key).text.encode()).hexdigest()[:8], 16) % 100
        side = (
            split.test if sides[key] < _TEST else split.validation if sides[key] < _TEST + _VALIDATION else split.train
        )
        side.append(observation)
    if not split.train:
        raise DataError(f"{folder} has no labelled programs to train on")
    return split


def targets(observed: Sequence[Observation]) -> list[MlirTarget]:
    """The processors that samples were compiled for, in the machine that labelled them; in this one, if nobody said
    which.
    """
    made = {
        (cpu, hardware): known_target(cpu, hardware) for cpu, hardware in {(o.sample.cpu, o.hardware) for o in observed}
    }
    return [made[o.sample.cpu, o.hardware] for o in observed]


def examples(observed: Sequence[Observation]) -> list[MlirExample]:
    """Observations as training examples."""
    return [MlirExample(o.program, t.features, to_scale(o.labels)) for o, t in zip(observed, targets(observed))]


def train(
    folder: Path,
    config: MlirTrainConfig = MlirTrainConfig(),
    report: Callable[[dict[str, float]], None] = lambda figures: None,
    budget_secs: float = math.inf,
    start: MlirCostModel | None = None,
) -> MlirTraining:
    """Trains an ensemble on a folder of samples, its rollouts, and calibrates and scores it.

    Args:
        folder: what `collect` wrote.
        config: how.
        report: called with the figures of each epoch.
        budget_secs: a member's training ends after the epoch in which its share of this has passed.
        start: a trained model to go on from, of the same programs' split; it keeps its sizes and its scales.

    Raises:
        DataError: there are no labelled programs.
    """
    split = load_split(folder)
    train_examples, held_out = examples(split.train), examples(split.validation)
    rollouts = _rollouts(split.train)
    symbols = sorted({symbol(a) for e in rollouts for a in e.trace.actions}) if start is None else list(start.actions)
    network_config = MlirNetworkConfig(
        len(STATEMENT_FEATURES), NUM_TARGET_FEATURES, actions=len(symbols) + 1, action_numbers=NUM_NUMBERS
    )
    members = []
    for k in range(config.members if start is None else len(start.networks)):
        end = time.monotonic() + budget_secs / config.members
        seeded = MlirTrainConfig(**{**vars(config), "seed": config.seed + k})
        member = train_member(
            train_examples,
            held_out,
            network_config,
            _RUNS,
            LABELS,
            seeded,
            lambda figures, k=k: report({"member": k, **figures}),
            lambda end=end: time.monotonic() > end,
            start=start.members[k] if start is not None else None,
        )
        if rollouts:
            train_rollouts(member, rollouts, symbols, _RUNS, seed=seeded.seed, report=report)
        members.append(member)
    digest = hashlib.sha256("".join(sorted(f"{o.sample.key}" for o in split.train)).encode()).hexdigest()[:16]
    model = MlirCostModel(members, STATEMENT_FEATURES, symbols, training_hash=digest)
    model.calibration = _calibration(model, split.validation)
    return MlirTraining(
        model, {stage: score_model(model, [o for o in split.test if o.stage == stage]) for stage in ("given", "llvm")}
    )


def train_correction(
    folder: Path, model: MlirCostModel, config: CorrectionConfig = CorrectionConfig(), known_share: float = 0.25
) -> MlirCorrection:
    """Trains what a model's predictions are corrected by, on a folder of samples.

    Args:
        folder: what `collect` wrote, in any number of sittings.
        model: whose predictions are corrected; it stays as it is.
        config: how.
        known_share: of the samples with times, which the model itself was trained on, so many are looked at.

    Raises:
        DataError: there are no labelled programs.
    """
    split, columns = load_split(folder), Columns.of(STATEMENT_FEATURES)

    def gathered(observed: list[Observation]) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(config.seed)
        kept = [o for o in observed if "secs" not in o.labels or rng.random() < known_share]
        programs, made = [o.program for o in kept], targets(kept)
        predicted, _ = model.predict_scaled(programs, made)
        errors = np.stack([to_scale(o.labels) for o in kept]) - predicted
        errors[:, LABELS.index("secs")] = np.nan  # most samples have none
        return gather(programs, made, predicted, columns), errors

    return correct(*gathered(split.train), gathered(split.validation), columns, model.training_hash, config)


def _rollouts(observed: Sequence[Observation]) -> list[RolloutExample]:
    before = {
        (o.sample.family, o.sample.seed): o.program
        for o in observed
        if o.stage == "given" and not o.sample.schedule and not o.sample.cpu
    }
    found = []
    for o, target in zip(observed, targets(observed)):
        start = before.get((o.sample.family, o.sample.seed))
        if o.stage == "given" and start is not None and not o.sample.cpu:
            found.append(
                RolloutExample(
                    start,
                    o.program,
                    Schedule.of(*o.sample.schedule).trace(),
                    target.features,
                    to_scale(o.labels),
                )
            )
    return found


def _calibration(model: MlirCostModel, observed: Sequence[Observation]) -> np.ndarray:
    """Deviation of the errors on held-out programs, from their quantiles, so that a few wild ones do not decide it; [A
    + Q].
    """
    if not observed:
        return np.zeros(len(LABELS))
    mean, _ = model.predict_scaled([o.program for o in observed], targets(observed))
    error = np.abs(mean - np.stack([to_scale(o.labels) for o in observed]))
    return np.nan_to_num(np.nanquantile(error, 0.6827, axis=0))


def score_model(model: MlirCostModel, observed: Sequence[Observation]) -> dict[str, Any]:
    """`score` of a model on observations."""
    mean, deviation = model.predict_corrected([o.program for o in observed], targets(observed))
    return score(mean, observed, deviation)


def score_rollouts(model: MlirCostModel, observed: Sequence[Observation]) -> dict[str, Any]:
    """`score` of predictions from the programs without their schedules, which are rolled out and not applied."""
    before = {
        (o.sample.family, o.sample.seed): o.program
        for o in observed
        if o.stage == "given" and not o.sample.schedule and not o.sample.cpu
    }
    rolled = [
        o for o in observed if o.stage == "given" and o.sample.schedule and (o.sample.family, o.sample.seed) in before
    ]
    rows = [
        model.predict_after_scaled(
            before[o.sample.family, o.sample.seed], [Schedule.of(*o.sample.schedule).trace()], target
        )[0][0]
        for o, target in zip(rolled, targets(rolled))
    ]
    return score(np.stack(rows), rolled)


def score(
    predicted: np.ndarray, observed: Sequence[Observation], deviation: np.ndarray | None = None
) -> dict[str, Any]:
    """Errors of predictions.

    Args:
        predicted: [P, A + Q] on the scale of `mlir_labels`.
        observed: the programs, with their labels.
        deviation: [P, A + Q] stated by the model.

    Returns:
        For each cost: `rel_rmse`, the root of the mean of squared relative errors of single programs; `rmse_over_mean`
        and `rmse_over_range`, the root mean squared error over the mean and over the range of the label, in which
        papers state theirs; `median`, the median relative error; `spearman`; `within_1`, the share of programs whose
        error is within the stated deviation (normal: 0.683). Of shares, `rmse`.
    """
    truth = np.stack([to_scale(o.labels) for o in observed])
    found: dict[str, Any] = {"programs": len(observed)}
    for i, name in enumerate(LABELS):
        known = np.isfinite(truth[:, i])
        if not known.any():
            continue
        p, t = predicted[known, i], truth[known, i]
        if name in _SHARES:
            found[name] = {"rmse": float(np.sqrt(np.mean(np.square(np.clip(p, 0, 1) - t))))}
            continue
        wanted, got = np.exp(t), np.exp(np.clip(p, -40, 60))
        relative, rmse = got / wanted - 1, float(np.sqrt(np.mean(np.square(got - wanted))))
        found[name] = {
            "rel_rmse": float(np.sqrt(np.mean(np.square(relative)))),
            "rmse_over_mean": rmse / float(wanted.mean()),
            "rmse_over_range": rmse / float(max(np.ptp(wanted), 1e-12)),
            "median": float(np.median(np.abs(relative))),
            "spearman": spearman(p, t),
        }
        if deviation is not None:
            found[name]["within_1"] = float(np.mean(np.abs(p - t) <= deviation[known, i]))
    return found
