"""Pass sequences of held-out programs: `python benchmarks/passes.py [--sets ours polybench llvm_test_suite]
[--polybench DIR] [--test-suite DIR] [--methods …] [--seeds 3] [--only NAME …]`.

Each program that no model was trained on is tuned by each method with 50 measurements; the winner is measured again
beside `-O3`, in turns, and must be surely faster, or `-O3` stays. The suites of others are fetched before, and never
stand in this repository. A run's row is in `benchmarks/results/passes/`, so that the same command goes on where it was
stopped; so is why a program cannot be tuned, such as one that prints times. Needs a quiet core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from passes_sets import CANNOT, OURS, POLYBENCH, SETS, TEST_SUITE, Case, cases, keep_row
from results import FOLDER, write_results
from tuning_report import geomean

from foretune.passes.llvm.measure import PassMeasurer
from foretune.passes.llvm.program import Program
from foretune.passes.llvm.tuning.strategies import StrategyConfig
from foretune.passes.llvm.tuning.tuning import PassTuneConfig, confirm, tune
from foretune.record import Status

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
Rows = dict[tuple[str, str, int], dict[str, Any]]
"""By key of the case, method and seed."""


def row_path(case: Case, method: str, seed: int) -> Path:
    """Where a run's row is."""
    return ROWS / f"{case.key}-{method.replace(' ', '_')}-{seed}.json"


def run(program: Program, method: str, seed: int, measurer: PassMeasurer, budget: int = BUDGET) -> dict[str, Any]:
    """Tunes a program with a method."""
    search, skills = METHODS[method]
    strategy = StrategyConfig(search, skills, None, seed)
    config = PassTuneConfig(budget)
    result = tune(program, measurer, lambda prepared: strategy.make(prepared, measurer, budget), config)
    again = confirm(measurer.prepare(program), result.best, measurer, 3)  # a check by itself, after the run
    return {
        "method": method,
        "seed": seed,
        **result.to_json(),
        **strategy.report(result.strategy),
        "winner_status": again["status"],
    }


def read_rows(methods: list[str], seeds: int) -> tuple[Rows, dict[str, str]]:
    """(rows that there are, of all sets; reasons of programs that cannot be tuned)."""
    rows: Rows = {}
    failed: dict[str, str] = {}
    kinds = {case.key: case for case in cases(OURS)}
    for path in sorted(ROWS.glob("*.json")):
        key, method, seed = path.stem.rsplit("-", 2)
        method = method.replace("_", " ")
        if method not in methods or int(seed) >= seeds:
            continue
        row = json.loads(path.read_text())
        if CANNOT in row:
            failed[key] = row[CANNOT]
        elif "set" in row:
            rows[key, method, int(seed)] = row
        elif key in kinds:  # a row from before there were sets
            rows[key, method, int(seed)] = {**row, "set": OURS, "is_numeric": kinds[key].is_numeric}
    return rows, failed


def saved_ratio(rows: Rows, method: str, without: str) -> float | None:
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


def speed_ratio(rows: Rows, method: str, without: str) -> float | None:
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


def figures(rows: Rows, methods: list[str]) -> dict[str, Any]:
    """The figures of DESIGN.md, of the first method that has rows, and geometric means of all; of our own programs."""
    found: dict[str, Any] = {}
    for method in methods:
        gains = [row["gain"] for key, row in rows.items() if key[1] == method]
        if not gains:
            continue
        if "vs_O3" not in found:
            own = [row for key, row in rows.items() if key[1] == method]
            wrong = sum(row["winner_status"] != Status.OK.value for row in own)
            found |= {"method": method, "vs_O3": geomean(gains), "worst_vs_O3": min(gains), "wrong_outputs": wrong}
            found["median_vs_O3"] = statistics.median(gains)
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


def set_figures(rows: Rows, method: str) -> dict[str, Any]:
    """Of each set: geometric mean, median and worst gain of a method, and those of its numeric and its other programs
    apart; None where it has no rows.
    """
    found: dict[str, Any] = {}
    parts: dict[str, Callable[[dict[str, Any]], bool]] = {
        "": lambda row: True,
        "_numeric": lambda row: row["is_numeric"],
        "_integer": lambda row: not row["is_numeric"],
    }
    for which in SETS:
        for part, belongs in parts.items():
            of_set = [row for key, row in rows.items() if key[1] == method and row["set"] == which]
            gains = [row["gain"] for row in of_set if belongs(row)]
            name = f"vs_O3_{which}{part}"
            found |= {name: geomean(gains) if gains else None}
            found |= {f"median_{name}": statistics.median(gains) if gains else None}
            found |= {f"worst_{name}": min(gains) if gains else None, f"num_{name}": len(gains)}
    return found


def figure_of(benchmark: str, name: str) -> Any:
    """A figure as another benchmark found it last; None if it never ran."""
    path = FOLDER / f"{benchmark}.json"
    return json.loads(path.read_text())["figures"].get(name) if path.exists() else None


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[OURS])
    parser.add_argument("--polybench", type=Path, help="folder of PolyBench/C 4.2.1, which has `utilities`")
    parser.add_argument("--polybench-size", default="", help="such as LARGE_DATASET, of all; by default as each needs")
    parser.add_argument("--test-suite", type=Path, help="folder of llvm-test-suite, or its SingleSource/Benchmarks")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="programs, by name; all by default")
    parser.add_argument("--report-only", action="store_true", help="figures of the rows that there are")
    options = parser.parse_args()
    ROWS.mkdir(parents=True, exist_ok=True)
    folders = {POLYBENCH: options.polybench, TEST_SUITE: options.test_suite}
    chosen = [
        case
        for which in options.sets
        for case in cases(which, folders.get(which), options.polybench_size)
        if options.only is None or case.name in options.only
    ]
    if not options.report_only:
        _run_all(chosen, options)
    rows, failed = read_rows(options.methods, options.seeds)
    shown = ("set", "program", "method", "seed", "gain", "interval", "command", "num_trials", "statuses", "secs")
    table = [{name: row[name] for name in shown} for row in rows.values()]
    own = {key: row for key, row in rows.items() if row["set"] == OURS}
    first = next((m for m in options.methods if any(key[1] == m for key in rows)), options.methods[0])
    found = figures(own, options.methods) | set_figures(rows, first)
    found |= {"pairwise": figure_of("pass_ranking", "passes_pairwise"), "num_failed": len(failed)}
    found |= {name: figure_of("llm_share", name) for name in ("llm_share", "chosen_vs_random", "proposer")}
    write_results("passes", found, table)
    medians = {
        m: statistics.median(row["gain"] for key, row in rows.items() if key[1] == m)
        for m in options.methods
        if any(k[1] == m for k in rows)
    }
    print(json.dumps({"figures": found, "medians": medians, "failed": failed}, indent=1))


def _run_all(chosen: list[Case], options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder, PassMeasurer() as measurer:
        programs: dict[str, Program] = {}
        for seed in range(options.seeds):
            for case in chosen:
                for method in options.methods:  # one after another, so that a part of all rows compares them, too

                    def made(case: Case = case, method: str = method, seed: int = seed) -> dict[str, Any]:
                        program = programs.setdefault(case.key, programs.get(case.key) or case.load(Path(folder)))
                        of_case = {"set": case.set, "is_numeric": case.is_numeric}
                        return of_case | run(program, method, seed, measurer, options.budget)

                    keep_row(
                        row_path(case, method, seed),
                        made,
                        f"{case.key} {method} {seed}",
                        "{gain:.3f}, {num_trials} measurements, {secs:.0f} s",
                    )


if __name__ == "__main__":
    main()
