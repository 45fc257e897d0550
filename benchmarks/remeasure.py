"""How well the bundled run times hold: `python benchmarks/remeasure.py [--records 200]`.

Measures records of the bundled data again, eight of each of some tasks, and compares old and new times by
Spearman's rank correlation within tasks. Meant for a machine of the kind that the data is from.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
from results import write_results

from foretune.compiler.measure.measurer import Measurer
from foretune.compiler.workloads.collection import SETTINGS
from foretune.costmodel.metrics import spearman
from foretune.datasets.records.store import BUNDLED, RecordStore
from foretune.record import MeasureRecord, Status
from foretune.target import Target, num_usable_cores

_PER_TASK = 8


def sample(store: RecordStore, count: int, seed: int) -> list[list[MeasureRecord]]:
    """Groups of eight records, each of one task."""
    by_task: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in store.rows(["workload", "target", "trace_key", "status"]):
        if row["status"] == "ok":
            target = Target.from_json(json.loads(row["target"]))
            by_task[target.key, row["workload"]].append(row["trace_key"])
    rng = random.Random(seed)
    tasks = sorted(key for key, keys in by_task.items() if len(keys) >= _PER_TASK)
    chosen = {
        key: set(rng.sample(sorted(by_task[key]), _PER_TASK))
        for key in rng.sample(tasks, min(len(tasks), count // _PER_TASK))
    }
    groups: dict[tuple[str, str], list[MeasureRecord]] = defaultdict(list)
    for trajectory in store.trajectories({workload for _, workload in chosen}):
        record = trajectory.record
        if record.trace.key in chosen.get(record.candidate.task.key, ()):
            groups[record.candidate.task.key].append(record)
    return list(groups.values())


def main() -> None:
    """Parses the options and runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=BUNDLED)
    options = parser.parse_args()
    with RecordStore(options.data) as store:
        groups = sample(store, options.records, options.seed)
    rows, same_program = [], 0
    with contextlib.ExitStack() as stack:
        measurers: dict[int, Measurer] = {}  # threads -> measurer
        for old in groups:
            threads = dict(old[0].candidate.task.target.attrs).get("num-cores", num_usable_cores())
            if threads not in measurers:
                measurers[threads] = stack.enter_context(Measurer(SETTINGS, num_threads=threads))
            new = measurers[threads].measure([r.candidate for r in old])
            same_program += sum(a.program_hash == b.program_hash for a, b in zip(old, new))
            kept = [(a, b) for a, b in zip(old, new) if b.status is Status.OK]
            before, after = np.array([a.best_secs for a, _ in kept]), np.array([b.best_secs for _, b in kept])
            workload = old[0].candidate.task.workload
            rows.append(
                {
                    "workload": workload.hash,
                    "name": workload.name,
                    "family": workload.family,
                    "threads": threads,
                    "records": len(kept),
                    "spearman": spearman(before, after),
                    "median_ratio": float(np.median(after / before)),
                    "spread": float(before.max() / before.min()),
                    "secs": [before.tolist(), after.tolist()],
                }
            )
            print(
                f"{rows[-1]['family']:18s} spearman {rows[-1]['spearman']:.3f}  new / old"
                f" {rows[-1]['median_ratio']:.3f}  spread {rows[-1]['spread']:.2f}",
                flush=True,
            )
    correlations = [row["spearman"] for row in rows]
    by_threads = {
        f"spearman_mean_{n}_threads": float(np.mean([r["spearman"] for r in rows if r["threads"] == n]))
        for n in sorted(measurers)
    }
    centred = [np.log(np.array(row.pop("secs"))) for row in rows]
    before, after = (np.concatenate([c[i] - c[i].mean() for c in centred]) for i in (0, 1))
    figures = {
        "num_records": sum(len(g) for g in groups),
        "num_tasks": len(groups),
        "spearman_mean": float(np.mean(correlations)),
        "spearman_median": float(np.median(correlations)),
        "spearman_of_times_relative_to_task": spearman(before, after),
        **by_threads,
        "share_of_tasks_above_095": float(np.mean([c > 0.95 for c in correlations])),
        "same_program": same_program,
        "median_new_over_old": float(np.median([row["median_ratio"] for row in rows])),
    }
    write_results("remeasure", figures, rows)


if __name__ == "__main__":
    main()
