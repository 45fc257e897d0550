"""Foretune of this checkout beside that of another one: `python benchmarks/beside.py FOLDER [--trials 0] [--only NAME
…]`.

Says what a change costs; this checkout runs twice, the second time with `freeze`. Each compiles a model in a process of
its own, with its own database; then they run in turns, in bursts, and medians over bursts are compared. FOLDER is the
root of another checkout whose packages and metadata (entry points) can be imported from there. Needs a quiet machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from in_turns import started, time_in_turns
from results import write_results
from tuning_report import geomean

from foretune.compiler.workloads.engine import CompileModels
from foretune.compiler.workloads.suite import BENCHMARK_MODELS

ROUNDS, BURST_SECS = 11, 0.2
HERE, FROZEN, OTHER = "here", "here, frozen", "other"  # frozen: with the promise that weights stay
MODULES = ("foretune/compiler/workloads/engine.py", "compiler/engine.py")  # where the engine's process is, by age


def _module_of(folder: Path) -> str:
    path = next(path for path in MODULES if (folder / path).exists())
    return "foretune." + path.removeprefix("foretune/").removesuffix(".py").replace("/", ".")


@contextlib.contextmanager
def _imported_from(folder: Path):
    kept = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH")
        if kept is not None:
            os.environ["PYTHONPATH"] = kept


def measure(name: str, folders: dict[str, Path], options: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Milliseconds of a call of a model in each checkout, who runs it, and seconds of the first call."""
    row: dict[str, Any] = {"model": name}
    with contextlib.ExitStack() as stack:
        processes = {}
        for key, folder in folders.items():
            own = {**options, "database": str(scratch / f"{key}.db"), **({"freeze": True} if key == FROZEN else {})}
            hello = CompileModels("foretune", 0, "BENCHMARK_MODELS", (name,), own)
            with _imported_from(folder):
                processes[key] = stack.enter_context(started(_module_of(folder), hello))
            welcome = processes[key].welcome
            run_by = [report["choice"]["name"] for report in welcome.reports]
            row[key] = {**asdict(welcome.made[name]), "run_by": run_by}
        times = time_in_turns(processes, name, ROUNDS, BURST_SECS)
    for key, values in times.items():
        row[key]["ms"] = statistics.median(values)
    row["load_average"] = round(os.getloadavg()[0], 2)
    return row


def main() -> None:
    """Runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [case.name for case in BENCHMARK_MODELS]
    parser.add_argument("folder", type=Path, help="root of the other checkout")
    parser.add_argument("--trials", type=int, default=0, help="for each tuning task")
    parser.add_argument("--unguarded", action="store_true", help="TVM runs what it can take, without a contest")
    parser.add_argument("--only", nargs="*", default=names, choices=names, metavar="NAME")
    options = parser.parse_args()
    here = Path(__file__).parents[1]
    folders = {HERE: here, FROZEN: here, OTHER: options.folder.resolve()}
    shared = {"trials": options.trials, "progress": False, "guard": not options.unguarded}
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.only:
            rows.append(measure(name, folders, shared, Path(scratch)))
            print(
                name,
                {key: (round(rows[-1][key]["ms"], 3), rows[-1][key]["run_by"]) for key in folders},
                file=sys.stderr,
                flush=True,
            )
    ratios = {key: [row[OTHER]["ms"] / row[key]["ms"] for row in rows] for key in (HERE, FROZEN)}
    found = {
        "speed_vs_other": geomean(ratios[HERE]),
        "worst_vs_other": min(ratios[HERE]),
        "frozen_vs_other": geomean(ratios[FROZEN]),
    }
    write_results("beside", {**found, "worst_frozen_vs_other": min(ratios[FROZEN]), "num_models": len(rows)}, rows)


if __name__ == "__main__":
    main()
