"""Ansor with Foretune's model and with its own: `python benchmarks/ansor.py`, in the environment that `make ansor`
makes.

SketchPolicy tunes each subgraph with the same builder, runner, seed and budget, in rounds of 16 measurements, once with
each model: Foretune's, Ansor's XGBModel as it ships (it answers at random until it has 100 samples), and XGBModel with
a warm-up of one round. None of the subgraphs is a training workload of the bundled weights. In the end the winners of a
subgraph are timed again in turn.

Each tuning is kept in `benchmarks/results/ansor/`; a run that was interrupted goes on where it was. `--quick` tunes two
subgraphs with 16 measurements, and keeps nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TVM_NUM_THREADS", str(len(os.sched_getaffinity(0))))

import numpy as np
import torch
from results import FOLDER, write_results

from foretune.compiler.ansor._ansor_tvm import PythonBasedModel, auto_scheduler, te, tvm
from foretune.compiler.ansor.cost_model import ForetuneAnsorModel
from foretune.compiler.ansor.tasks import AnsorTask
from foretune.datasets.records.store import BUNDLED_SETS, RecordStore
from foretune.program import ProgramGraph
from foretune.support.files import write_text_atomically

_ROUND, _TRIALS, _SEEDS = 16, 64, 3
_BUILD_SECS, _RUN_SECS = 30, 30
_REMEASURED = 7  # turns

Tensors = list[te.Tensor]


def dense(rows: int, inner: int, columns: int) -> Tensors:
    """Fully connected, bias, ReLU."""
    x, w, b = (
        te.placeholder((rows, inner), name="x"),
        te.placeholder((columns, inner), name="w"),
        te.placeholder((columns,), name="b"),
    )
    return [x, w, b, tvm.topi.nn.relu(tvm.topi.add(tvm.topi.nn.dense(x, w), b))]


def matmul(rows: int, inner: int, columns: int) -> Tensors:
    """A matrix product alone."""
    a, b = te.placeholder((rows, inner), name="a"), te.placeholder((inner, columns), name="b")
    return [a, b, tvm.topi.nn.matmul(a, b)]


def batch_matmul(batch: int, rows: int, inner: int, columns: int) -> Tensors:
    """Matrix products, as in attention."""
    a, b = te.placeholder((batch, rows, inner), name="a"), te.placeholder((batch, columns, inner), name="b")
    return [a, b, tvm.topi.nn.batch_matmul(a, b)]


def conv2d(channels: int, size: int, filters: int, kernel: int, stride: int) -> Tensors:
    """Convolution (NCHW), bias, ReLU."""
    x, w = (
        te.placeholder((1, channels, size, size), name="x"),
        te.placeholder((filters, channels, kernel, kernel), name="w"),
    )
    b = te.placeholder((filters, 1, 1), name="b")
    return [x, w, b, tvm.topi.nn.relu(tvm.topi.add(tvm.topi.nn.conv2d_nchw(x, w, stride, kernel // 2, 1), b))]


def conv2d_nhwc(channels: int, size: int, filters: int, kernel: int, stride: int) -> Tensors:
    """Convolution (NHWC), bias, ReLU."""
    x, w = (
        te.placeholder((1, size, size, channels), name="x"),
        te.placeholder((kernel, kernel, channels, filters), name="w"),
    )
    b = te.placeholder((filters,), name="b")
    return [x, w, b, tvm.topi.nn.relu(tvm.topi.add(tvm.topi.nn.conv2d_nhwc(x, w, stride, kernel // 2, 1), b))]


def depthwise(channels: int, size: int, kernel: int, stride: int) -> Tensors:
    """Depthwise convolution, ReLU."""
    x, w = te.placeholder((1, channels, size, size), name="x"), te.placeholder((channels, 1, kernel, kernel), name="w")
    return [x, w, tvm.topi.nn.relu(tvm.topi.nn.depthwise_conv2d_nchw(x, w, stride, kernel // 2, 1))]


def softmax(rows: int, columns: int) -> Tensors:
    """Softmax over rows."""
    x = te.placeholder((rows, columns), name="x")
    return [x, tvm.topi.nn.softmax(x)]


SUBGRAPHS: dict[str, tuple[Callable[..., Tensors], tuple[int, ...]]] = {
    "dense": (dense, (96, 768, 640)),
    "matmul": (matmul, (416, 352, 480)),
    "batch_matmul": (batch_matmul, (10, 112, 64, 112)),
    "conv2d_3x3": (conv2d, (72, 48, 72, 3, 1)),
    "conv2d_1x1": (conv2d, (208, 20, 176, 1, 1)),
    "conv2d_stride": (conv2d, (40, 60, 88, 3, 2)),
    "conv2d_nhwc": (conv2d_nhwc, (44, 36, 80, 3, 1)),
    "depthwise": (depthwise, (136, 44, 3, 1)),
    "softmax": (softmax, (672, 208)),
}
QUICK = ("matmul", "depthwise")
MODELS: dict[str, Callable[[int], PythonBasedModel]] = {
    "foretune": lambda seed: ForetuneAnsorModel(),
    "xgb": lambda seed: auto_scheduler.XGBModel(verbose_eval=0, seed=seed + 1),
    "xgb_low_warmup": lambda seed: auto_scheduler.XGBModel(verbose_eval=0, seed=seed + 1, num_warmup_sample=_ROUND - 1),
}
for _function in {function for function, _ in SUBGRAPHS.values()}:
    auto_scheduler.register_workload(_function)


def search_task(name: str) -> auto_scheduler.SearchTask:
    """A subgraph for this machine; weights keep their layout, since they come from outside."""
    function, arguments = SUBGRAPHS[name]
    target = tvm.target.Target(f"llvm -mcpu={tvm.target.codegen.llvm_get_system_cpu()}")
    keep = auto_scheduler.LayoutRewriteOption.NO_REWRITE
    return auto_scheduler.SearchTask(func=function, args=arguments, target=target, layout_rewrite_option=keep)


def check_held_out(names: Sequence[str]) -> None:
    """Ends the program if a subgraph is a training workload of the bundled weights."""
    trained = set()
    for folder in BUNDLED_SETS:
        with RecordStore(folder) as store:
            train = store.split().train
            trained.update(_structure(workload.graph) for key, workload in store.workloads().items() if key in train)
    seen = [name for name in names if _structure(AnsorTask.of(search_task(name)).task.workload.graph) in trained]
    if seen:
        raise SystemExit(f"{', '.join(seen)}: the bundled weights were trained on this")


def _structure(graph: ProgramGraph) -> tuple:
    """A program without its names."""
    return tuple((n.kind, n.features) for n in graph.nodes), graph.edges


def tune(name: str, model: str, seed: int, trials: int) -> dict[str, Any]:
    """Tunes a subgraph with one model."""
    random.seed(seed)
    np.random.seed(seed)
    task = search_task(name)
    policy = auto_scheduler.SketchPolicy(task, program_cost_model=MODELS[model](seed), verbose=0, seed=seed + 1)
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log.json")
        options = auto_scheduler.TuningOptions(
            num_measure_trials=trials,
            num_measures_per_round=_ROUND,
            verbose=0,
            measure_callbacks=[auto_scheduler.RecordToFile(str(log))],
            builder=auto_scheduler.LocalBuilder(timeout=_BUILD_SECS, n_parallel=len(os.sched_getaffinity(0))),
            runner=auto_scheduler.LocalRunner(
                timeout=_RUN_SECS, repeat=3, number=1, min_repeat_ms=10, enable_cpu_cache_flush=False
            ),
        )
        start = time.perf_counter()
        task.tune(options, policy)
        wall_secs = time.perf_counter() - start
        lines = log.read_text().splitlines()
    results = [json.loads(line)["r"] for line in lines]
    secs = [min(r[0]) if r[1] == 0 else math.inf for r in results]
    if not any(map(math.isfinite, secs)):
        raise SystemExit(
            f"{name}: none of {len(secs)} measurements of {model} worked; the last one ended with error number"
            f" {results[-1][1]}"
        )
    return {
        "task": name,
        "model": model,
        "seed": seed,
        "trials": len(secs),
        "failed": sum(map(math.isinf, secs)),
        "wall_secs": round(wall_secs, 1),
        "best_us": {
            str(k): round(1e6 * min(secs[:k]), 3)
            for k in range(_ROUND, trials + 1, _ROUND)
            if math.isfinite(min(secs[:k]))
        },
        "winner": lines[int(np.argmin(secs))],
    }


def remeasure(rows: Sequence[dict[str, Any]]) -> list[float]:
    """Microseconds of the winners of one subgraph, timed in turn; their outputs must be those of the unscheduled
    program.
    """
    task = search_task(rows[0]["task"])
    rng = np.random.default_rng(0)
    shapes = [[int(d) for d in tensor.shape] for tensor in task.compute_dag.tensors]
    *inputs, expected = [tvm.nd.array(rng.random(shape, dtype=np.float32) - np.float32(0.5)) for shape in shapes]
    _built(task, task.compute_dag.get_init_state())(*inputs, expected)
    evaluators = []
    for row in rows:
        inp, _ = auto_scheduler.measure_record.load_record_from_string(row["winner"])
        built = _built(task, auto_scheduler.measure.recover_measure_input(inp, rebuild_state=True).state)
        output = tvm.nd.empty(shapes[-1])
        built(*inputs, output)
        np.testing.assert_allclose(
            output.numpy(),
            expected.numpy(),
            rtol=1e-3,
            atol=1e-3,
            err_msg=f"{row['task']} {row['model']} {row['seed']}",
        )
        evaluator = built.time_evaluator(built.entry_name, tvm.cpu(), number=1, repeat=3, min_repeat_ms=20)
        evaluators.append(lambda evaluator=evaluator, output=output: min(evaluator(*inputs, output).results))
    turns = [[evaluate() for evaluate in evaluators] for _ in range(_REMEASURED)]
    return [round(1e6 * min(column), 3) for column in zip(*turns)]


def _built(task: auto_scheduler.SearchTask, state: auto_scheduler.loop_state.StateObject) -> tvm.runtime.Module:
    schedule, tensors = task.compute_dag.apply_steps_from_state(state, layout_rewrite=task.layout_rewrite_option)
    return tvm.build(schedule, tensors, task.target)


def figures_of(rows: Sequence[dict[str, Any]], trials: int) -> dict[str, float]:
    """Geometric means over subgraphs and seeds of how much faster Foretune's winner is; higher is better."""
    by_key = {(row["task"], row["seed"], row["model"]): row for row in rows}
    figures: dict[str, float] = {}
    for rival, label in (("xgb", "ansor"), ("xgb_low_warmup", "ansor_low_warmup")):
        pairs = [
            (row, by_key[task, seed, rival])
            for (task, seed, model), row in by_key.items()
            if model == "foretune" and (task, seed, rival) in by_key
        ]
        if pairs:
            figures[f"vs_{label}_{trials}"] = statistics.geometric_mean(
                theirs["us"] / ours["us"] for ours, theirs in pairs
            )
            figures[f"worst_vs_{label}_{trials}"] = min(theirs["us"] / ours["us"] for ours, theirs in pairs)
            figures[f"wall_ratio_{label}"] = statistics.geometric_mean(
                theirs["wall_secs"] / ours["wall_secs"] for ours, theirs in pairs
            )
    return {name: round(value, 3) for name, value in figures.items()}


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two subgraphs, 16 measurements, nothing is kept")
    parser.add_argument("--seeds", type=int, default=_SEEDS)
    parser.add_argument("--tasks", nargs="+", choices=SUBGRAPHS, default=list(SUBGRAPHS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    logging.basicConfig()
    torch.set_num_threads(1)
    names, seeds, trials, models = options.tasks, options.seeds, _TRIALS, options.models
    if options.quick:
        names, seeds, trials, models = QUICK, 1, _ROUND, ["foretune", "xgb"]
    check_held_out(names)
    rows = []
    for name in names:
        tuned = []
        for seed in range(seeds):
            for model in models:
                path = FOLDER / "ansor" / f"{name}-{model}-{seed}.json"
                if options.quick or not path.exists():
                    row = tune(name, model, seed, trials)
                    print({k: v for k, v in row.items() if k != "winner"}, flush=True)
                    if not options.quick:
                        write_text_atomically(path, json.dumps(row, indent=1) + "\n")
                else:
                    row = json.loads(path.read_text())
                tuned.append(row)
        rows += [
            {**{k: v for k, v in row.items() if k != "winner"}, "us": us} for row, us in zip(tuned, remeasure(tuned))
        ]
    figures = figures_of(rows, trials)
    if options.quick:
        print(json.dumps(figures, indent=1))
    else:
        write_results("ansor", figures, rows)


if __name__ == "__main__":
    main()
