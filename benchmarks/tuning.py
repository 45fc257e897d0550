"""Tuning of held-out subgraphs, Foretune against MetaSchedule: `python benchmarks/tuning.py [--quick]`.

Every run, a subgraph tuned by a method from a seed, is a process of its own and ends in a JSON row in
`benchmarks/results/tuning/`. The same command goes on where it was stopped; runs that failed are tried again. The order
makes a part of it useful: first the methods that the figures need, with the first seed, on all subgraphs. All methods
share builder, runner and target; clocks start when the measuring processes are up. Budgets are prefixes of one run,
because neither side's search knows its budget: a run of MetaSchedule as shipped goes up to the reference's number of
trials, and is also MetaSchedule at 16, 64 and 128.

In the end all schedules that a run of a subgraph had as its best at some point are measured in turns, in rounds, in one
process, and compared with the output of the unscheduled program; medians over rounds are what the figures are made
from. Needs a quiet machine.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tuning_report as report
from results import FOLDER, write_results
from tuning_plots import write_plots
from tuning_workloads import HELD_OUT, check_held_out

from foretune.support.files import write_text_atomically

METHODS = {  # in the order of running
    "foretune-0": "the pick of the bundled weights, nothing measured",
    "foretune": "LatentSearchStrategy and ForetuneCostModel in TVM's `tune_tir`",
    "ms-xgb": "MetaSchedule as shipped: its XGBoost scores at random until it has 100 samples",
    "ms-xgb-warm": "the same, scoring from 16 samples on",
    "ms-random": "MetaSchedule's evolutionary search with random scores",
    "ms-mlp": "MetaSchedule with TVM's MLP, which fails on a single task as shipped (see tuning_mlp.py)",
}
NEEDED = ("foretune-0", "foretune", "ms-xgb")
QUICK_TASKS = ("conv2d_3x3", "batch_matmul")


@dataclass(frozen=True)
class Run:
    """A tuning run to do."""

    task: str
    threads: int
    method: str
    seed: int
    num_trials: int


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        folder: of the rows.
        tasks, methods: by name.
        seeds: of the searches.
        budgets: numbers of trials to report.
        reference_trials: of the reference.
        threads: of the kernels.
        rounds: of the comparison.
        quiet_wait_secs: how long the comparison waits for other processes to end, before it takes times as they come.
    """

    folder: Path
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    budgets: tuple[int, ...]
    reference_trials: int
    threads: int = 1
    rounds: int = 7
    quiet_wait_secs: float = 30.0

    def stages(self) -> Iterator[list[Run]]:
        """Runs in the order of doing, in parts that are useful by themselves."""
        for seed in self.seeds:
            for group in (NEEDED, tuple(m for m in METHODS if m not in NEEDED)):
                if runs := [
                    self._run(task, method, seed) for method in group if method in self.methods for task in self.tasks
                ]:
                    yield runs

    def _run(self, task: str, method: str, seed: int) -> Run:
        num_trials = (
            0 if method == "foretune-0" else self.reference_trials if method == report.REFERENCE else max(self.budgets)
        )
        return Run(task, self.threads, method, seed, num_trials)

    def results(self) -> report.Results:
        """What there is so far."""
        return report.read_results(self.folder, self.tasks, self.methods, self.seeds, self.threads)


# -- doing -------------------------------------------------------------------------------------------


def do(plan: Plan) -> None:
    """Does what is not done; the first stage is compared and reported before the next begins, since it is the most
    telling one.
    """
    weights = weights_hash()
    stages = list(plan.stages())
    for number, stage in enumerate(stages):
        for run in stage:
            if not is_done(plan, run, weights):
                tune(plan, run, weights)
        if number in (0, len(stages) - 1):
            for task in plan.tasks:
                compare(plan, task)
            write_report(plan)


def is_done(plan: Plan, run: Run, weights: str) -> bool:
    """Whether a run's row is there, with as many trials, and of the same weights."""
    row = report.read_row(plan.folder / report.run_name(run.task, run.method, run.seed, run.threads))
    return (
        row is not None
        and row["status"] == "ok"
        and row["num_trials"] >= run.num_trials
        and row["weights"] in ("", weights)
    )


def tune(plan: Plan, run: Run, weights: str) -> None:
    """Does a run in a process of its own; what becomes of it is in its row."""
    path = plan.folder / report.run_name(run.task, run.method, run.seed, run.threads)
    request = {**asdict(run), "weights": weights if run.method.startswith("foretune") else ""}
    start = time.perf_counter()
    error = in_child(request, path, timeout_secs=600 + 10 * run.num_trials)
    if error:
        write_text_atomically(path, json.dumps({**request, "status": "error", "error": error}) + "\n")
    print(
        f"{run.task} {run.method} seed {run.seed}: {error or _last(path)}, {time.perf_counter() - start:.0f} s",
        file=sys.stderr,
        flush=True,
    )


def _last(path: Path) -> str:
    row = report.read_row(path)
    if not row["curve"]:
        return "picked"
    return f"{row['curve'][-1][3] * 1e6:.4g} us after {len(row['curve'])} trials"


def compare(plan: Plan, task: str) -> None:
    """Measures the best schedules of a task's runs in turns, unless that was done for all of them; rows of other
    methods and seeds count, too.
    """
    runs = [
        report.read_row(path)
        for path in sorted(plan.folder.glob(f"{HELD_OUT[task]}-{task}-{plan.threads}t-*-seed*.json"))
    ]
    traces = {key: packed for row in runs if row["status"] == "ok" for key, packed in row["traces"].items()}
    path = plan.folder / report.comparison_name(task, plan.threads)
    before = report.read_row(path)
    if not traces or (before is not None and before["status"] == "ok" and traces.keys() <= before["measured"].keys()):
        return
    request = {
        "task": task,
        "threads": plan.threads,
        "traces": traces,
        "rounds": plan.rounds,
        "quiet_wait_secs": plan.quiet_wait_secs,
    }
    start = time.perf_counter()
    error = in_child(request, path, timeout_secs=600 + 10 * plan.rounds * len(traces))
    print(
        f"{task}: {error or f'{len(traces)} schedules compared'}, {time.perf_counter() - start:.0f} s",
        file=sys.stderr,
        flush=True,
    )


def in_child(request: dict[str, Any], out: Path, timeout_secs: float) -> str:
    """Has a process serve a request; the error, or nothing."""
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "wb") as log:
        (Path(folder) / "request.json").write_text(json.dumps(request))
        command = [sys.executable, str(Path(__file__).with_name("tuning_runs.py")), f"{folder}/request.json", str(out)]
        # it ends by itself when its standard input does, and so with this process
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
        try:
            code = child.wait(timeout_secs)
        except subprocess.TimeoutExpired:
            return f"no end within {timeout_secs:.0f} s"
        finally:
            child.kill()
            child.wait()
            child.stdin.close()
        lines = Path(log.name).read_text(errors="replace").strip().splitlines()
    if code == 0:
        return ""
    return f"killed by signal {-code}" if code < 0 else (lines[-1][:400] if lines else f"exit code {code}")


def weights_hash() -> str:
    """Of the bundled weights: runs with others are done again."""
    from foretune.costmodel.latent.model import LatentCostModel

    return hashlib.sha256(LatentCostModel.bundled_path().read_bytes()).hexdigest()[:16]


def write_report(plan: Plan) -> None:
    """Writes figures, curves and pictures of what there is."""
    results = plan.results()
    figures = report.figures(results, plan.budgets, plan.reference_trials)
    ansor = report.read_row(FOLDER / "ansor.json")  # by ansor.py, which runs in an environment of its own
    if ansor is not None:
        figures["vs_ansor_64"] = ansor["figures"]["vs_ansor_64"]
    rows = report.summary_rows(results, plan.budgets, plan.reference_trials)
    write_text_atomically(
        plan.folder / "curves.csv", report.curves_csv(report.curve_rows(results, plan.reference_trials))
    )
    write_plots(plan.folder, results, plan.reference_trials)
    if plan.folder == FOLDER / "tuning":
        write_results("tuning", figures, rows)
    else:
        write_text_atomically(
            plan.folder / "figures.json", json.dumps({"figures": figures, "rows": rows}, indent=1) + "\n"
        )
        print(json.dumps(figures, indent=1))


# -- options -----------------------------------------------------------------------------------------


def parse(arguments: Sequence[str] | None = None) -> tuple[Plan, argparse.Namespace]:
    """The plan that options describe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="two subgraphs, one seed, a reference of 128 trials: under ten minutes; rows in runs/tuning_quick",
    )
    parser.add_argument("--tasks", help=f"some of {','.join(HELD_OUT)}")
    parser.add_argument("--methods", help=f"some of {','.join(METHODS)}")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--trials", default="0,16,64,128", help="budgets to report")
    parser.add_argument("--reference", type=int, default=640, help="trials of the reference")
    parser.add_argument("--threads", type=int, default=1, help="of the kernels; the bundled weights know one best")
    parser.add_argument("--rounds", type=int, default=7, help="of the comparison in the end")
    parser.add_argument(
        "--quiet-wait",
        type=float,
        default=30.0,
        help="seconds that the comparison waits for other processes to end; 0 takes times as they come",
    )
    parser.add_argument("--out", type=Path, help="folder of the rows")
    parser.add_argument(
        "--again",
        default="",
        help="methods whose rows are dropped first, such as foretune,foretune-0 after a change of the search",
    )
    parser.add_argument("--report-only", action="store_true", help="run nothing")
    options = parser.parse_args(arguments)
    plan = Plan(
        options.out or FOLDER / "tuning",
        _names(parser, options.tasks, HELD_OUT),
        _names(parser, options.methods, METHODS),
        tuple(range(options.seeds)),
        tuple(sorted({int(n) for n in options.trials.split(",")})),
        options.reference,
        options.threads,
        options.rounds,
        options.quiet_wait,
    )
    if options.quick:
        plan = replace(plan, seeds=(0,), budgets=(0, 16, 64), reference_trials=128, rounds=3, quiet_wait_secs=0.0)
        plan = replace(
            plan,
            tasks=plan.tasks if options.tasks else QUICK_TASKS,
            methods=plan.methods if options.methods else NEEDED,
        )
        plan = replace(plan, folder=options.out or FOLDER.parent.parent / "runs" / "tuning_quick")
    return plan, options


def _names(parser: argparse.ArgumentParser, text: str | None, known: dict[str, str]) -> tuple[str, ...]:
    names = tuple(text.split(",")) if text else tuple(known)
    if unknown := [name for name in names if name not in known]:
        parser.error(f"unknown {', '.join(unknown)}; known are {', '.join(known)}")
    return names


def main() -> None:
    """Runs the benchmark."""
    plan, options = parse()
    check_held_out()
    if options.report_only:
        write_report(plan)
        return
    plan.folder.mkdir(parents=True, exist_ok=True)
    folder = os.open(plan.folder, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until this process ends
    except OSError:
        raise SystemExit(f"another process runs this benchmark in {plan.folder}") from None
    for method in filter(None, options.again.split(",")):
        for path in plan.folder.glob(f"*-{plan.threads}t-{method}-seed*.json"):
            path.unlink()
    do(plan)


if __name__ == "__main__":
    main()
