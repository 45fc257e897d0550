"""Whole models, Foretune against eager and Inductor: `python benchmarks/models.py [--trials 64] [--only NAME …]`.

Each engine compiles a model in a process of its own; then they run in turns, in bursts, and medians over bursts are
compared. A model's row is in `benchmarks/results/models/`, and what was tuned in `runs/models.db`, so that the same
command goes on where it was stopped. Needs a quiet machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import time
from dataclasses import asdict
from typing import Any

from in_turns import ENGINE, started, time_in_turns
from models_plot import write_plot
from results import FOLDER, write_results
from tuning_report import geomean

from foretune.compiler.workloads.engine import ENGINES, MAX_AUTOTUNE, Compiled, CompileModels
from foretune.compiler.workloads.suite import BENCHMARK_MODELS
from foretune.errors import WorkerError
from foretune.support.files import write_text_atomically
from foretune.workers.process import WorkerProcess

ALL_ENGINES = (*ENGINES, MAX_AUTOTUNE)
ROUNDS, BURST_SECS = 15, 0.2
ROWS = FOLDER / "models"


def measure(name: str, trials: int, seed: int) -> dict[str, Any]:
    """The row of a model: compiled by each engine, the slowest compiler first and alone, then timed in turns."""
    options = {"trials": trials, "database": str(FOLDER.parent.parent / "runs" / "models.db"), "progress": False}
    row: dict[str, Any] = {"model": name, "trials": trials, "engines": {}}
    with contextlib.ExitStack() as stack:
        processes: dict[str, WorkerProcess[Compiled]] = {}
        for engine in reversed(ALL_ENGINES):
            hello = CompileModels(engine, seed, "BENCHMARK_MODELS", (name,), options if engine == "foretune" else None)
            try:
                processes[engine] = stack.enter_context(started(ENGINE, hello))
            except WorkerError as error:
                row["engines"][engine] = {"error": str(error)}
                continue
            welcome = processes[engine].welcome
            row["engines"][engine] = {**asdict(welcome.made[name]), "peak_bytes": welcome.peak_bytes}
            if engine == "foretune":
                row["reports"] = list(welcome.reports)
        times = time_in_turns(dict(sorted(processes.items())), name, ROUNDS, BURST_SECS)
    for engine, values in times.items():
        row["engines"][engine]["ms"] = statistics.median(values)
    row["load_average"] = round(os.getloadavg()[0], 2)
    return row


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The ratios to quote, of the models that all engines ran."""
    ms = [
        {engine: row["engines"][engine]["ms"] for engine in ALL_ENGINES}
        for row in rows
        if all("ms" in row["engines"].get(e, {}) for e in ALL_ENGINES)
    ]
    errors = [row["engines"]["foretune"].get("max_rel_error", float("inf")) for row in rows]
    return {
        "vs_inductor": geomean([m["inductor"] / m["foretune"] for m in ms]),
        "vs_eager": geomean([m["eager"] / m["foretune"] for m in ms]),
        "vs_max_autotune": geomean([m[MAX_AUTOTUNE] / m["foretune"] for m in ms]),
        "worst_vs_best_of_eager_and_inductor": min(min(m["eager"], m["inductor"]) / m["foretune"] for m in ms),
        "max_rel_error": max(errors),
        "num_models": len(ms),
        "num_failed": len(rows) - len(ms),
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [case.name for case in BENCHMARK_MODELS]
    parser.add_argument("--trials", type=int, default=64, help="for each tuning task")
    parser.add_argument(
        "--only", nargs="*", default=names, choices=names, metavar="NAME", help=f"some of {', '.join(names)}"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs")
    parser.add_argument(
        "--again", action="store_true", help="measure models anew that have a row; what was tuned is kept"
    )
    options = parser.parse_args()
    ROWS.mkdir(parents=True, exist_ok=True)
    (FOLDER.parent.parent / "runs").mkdir(exist_ok=True)
    for name in options.only:
        path = ROWS / f"{name}.json"
        if options.again or not path.exists() or json.loads(path.read_text())["trials"] != options.trials:
            start = time.perf_counter()
            row = measure(name, options.trials, options.seed)
            write_text_atomically(path, json.dumps(row, indent=1) + "\n")
            print(
                name,
                {e: round(v.get("ms", float("nan")), 3) for e, v in row["engines"].items()},
                f"{time.perf_counter() - start:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    rows = [json.loads(path.read_text()) for name in names if (path := ROWS / f"{name}.json").exists()]
    write_plot(ROWS / "models.png", rows, ALL_ENGINES)
    write_results("models", figures(rows), rows)


if __name__ == "__main__":
    main()
