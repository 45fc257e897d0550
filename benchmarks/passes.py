"""Pass sequences of held-out programs: `python benchmarks/passes.py [--methods …] [--seeds 3] [--only NAME …]`.

Each program that no model was trained on is tuned by each method with 50 measurements; the winner is measured again
beside `-O3`, in turns, and must be surely faster, or `-O3` stays. A run's row is in `benchmarks/results/passes/`, so
that the same command goes on where it was stopped. Needs a quiet core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from results import FOLDER, write_results
from tuning_report import geomean

from foretune.passes.llvm.measure import PassMeasurer
from foretune.passes.llvm.program import Program, load_programs
from foretune.passes.llvm.suite import FOLDER as PROGRAMS
from foretune.passes.llvm.suite import held_out
from foretune.passes.llvm.tuning.strategies import StrategyConfig
from foretune.passes.llvm.tuning.tuning import PassTuneConfig, confirm, tune
from foretune.record import Status
from foretune.support.files import write_text_atomically

BUDGET = 50
METHODS = {  # (search, skills)
    "foretune": ("latent", True),
    "latent": ("latent", False),
    "genetic": ("genetic", False),
    "genetic and skills": ("genetic", True),
    "random": ("random", False),
    "greedy": ("greedy", False),
    "bayesian": ("bayesian", False),
}
PAIRS = {
    "": ("foretune", "genetic and skills"),
    "_without_skills": ("latent", "genetic"),
}  # the same search with and without the model
ROWS = FOLDER / "passes"


def row_path(program: str, method: str, seed: int) -> Path:
    """Where a run's row is."""
    return ROWS / f"{program}-{method.replace(' ', '_')}-{seed}.json"


def run(program: Program, method: str, seed: int, measurer: PassMeasurer) -> dict[str, Any]:
    """Tunes a program with a method."""
    search, skills = METHODS[method]
    strategy = StrategyConfig(search, skills, None, seed)
    result = tune(program, measurer, lambda prepared: strategy.make(prepared, measurer), PassTuneConfig(BUDGET))
    again = confirm(measurer.prepare(program), result.best, measurer, 3)  # a check by itself, after the run
    return {
        "method": method,
        "seed": seed,
        **result.to_json(),
        **strategy.report(result.strategy),
        "winner_status": again["status"],
    }


def read_rows(methods: list[str], seeds: int) -> dict[tuple[str, str, int], dict[str, Any]]:
    """Rows that there are, by program, method and seed."""
    paths = {
        (name, method, seed): row_path(name, method, seed)
        for name in held_out()
        for method in methods
        for seed in range(seeds)
    }
    return {key: json.loads(path.read_text()) for key, path in paths.items() if path.exists()}


def saved_ratio(rows: dict[tuple[str, str, int], dict[str, Any]], method: str, without: str) -> float | None:
    """Measurements of a search without the model over those with it, to what the former reaches in the end; geometric
    mean.
    """
    ratios = []
    for (name, used, seed), row in rows.items():
        other = rows.get((name, method, seed))
        if used != without or other is None:
            continue
        goal = max(row["best_so_far"], default=1.0)
        if goal > 1.0:
            ratios.append(_first(row["best_so_far"], goal) / _first(other["best_so_far"], goal))
    return geomean(ratios) if ratios else None


def speed_ratio(rows: dict[tuple[str, str, int], dict[str, Any]], method: str, without: str) -> float | None:
    """Speed of what a search with the model finds over that without it, on the programs that both have tuned; geometric
    mean.
    """
    ratios = [
        rows[name, method, seed]["gain"] / row["gain"]
        for (name, used, seed), row in rows.items()
        if used == without and (name, method, seed) in rows
    ]
    return geomean(ratios) if ratios else None


def _first(gains: list[float], goal: float) -> int:
    """The first measurement that reached a gain, within a hundredth; one more than all, if none did."""
    return next((i for i, gain in enumerate(gains, 1) if gain >= 0.99 * goal), len(gains) + 1)


def figures(rows: dict[tuple[str, str, int], dict[str, Any]], methods: list[str]) -> dict[str, Any]:
    """The figures of DESIGN.md, of the first method that has rows, and geometric means of all."""
    found: dict[str, Any] = {}
    for method in methods:
        gains = [row["gain"] for key, row in rows.items() if key[1] == method]
        if not gains:
            continue
        if "vs_O3" not in found:
            own = [row for key, row in rows.items() if key[1] == method]
            wrong = sum(row["winner_status"] != Status.OK.value for row in own)
            found |= {"method": method, "vs_O3": geomean(gains), "worst_vs_O3": min(gains), "wrong_outputs": wrong}
            found["wrong_candidates"] = sum(row["statuses"].get(Status.WRONG_OUTPUT.value, 0) for row in own)
            found["num_programs"] = len({key[0] for key in rows if key[1] == method})
            found |= {f"measurements_saved_ratio{suffix}": saved_ratio(rows, *pair) for suffix, pair in PAIRS.items()}
            found |= {f"speed_by_model{suffix}": speed_ratio(rows, *pair) for suffix, pair in PAIRS.items()}
        name = method.replace(" ", "_")
        found |= {
            f"vs_O3_{name}": geomean(gains),
            f"num_programs_{name}": len({key[0] for key in rows if key[1] == method}),
        }
    return found


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=held_out(), default=list(held_out()))
    parser.add_argument("--report-only", action="store_true", help="figures of the rows that there are")
    options = parser.parse_args()
    ROWS.mkdir(parents=True, exist_ok=True)
    if not options.report_only:
        _run_all(options)
    rows = read_rows(options.methods, options.seeds)
    table = [
        {
            key: row[key]
            for key in ("program", "method", "seed", "gain", "interval", "command", "num_trials", "statuses", "secs")
        }
        for row in rows.values()
    ]
    found = figures(rows, options.methods)
    write_results("passes", found, table)
    medians = {
        m: statistics.median(row["gain"] for key, row in rows.items() if key[1] == m)
        for m in options.methods
        if any(k[1] == m for k in rows)
    }
    print(json.dumps({"figures": found, "medians": medians}, indent=1))


def _run_all(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder, PassMeasurer() as measurer:
        programs = {p.name: p for p in load_programs(PROGRAMS, Path(folder)) if p.name in options.only}
        for seed in range(options.seeds):
            for name in options.only:
                for method in options.methods:  # one after another, so that a part of all rows compares them, too
                    path = row_path(name, method, seed)
                    if path.exists():
                        continue
                    row = run(programs[name], method, seed, measurer)
                    write_text_atomically(path, json.dumps(row, indent=1) + "\n")
                    print(
                        f"{name} {method} {seed}: {row['gain']:.3f}, {row['num_trials']} measurements,"
                        f" {row['secs']:.0f} s",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
