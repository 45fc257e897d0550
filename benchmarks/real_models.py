"""Models of real sizes against the best of PyTorch: `python benchmarks/real_models.py [--trials 0] [--only NAME …]
[--precision bf16] [--first-calls]`.

Eager, Inductor, its max-autotune and its freezing, Foretune as it is and with `freeze`: each compiles a model in a
process of its own, one after the other; then all are timed in turns. A model's row is in
`benchmarks/results/real_models/`, so that the same command goes on where it was stopped. Needs `pip install
'foretune[bench]'` and a quiet machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from in_turns import compile_and_time, own_inductor_cache, started
from real_models_cases import PRECISIONS, REAL_MODELS, case_name
from results import FOLDER, write_results
from tuning_report import geomean

from foretune.compiler.workloads.engine import FREEZING, MAX_AUTOTUNE, CompileModels
from foretune.support.files import write_text_atomically

FORETUNE, FROZEN = "foretune", "foretune, frozen"
RIVALS = ("eager", "inductor", MAX_AUTOTUNE, FREEZING)
ENGINES = (*RIVALS, FORETUNE, FROZEN)
ROUNDS, BURST_SECS = 9, 0.3
QUIET_SECS = 30.0
ROWS = FOLDER / "real_models"
_RUNS = FOLDER.parent.parent / "runs"
_DATABASE = {"database": str(_RUNS / "real_models.db")}
CHILD = str(Path(__file__).with_name("real_models_child.py"))


def measure_first_calls(row: dict[str, Any], trials: int, seconds: float, seed: int) -> None:
    """Replaces a row's seconds until the first result, and memory, of Inductor and of Foretune as it is."""
    for engine in ("inductor", FORETUNE):
        options = {"trials": trials, "seconds": seconds, "progress": False, "freeze": False} | _DATABASE
        hello = CompileModels(engine, seed, "", (row["model"],), options if engine == FORETUNE else None)
        with contextlib.ExitStack() as stack, own_inductor_cache(stack):
            welcome = stack.enter_context(started(CHILD, hello)).welcome
            row["engines"][engine] |= {**asdict(welcome.made[row["model"]]), "peak_bytes": welcome.peak_bytes}


def measure(name: str, trials: int, seconds: float, seed: int) -> dict[str, Any]:
    """The row of a model: compiled by each engine alone, then timed in turns."""
    hellos = {}
    for engine in ENGINES:
        is_own = engine in (FORETUNE, FROZEN)
        options = {"trials": trials, "seconds": seconds, "progress": False, "freeze": engine == FROZEN} | _DATABASE
        hellos[engine] = CompileModels(FORETUNE if is_own else engine, seed, "", (name,), options if is_own else None)
    row, reports = compile_and_time(hellos, CHILD, name, ROUNDS, BURST_SECS, QUIET_SECS)
    for engine in reports.keys() & {FORETUNE, FROZEN}:
        choices = [report["choice"] for report in reports[engine]]
        row["engines"][engine] |= {
            "run_by": [choice["name"] for choice in choices],
            "refused": [choice["refused"] for choice in choices],
        }
    return {"model": name, "trials": trials, **row}


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The ratios to quote, of the models that all engines ran; more is better, but for compile time and memory."""
    whole = [row["engines"] for row in rows if all("ms" in row["engines"].get(e, {}) for e in ENGINES)]
    if not whole:
        return {"num_models": 0, "num_failed": len(rows)}
    best = [min(engines[e]["ms"] for e in RIVALS) / engines[FROZEN]["ms"] for engines in whole]

    def ratio(key: str, above: str, below: str) -> float:
        return geomean([engines[above][key] / engines[below][key] for engines in whole])

    return {
        "vs_best_rival": geomean(best),
        "worst_vs_best_rival": min(best),
        "vs_inductor": ratio("ms", "inductor", FORETUNE),
        "vs_freezing": ratio("ms", FREEZING, FROZEN),
        "first_call_vs_inductor": ratio("compile_secs", FORETUNE, "inductor"),
        "peak_vs_inductor": ratio("peak_bytes", FORETUNE, "inductor"),
        "max_rel_error": max(engines[e]["max_rel_error"] for engines in whole for e in (FORETUNE, FROZEN)),
        "num_models": len(whole),
        "num_failed": len(rows) - len(whole),
        "num_disturbed": sum(not row["was_quiet"] for row in rows),
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [case.name for case in REAL_MODELS]
    parser.add_argument("--trials", type=int, default=0, help="for each tuning task")
    parser.add_argument("--seconds", type=float, default=600.0, help="of tuning, for each model")
    parser.add_argument("--batch", type=int, nargs="*", default=[1], choices=[1, 8])
    parser.add_argument(
        "--only", nargs="*", default=names, choices=names, metavar="NAME", help=f"some of {', '.join(names)}"
    )
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS, help="of model and inputs")
    parser.add_argument("--again", action="store_true", help="measure models anew that have a row")
    parser.add_argument(
        "--first-calls", action="store_true", help="of models that have a row, measure only the first calls anew"
    )
    options = parser.parse_args()
    ROWS.mkdir(parents=True, exist_ok=True)
    _RUNS.mkdir(exist_ok=True)
    for name in (case_name(name, batch, options.precision) for name in options.only for batch in options.batch):
        path = ROWS / f"{name}-{options.trials}.json"
        if options.first_calls and path.exists():
            row = json.loads(path.read_text())
            measure_first_calls(row, options.trials, options.seconds, options.seed)
            write_text_atomically(path, json.dumps(row, indent=1) + "\n")
            secs = {engine: round(row["engines"][engine]["compile_secs"], 1) for engine in ("inductor", FORETUNE)}
            print(name, secs, file=sys.stderr, flush=True)
        elif options.again or not path.exists():
            row = measure(name, options.trials, options.seconds, options.seed)
            write_text_atomically(path, json.dumps(row, indent=1) + "\n")
            print(
                name,
                {e: round(v.get("ms", float("nan")), 2) for e, v in row["engines"].items()},
                "" if row["was_quiet"] else "(the machine was not quiet)",
                file=sys.stderr,
                flush=True,
            )
    rows = [json.loads(path.read_text()) for path in sorted(ROWS.glob("*.json"))]
    parts = {key: [row for row in rows if _part_of(row) == key] for key in dict.fromkeys(map(_part_of, rows))}
    more = {key: figures(part) for key, part in parts.items() if key}
    write_results("real_models", {**figures(parts.get("", [])), **more}, rows)


def _part_of(row: dict[str, Any]) -> str:
    """Which figures a row belongs to; no name for those of float32 without trials."""
    precision = next((p for p in PRECISIONS if row["model"].endswith(f"-{p}")), "")
    trials = f"{row['trials']} trials" if row["trials"] else ""
    return ", ".join(filter(None, (precision, trials)))


if __name__ == "__main__":
    main()
