"""What a look at machine code is worth without measurements: `python benchmarks/picks.py`.

For held-out workloads, on this machine and one thread: the model ranks, the first 8 are compiled and looked at, and all
8 are measured. A pick's figure is the best time of the 8 over its own; 1 is perfect. That is on-policy: the candidates
are those that the planner proposes, not random ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from results import write_results

from foretune.compiler.measure.looker import Looker
from foretune.compiler.measure.measurer import Measurer
from foretune.compiler.metaschedule.code_rung import CodeRung
from foretune.compiler.metaschedule.picking import Picker
from foretune.compiler.metaschedule.tuner import TaskState
from foretune.compiler.tir.target import detect_target
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.machine_code.ranker import CodeRanker
from foretune.costmodel.planning.planner import Planner
from foretune.datasets.records.store import BUNDLED, RecordStore
from foretune.errors import ForetuneError
from foretune.record import MeasureSettings, Status
from foretune.target import Target
from foretune.task import Task
from foretune.tuning.rungs import RungClock

_LOOKS, _PER_FAMILY = 8, 6
_RESAMPLED = 2000


def held_out_tasks(num: int, part: str, seed: int) -> Iterator[Task]:
    """Tasks of the bundled split for one thread of this machine, at most six of a family."""
    here = detect_target()
    target = Target.from_dict({**here.to_dict(), "num-cores": 1}, replace(here.hardware, cores=1))
    with RecordStore(BUNDLED) as store:
        workloads, split = store.workloads(), store.split()
    names = sorted(getattr(split, part))
    np.random.default_rng(seed).shuffle(names)
    taken: dict[str, int] = {}
    for name in names:
        family = workloads[name].family
        if taken.get(family, 0) < _PER_FAMILY and sum(taken.values()) < num:
            taken[family] = taken.get(family, 0) + 1
            yield Task(workloads[name], target)


def interval(values: list[float]) -> list[float]:
    """Mean, and the bounds of its 95 % bootstrap interval."""
    found = np.array(values)
    means = found[np.random.default_rng(0).integers(len(found), size=(_RESAMPLED, len(found)))].mean(1)
    return [float(found.mean()), *(float(q) for q in np.quantile(means, [0.025, 0.975]))]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=36)
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, ranker, rows = LatentCostModel.bundled(), CodeRanker.bundled(), []
    settings = MeasureSettings(repeat=4, min_repeat_ms=2.0)
    with Looker(num_workers=1) as looker, Measurer(settings, num_threads=1, num_workers=1) as measurer:
        for task in held_out_tasks(options.tasks, options.part, options.seed):
            picker = Picker(Planner(model, seed=options.seed), None, _LOOKS, 0.0, RungClock())
            try:
                ranked = picker.ranked_first(TaskState(task, {}), _LOOKS)
            except ForetuneError as error:
                print(f"{task.workload.name}: {error}", flush=True)
                continue
            if len(ranked) < 2:
                continue
            rung = CodeRung(model, ranker, looker)
            chosen = ranked.index(rung.choose(rung.submit(ranked))[0])
            records = measurer.measure(ranked)
            secs = [r.best_secs if r.status is Status.OK else float("inf") for r in records]
            if not np.isfinite(secs).any():
                continue
            row = {"task": task.workload.name, "family": task.workload.family, "secs": secs}
            rows.append({**row, "model": min(secs) / secs[0], "looked": min(secs) / secs[chosen]})
            print(f"{task.workload.name}: model {rows[-1]['model']:.2f}, looked {rows[-1]['looked']:.2f}", flush=True)
    figures = {
        "num_tasks": len(rows),
        "picked_by_model": interval([row["model"] for row in rows]),
        "picked_after_looks": interval([row["looked"] for row in rows]),
        "gain": interval([row["looked"] - row["model"] for row in rows]),
        "worst_by_model": min(row["model"] for row in rows),
        "worst_after_looks": min(row["looked"] for row in rows),
    }
    for row in rows:
        row["secs"] = [s if np.isfinite(s) else None for s in row["secs"]]
    write_results("picks", figures, rows)


if __name__ == "__main__":
    main()
