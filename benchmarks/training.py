"""Steps of training in eager PyTorch, Inductor and Foretune: `python benchmarks/training.py [--only NAME …]`.

A step is forward, backward and plain SGD. Each engine compiles a model in a process of its own, one after the other;
then all take steps in turns. Needs a quiet machine; `--tiny` tries the benchmark itself, and writes no figures.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from in_turns import compile_and_time
from results import FOLDER, write_results
from training_cases import SIZES
from tuning_report import geomean

from foretune.compiler.workloads.engine import ENGINES, CompileModels

EAGER, INDUCTOR, FORETUNE = ENGINES
ROUNDS, BURST_SECS = 9, 1.0
QUIET_SECS = 30.0
CHILD = str(Path(__file__).with_name("training_child.py"))


def measure(
    name: str, options: dict[str, Any], seed: int, size: str = "real", rounds: int = ROUNDS, burst: float = BURST_SECS
) -> dict[str, Any]:
    """The row of a model.

    Args:
        name: of the case.
        options: of Foretune.
        seed: of weights and data.
        size: key of `SIZES`.
        rounds: bursts of each engine.
        burst: seconds of steps.
    """
    hellos = {e: CompileModels(e, seed, size, (name,), options if e == FORETUNE else None) for e in ENGINES}
    row, reports = compile_and_time(hellos, CHILD, name, rounds, burst, QUIET_SECS if size == "real" else 0.0)
    if FORETUNE in reports:
        row["choices"] = [report["choice"] for report in reports[FORETUNE]]
    return {"model": name, **row}


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The ratios to quote, of the models that all engines trained; of speed more is better, of the others less."""
    whole = [row["engines"] for row in rows if all("ms" in row["engines"].get(engine, {}) for engine in ENGINES)]
    if not whole:
        return {"num_models": 0, "num_failed": len(rows)}

    def ratios(key: str, above: str, below: str) -> list[float]:
        return [engines[above][key] / engines[below][key] for engines in whole]

    return {
        "vs_inductor": geomean(ratios("ms", INDUCTOR, FORETUNE)),
        "worst_vs_inductor": min(ratios("ms", INDUCTOR, FORETUNE)),
        "vs_eager": geomean(ratios("ms", EAGER, FORETUNE)),
        "worst_vs_eager": min(ratios("ms", EAGER, FORETUNE)),
        "first_step_vs_inductor": geomean(ratios("compile_secs", FORETUNE, INDUCTOR)),
        "peak_vs_inductor": geomean(ratios("peak_bytes", FORETUNE, INDUCTOR)),
        "max_rel_error": max(engines[FORETUNE]["max_rel_error"] for engines in whole),
        "num_models": len(whole),
        "num_failed": len(rows) - len(whole),
        "num_disturbed": sum(not row["was_quiet"] for row in rows),
    }


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [case.name for case in SIZES["real"]]
    parser.add_argument("--trials", type=int, default=0, help="for each tuning task")
    parser.add_argument("--seconds", type=float, default=600.0, help="of tuning, for each model")
    parser.add_argument("--only", nargs="*", default=names, choices=names, metavar="NAME", help=f"of {names}")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the benchmark itself")
    chosen = parser.parse_args()
    runs = FOLDER.parent.parent / "runs"
    runs.mkdir(exist_ok=True)
    options = {"trials": chosen.trials, "seconds": chosen.seconds, "progress": False}
    options["database"] = str(runs / "training.db")
    rows = []
    for name in chosen.only:
        size, rounds, burst = ("tiny", 3, 0.1) if chosen.tiny else ("real", ROUNDS, BURST_SECS)
        rows.append(measure(name, options, chosen.seed, size, rounds, burst))
        print(name, {e: v.get("ms", v.get("error")) for e, v in rows[-1]["engines"].items()}, file=sys.stderr)
    if chosen.tiny:
        print(json.dumps({"figures": figures(rows), "rows": rows}, indent=1))
    else:
        write_results("training", figures(rows), rows)


if __name__ == "__main__":
    main()
