"""Schedules of MLIR programs against libraries: `python benchmarks/mlir_tuning.py [--searches genetic …] [--budget 100]
[--seed 0] [--only NAME …]`.

Each program is tuned by each search; the winner is measured again in turns with the default lowering and with the
kernels of libraries, all on one core and one thread, by CPU time, the smallest of the turns. A run's row is in
`benchmarks/results/mlir_tuning/`, so that the same command goes on where it was stopped. Needs a quiet core: what
shares its caches or its execution units shows in all figures.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # before the libraries look

import torch
from mlir_programs import Case, cases
from results import FOLDER, write_results

from foretune.passes.mlir.environment.session import MlirSession, SessionSettings
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.tuning.frontend import MlirProgram
from foretune.passes.mlir.tuning.measure import DEFAULT, MlirMeasurer
from foretune.passes.mlir.tuning.strategies import MlirStrategyConfig
from foretune.passes.mlir.tuning.tuning import MlirTuneConfig, tune
from foretune.record import Status
from foretune.support.files import write_text_atomically

ROWS = FOLDER / "mlir_tuning"
TURNS = 15
_RIVAL_SECS = 0.03  # each turn of a rival lasts at least so long
MAIN = "genetic"


def rival_secs(call: Callable[[], Any]) -> float:
    """CPU seconds of one call of a library's kernel, on this thread; the mean over some calls."""
    calls, took = 1, 0.0
    with torch.no_grad():
        call()
        while took < _RIVAL_SECS / 2:
            calls *= 2
            start = time.thread_time()
            for _ in range(calls):
                call()
            took = time.thread_time() - start
    return took / calls


def compare(case: Case, program: MlirProgram, schedule: Schedule, measurer: MlirMeasurer) -> dict[str, Any]:
    """The smallest times of schedule, default lowering and rivals, taken in turns on one core."""
    prepared = measurer.prepare(program)
    built = measurer.build(program, schedule)
    times: dict[str, list[float]] = {"tuned": [], "default": [], **{name: [] for name in case.rivals}}
    difference = 0.0
    for turn in range(TURNS):
        run = measurer.session.run(built.build, 1, 30.0, 0, prepared.reference)
        if run.status is not Status.OK:
            return {"status": run.status.value, "error": run.error}
        difference = max(difference, run.difference)
        times["tuned"].append(run.run_secs[0])
        for name, call in case.rivals.items():
            times[name].append(rival_secs(call))
        if turn % 5 == 0:
            times["default"] += measurer.session.run(prepared.default.build, 1, 30.0, 0, prepared.reference).run_secs
    secs = {name: min(values) for name, values in times.items()}
    best = min(secs[name] for name in case.rivals)
    return {
        "status": "ok",
        "secs": secs,
        "difference": difference,
        "vs_default": secs["default"] / secs["tuned"],
        "vs_best_rival": best / secs["tuned"],
        **({"gflops": {name: case.flops / t / 1e9 for name, t in secs.items()}} if case.flops else {}),
    }


def run(case: Case, search: str, budget: int, seed: int, measurer: MlirMeasurer) -> dict[str, Any]:
    """Tunes a program and compares the winner."""
    program = MlirProgram.of(measurer.session, case.name, case.text)
    result = tune(
        program,
        measurer,
        MlirStrategyConfig(search, seed).make,
        MlirTuneConfig(budget),
        lambda r: print(f"\r{case.name} {search}: {len(r.trials)} {r.best_so_far()[-1]:.4g}x", end=""),
    )
    compared = compare(case, program, result.best if result.best != DEFAULT else DEFAULT, measurer)
    print(
        f"\r{case.name} {search}: {compared.get('vs_default', 0):.4g} times the default lowering,"
        f" {compared.get('vs_best_rival', 0):.3f} times the best rival"
    )
    return {"program": case.name, "search": search, "seed": seed, "budget": budget, **result.to_json(), **compared}


def main() -> None:
    """Runs what is missing and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--searches", nargs="+", default=[MAIN, "greedy", "random"])
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[])
    asked = parser.parse_args()
    torch.set_num_threads(1)
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})  # rivals run here; workers choose the same core
    rows = []
    with MlirSession(SessionSettings(build_timeout_secs=60, run_timeout_secs=120, core=core)) as session:
        measurer = MlirMeasurer(session)
        for case in cases():
            for search in asked.searches:
                path = ROWS / f"{case.name}-{search}-{asked.seed}.json"
                if not path.exists() and (not asked.only or case.name in asked.only):
                    write_text_atomically(
                        path, json.dumps(run(case, search, asked.budget, asked.seed, measurer), indent=1) + "\n"
                    )
                if path.exists():
                    rows.append(json.loads(path.read_text()))
    write_results(
        "mlir_tuning",
        figures(rows),
        [{k: v for k, v in row.items() if k not in ("script", "failed", "best_so_far")} for row in rows],
    )


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the rows say; ratios are better when higher."""
    found: dict[str, Any] = {
        "num_programs": len({row["program"] for row in rows}),
        "wrong_outputs": sum(row["status"] == "wrong_output" for row in rows),
    }
    for search in sorted({row["search"] for row in rows}):
        told = [row for row in rows if row["search"] == search and row["status"] == "ok"]
        if told:
            found[f"{search}_vs_default"] = math.exp(sum(math.log(row["vs_default"]) for row in told) / len(told))
            found[f"{search}_worst_vs_best_rival"] = min(row["vs_best_rival"] for row in told)
    products = [
        row["vs_best_rival"]
        for row in rows
        if row["program"].startswith("matmul") and row["search"] == MAIN and row["status"] == "ok"
    ]
    if products:
        found["matmul_vs_best_rival"] = min(products)
    return found


if __name__ == "__main__":
    main()
