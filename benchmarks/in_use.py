"""Whether what was measured is what runs: `python benchmarks/in_use.py [--trials 32] [--only NAME …]`.

Five kernels of odd shapes are tuned by MetaSchedule as it comes, with its own builder and runner, and by Foretune. What
each was told of its winner is set beside what the winners do here, in a process that pins no thread, in turns with
TVM's default schedule; once the best record as a user would take it, once chosen by `fastest_in_use`. Needs a quiet
machine.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from results import write_results
from tuning_report import geomean

from foretune.compiler import (
    ForetuneCostModel,
    LatentSearchStrategy,
    Measurer,
    as_measured,
    builder_and_runner,
    fastest_in_use,
)
from foretune.compiler.tir._tvm import meta_schedule as ms
from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.target import detect_target, tvm_target
from foretune.record import Status
from foretune.target import num_usable_cores

TURNS = 25


def _convolution(inputs: Sequence[int], weights: Sequence[int], stride: int, padding: int, groups: int = 1) -> Any:
    from tvm import te, topi

    data, kernel = te.placeholder(inputs, name="data"), te.placeholder(weights, name="kernel")
    if groups > 1:
        out = topi.nn.group_conv2d_nchw(data, kernel, stride, padding, 1, groups)
    else:
        out = topi.nn.conv2d_nchw(data, kernel, stride, padding, 1)
    return te.create_prim_func([data, kernel, out])


def _dense(rows: int, depth: int, columns: int) -> Any:
    from tvm import te, topi

    data, weight = te.placeholder((rows, depth), name="data"), te.placeholder((columns, depth), name="weight")
    return te.create_prim_func([data, weight, topi.nn.dense(data, weight)])


def _batch_matmul(batch: int, rows: int, depth: int) -> Any:
    from tvm import te, topi

    a, b = te.placeholder((batch, rows, depth), name="a"), te.placeholder((batch, rows, depth), name="b")
    return te.create_prim_func([a, b, topi.nn.batch_matmul(a, b)])


def _layer_norm(rows: int, width: int) -> Any:
    from tvm import te, topi

    data, scale, shift = (
        te.placeholder((rows, width), name="data"), te.placeholder((width,), name="scale"),
        te.placeholder((width,), name="shift"),
    )  # fmt: skip
    return te.create_prim_func([data, scale, shift, topi.nn.layer_norm(data, scale, shift, [1], 1e-5)])


KERNELS: dict[str, Callable[[], Any]] = {
    "conv2d 7x7, stride 2, 113x113": lambda: _convolution((1, 3, 113, 113), (64, 3, 7, 7), 2, 3),
    "dense 1000x333x77": lambda: _dense(1000, 333, 77),
    "conv2d of 4 groups, 29x29": lambda: _convolution((1, 32, 29, 29), (64, 8, 3, 3), 1, 1, 4),
    "batch_matmul 3x197x64": lambda: _batch_matmul(3, 197, 64),
    "layer_norm 50x769": lambda: _layer_norm(50, 769),
}


def measure(name: str, trials: int, seed: int) -> dict[str, Any]:
    """The row of a kernel: times that were told, and gains over the default schedule here."""
    mod = tvm.IRModule({"main": KERNELS[name]()})
    target = tvm_target(detect_target())
    databases = {"metaschedule": _tuned(mod, target, trials, seed)}
    with Measurer() as measurer:
        own = {"cost_model": ForetuneCostModel(), "strategy": LatentSearchStrategy()}
        databases["foretune"] = _tuned(mod, target, trials, seed, **own, **builder_and_runner(measurer))
    row: dict[str, Any] = {"kernel": name, "trials": trials}
    winners = ms.database.MemoryDatabase()
    workload = winners.commit_workload(mod)
    for place, (tuner, database) in enumerate(databases.items(), 1):
        best = database.get_top_k(database.commit_workload(mod), 1)[0]
        row[tuner] = {"told_secs": min(map(float, best.run_secs))}
        winners.commit_tuning_record(ms.database.TuningRecord(best.trace, workload, [float(place)], target))
        chosen = fastest_in_use(mod, target, database, turns=TURNS)
        fastest = max((c.gain for c in chosen.comparisons if c.status is Status.OK), default=1.0)
        row[tuner]["chosen_gain"] = fastest if chosen.record is not None else 1.0
    for conditions, prefix in ((contextlib.nullcontext, ""), (as_measured, "pinned_")):
        compared = fastest_in_use(mod, target, winners, 2, TURNS, conditions).comparisons
        for tuner, found in zip(databases, compared):
            told = {"status": found.status.value, "gain": found.gain, "interval": list(found.interval)}
            row[tuner] |= {prefix + name: value for name, value in {**told, "secs": found.best_secs}.items()}
    print(row, flush=True)
    return row


def _tuned(mod: Any, target: Any, trials: int, seed: int, **parts: Any) -> ms.database.Database:
    with tempfile.TemporaryDirectory() as folder:
        return ms.tune_tir(
            mod, target, folder, trials, num_tuning_cores=num_usable_cores(), seed=seed, database="memory", **parts
        )


def figures(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The numbers to quote; ratios are MetaSchedule's time over Foretune's."""
    ratios = {
        "told": [row["metaschedule"]["told_secs"] / row["foretune"]["told_secs"] for row in rows],
        "in_use": [row["foretune"]["gain"] / row["metaschedule"]["gain"] for row in rows],
        "pinned": [row["foretune"]["pinned_gain"] / row["metaschedule"]["pinned_gain"] for row in rows],
        "chosen_in_use": [row["foretune"]["chosen_gain"] / row["metaschedule"]["chosen_gain"] for row in rows],
    }
    return {
        **{f"vs_metaschedule_{name}": geomean(values) for name, values in ratios.items()},
        "worst_in_use": min(ratios["in_use"]),
        "vs_default_in_use": geomean([row["foretune"]["gain"] for row in rows]),
        "worst_vs_default_in_use": min(row["foretune"]["gain"] for row in rows),
        "vs_default_pinned": geomean([row["foretune"]["pinned_gain"] for row in rows]),
        "worst_vs_default_chosen": min(row["foretune"]["chosen_gain"] for row in rows),
        "num_kernels": len(rows),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--only", nargs="*", default=list(KERNELS), choices=list(KERNELS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = [measure(name, options.trials, options.seed) for name in options.only]
    write_results("in_use", figures(rows), rows)


if __name__ == "__main__":
    main()
