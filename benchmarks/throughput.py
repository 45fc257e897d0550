"""Complete trajectories scored per second, by the latent model and by TVM's own way: `python benchmarks/throughput.py`.

TVM has to replay each trace, post-process the schedule, extract MetaSchedule's per-store features and ask XGBoost
(`XGBModel`, trained on recorded measurements of the task). That is done by one process for each core, without a share
of the start-up. The latent model rolls points forward from the unscheduled program in one process with a thread for
each core, its program and vocabulary encoded but nothing of the candidates. Both score random samples of the same
design spaces of held-out tasks, in turns; the medians of the rounds count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from results import write_results

from foretune.compiler.tir.space import design_spaces
from foretune.costmodel.latent.model import LatentCostModel
from foretune.datasets.records.store import BUNDLED, RecordStore
from foretune.space import DesignSpace
from foretune.target import num_usable_cores
from foretune.task import Task
from foretune.trace import Trace

FAMILIES = ("dense", "conv2d", "batch_matmul", "depthwise_conv2d", "norm", "softmax")
_RECORDED = 128


class TvmPath:
    """Replay, post-processing, per-store features and XGBoost for one task."""

    def __init__(self, task: Task, recorded: list[tuple[Trace, float]]) -> None:
        from foretune.compiler.tir._tvm import meta_schedule
        from foretune.compiler.tir.space import ScheduleContext
        from foretune.compiler.tir.workload import module_from_program

        self._ms = meta_schedule
        self._scheduler = ScheduleContext(module_from_program(task.workload.program), task.target)
        self._model = meta_schedule.cost_model.XGBModel(num_warmup_samples=1)
        candidates, results = [], []
        for trace, secs in recorded:
            candidates.append(self._candidate(trace))
            results.append(meta_schedule.runner.RunnerResult([secs], None))
        self._model.update(self._scheduler.context, candidates, results)

    def score(self, traces: list[Trace]) -> np.ndarray:
        """XGBoost's scores of complete traces; [N]."""
        return self._model.predict(self._scheduler.context, [self._candidate(trace) for trace in traces])

    def _candidate(self, trace: Trace) -> Any:
        from foretune.compiler.tir.traces import replay

        schedule = replay(self._scheduler.mod, trace)
        self._scheduler.post_process(schedule)
        return self._ms.MeasureCandidate(schedule, [])


_paths: dict[str, TvmPath] = {}


def prepare(task: dict[str, Any], recorded: list[tuple[list, float]]) -> None:
    """Makes this process ready for a task."""
    _paths.clear()
    _paths["task"] = TvmPath(Task.from_json(task), [(Trace.from_json(t), secs) for t, secs in recorded])


def score(traces: list[list]) -> int:
    """Scores traces in this process; how many."""
    return len(_paths["task"].score([Trace.from_json(t) for t in traces]))


def tvm_secs(pools: list[ProcessPoolExecutor], traces: list[list]) -> float:
    """Seconds to score traces, shared among processes that are ready."""
    start = time.perf_counter()
    futures = [pool.submit(score, traces[i :: len(pools)]) for i, pool in enumerate(pools)]
    assert sum(f.result() for f in futures) == len(traces)
    return time.perf_counter() - start


def latent_secs(model: LatentCostModel, task: Task, space: DesignSpace, points: np.ndarray) -> float:
    """Seconds to score points of a design space."""
    start = time.perf_counter()
    model.score(task, space, points)
    return time.perf_counter() - start


def held_out_tasks(store: RecordStore) -> list[tuple[Task, list[tuple[Trace, float]]]]:
    """The first held-out task of each family with its measured traces."""
    chosen: dict[str, tuple[Task, list[tuple[Trace, float]]]] = {}
    for trajectory in store.trajectories(store.split().test):
        record = trajectory.record
        task = record.candidate.task
        if task.workload.family in FAMILIES and record.run_secs and len(record.trace):
            known, recorded = chosen.setdefault(task.workload.family, (task, []))
            if known.key == task.key and len(recorded) < _RECORDED:
                recorded.append((record.trace, record.best_secs))
    return [chosen[family] for family in FAMILIES if family in chosen]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--points", type=int, default=16384, help="that the latent model scores in a round")
    parser.add_argument("--traces", type=int, default=128, help="that TVM scores in a round")
    options = parser.parse_args()
    cores = num_usable_cores()
    torch.set_num_threads(cores)
    model = LatentCostModel.bundled()
    pools = [ProcessPoolExecutor(1, get_context("spawn")) for _ in range(cores)]
    rng = np.random.default_rng(0)
    rows = []
    for task, recorded in held_out_tasks(RecordStore(BUNDLED)):
        for future in [
            pool.submit(prepare, task.to_json(), [(t.to_json(), secs) for t, secs in recorded]) for pool in pools
        ]:
            future.result()
        space = design_spaces(task)[0]
        traces = [space.decode(point).to_json() for point in space.sample(rng, options.traces)]
        latent_secs(model, task, space, space.sample(rng, 256))
        tvm_secs(pools, traces[: 2 * cores])
        rates: dict[str, list[float]] = {"latent": [], "tvm": []}
        for _ in range(options.rounds):
            rates["latent"].append(options.points / latent_secs(model, task, space, space.sample(rng, options.points)))
            rates["tvm"].append(options.traces / tvm_secs(pools, traces))
        row = {"task": task.workload.name, "family": task.workload.family} | {
            f"{name}_per_sec": statistics.median(v) for name, v in rates.items()
        }
        rows.append({**row, "ratio": row["latent_per_sec"] / row["tvm_per_sec"]})
        print(json.dumps(rows[-1]), flush=True)
    for pool in pools:
        pool.shutdown()
    latent, tvm = (statistics.harmonic_mean([row[f"{name}_per_sec"] for row in rows]) for name in ("latent", "tvm"))
    write_results(
        "throughput",
        {
            "latent_per_sec": latent,
            "tvm_per_sec": tvm,
            "ratio": latent / tvm,
            "slowest_latent_per_sec": min(r["latent_per_sec"] for r in rows),
        },
        rows,
    )


if __name__ == "__main__":
    main()
