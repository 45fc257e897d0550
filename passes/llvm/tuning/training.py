"""Training the latent model of pass sequences on what `foretune passes collect` measured."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foretune.costmodel.latent.training import train
from foretune.costmodel.passes.model import PassCostModel
from foretune.datasets.records.split import Split, make_split
from foretune.datasets.records.store import BUNDLED as CPU_DATA
from foretune.datasets.records.store import RecordStore
from foretune.errors import DataError
from foretune.passes.llvm.actions import BASELINE
from foretune.passes.llvm.suite import held_out
from foretune.passes.llvm.tuning.tuning import BASELINE_SECS
from foretune.record import MeasureRecord, Status, Trajectory
from foretune.task import Candidate

BUNDLED = CPU_DATA.with_name("passes")
"""Measured sequences of the programs that come with Foretune."""

_VALIDATION, _TEST = 0.12, 0.25
_FASTEST, _SLOWEST = 0.7, 1.4  # times in units of `-O3`'s; what lies beyond
_BEYOND = 0.25  # counts so much of its logarithm


@dataclass(frozen=True)
class PassData:
    """Trajectories by part of the split.

    Attributes:
        train, validation, test: of different programs.
        split: which these are.
    """

    train: list[Trajectory]
    validation: list[Trajectory]
    test: list[Trajectory]
    split: Split


def read_data(folders: Many[Path]) -> PassData:
    """Reads collected data sets, with times in units of `-O3`'s.

    Raises:
        DataError: a folder is missing or damaged, or has no sequence that was timed beside `-O3`.
    """
    trajectories: list[Trajectory] = []
    names: dict[str, str] = {}
    kept: Split | None = None
    for folder in folders:
        with RecordStore(folder) as store:
            names |= {key: workload.name for key, workload in store.workloads().items()}
            trajectories += relative_to_baseline(store.trajectories())
            own = store.split()
            kept = own if kept is None or own is None else kept | own
    if not trajectories:
        raise DataError(
            f"no sequence in {', '.join(map(str, folders))} was timed beside -O3: collect some with `foretune passes"
            " collect`"
        )
    split = split_programs(names) if kept is None else kept
    parts: dict[str, list[Trajectory]] = {"train": [], "validation": [], "test": []}
    for trajectory in trajectories:
        workload = trajectory.record.candidate.task.workload.hash
        for part, members in parts.items():
            if workload in getattr(split, part):
                members.append(trajectory)
    return PassData(**parts, split=split)


def split_programs(names: dict[str, str]) -> Split:
    """Splits programs; those of Foretune's own that are held out test, whatever else there is.

    Args:
        names: hash of each program -> its name.
    """
    own = frozenset(key for key, name in names.items() if name in held_out())
    if not own:
        return make_split(dict.fromkeys(names, "llvm"), _VALIDATION, _TEST)
    rest = make_split({key: "llvm" for key in names if key not in own}, _VALIDATION, 0.0)
    return Split(rest.train, rest.validation, own)


def relative_to_baseline(trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    """Times in units of the `-O3` program's that ran in turns with each candidate, so that a machine's moods cancel
    out.

    Args:
        trajectories: as `tune` stores them. Those without a time of the baseline are left out, unless they failed.
    """
    found = []
    for trajectory in trajectories:
        record = trajectory.record
        baseline = json.loads(dict(record.environment).get(BASELINE_SECS, "[]"))
        if record.status is not Status.OK:
            found.append(trajectory)
        elif baseline:
            run_secs = tuple(secs / min(baseline) for secs in record.run_secs)  # all of them: they tell the noise
            found.append(replace(trajectory, record=replace(record, run_secs=run_secs)))
    return found


def train_model(
    folders: Many[Path],
    out: Path,
    epochs: int | None = None,
    seed: int = 0,
    report: Callable[[int, int, dict[str, float]], None] = lambda done, total, figures: None,
) -> dict[str, Any]:
    """Trains a `PassCostModel` and writes its weights.

    Args:
        folders: of data sets.
        out: file of the weights.
        epochs: passes over the data at most.
        seed: of weights and order.
        report: called after each epoch: epochs done, epochs at most, figures.

    Returns:
        `num_records`, `num_validation_records`, `num_programs`, `secs`, and `top1, top5, pairwise` on the validation
        programs.
    """
    data = read_data(folders)
    config = PassCostModel.default_config(seed)
    config = config if epochs is None else replace(config, epochs=epochs)
    start = time.perf_counter()
    done = itertools.count(1)
    total = config.epochs * config.network.members
    trained = train(
        [*_softened(data.train), *_baselines(data.train)],
        config,
        lambda figures: report(next(done), total, figures),
        _softened(data.validation),
        encoder=PassCostModel.encoder,
    )
    PassCostModel(trained.network, trained.training_hash).save(out)
    counts = {
        "num_records": len(data.train),
        "num_validation_records": len(data.validation),
        "num_programs": len(data.split.train),
    }
    return {**counts, "secs": round(time.perf_counter() - start, 1), **trained.figures}


def _softened(trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    """Times that are drawn nearer to bounds, in order: labels are relative to a program's best, and one jackpot would
    make all its other sequences look alike.
    """
    found = []
    for trajectory in trajectories:
        record = trajectory.record
        if record.status is Status.OK:
            bound = min(max(record.best_secs, _FASTEST), _SLOWEST)
            factor = (record.best_secs / bound) ** (_BEYOND - 1)
            record = replace(record, run_secs=tuple(secs * factor for secs in record.run_secs))
        found.append(replace(trajectory, record=record))
    return found


def _baselines(trajectories: Iterable[Trajectory]) -> list[Trajectory]:
    """`-O3` itself of each program: 1 in its own units."""
    tasks = {t.record.candidate.task.key: t.record.candidate.task for t in trajectories}
    return [Trajectory(MeasureRecord(Candidate(task, BASELINE.trace()), Status.OK, (1.0,))) for task in tasks.values()]
