"""What the rows of `tuning.py` say: latencies after each budget, curves, ratios with intervals.

A latency is the median over rounds of the comparison that ended a subgraph's runs, in which all schedules that any run
had as its best were measured in turns; never the time that a run itself saw. Ratios are better when higher.
"""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tuning_workloads import HELD_OUT

REFERENCE = "ms-xgb"
TOLERANCE = 1e-3  # largest error of a schedule, relative to the largest magnitude of the reference output
SAME_QUALITY = 1.01  # latencies this close are the same: the clock's noise
_RESAMPLES = 4000


@dataclass(frozen=True)
class Run:
    """A finished run and the latencies of its schedules.

    Attributes:
        row: as the run wrote it.
        latencies: trace key -> seconds; what failed or gave wrong output is missing.
    """

    row: dict[str, Any]
    latencies: Mapping[str, float]

    @property
    def task(self) -> str:
        """Short name of the subgraph."""
        return self.row["task"]

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.row["method"]

    @cached_property
    def points(self) -> list[tuple[int, float, float]]:
        """(trials, seconds since the start, latency of the best schedule then) for each checkpoint, in order."""
        elapsed = {number: secs for number, secs, *_ in self.row["curve"]}
        found = sorted((int(number), key) for number, key in self.row["winners"].items())
        return [
            (n, elapsed.get(n, self.row["elapsed_secs"]), self.latencies[key])
            for n, key in found
            if key in self.latencies
        ]

    def after(self, num_trials: int) -> tuple[float, float] | None:
        """(seconds, latency) after so many trials, or at the end where a run had no more; None if nothing worked by
        then.
        """
        found = [point for point in self.points if point[0] <= num_trials]
        if not found:
            return None
        ends = [secs for number, secs, *_ in self.row["curve"] if number <= num_trials]
        return (ends[-1] if ends else found[-1][1]), found[-1][2]

    def secs_to(self, latency: float) -> float | None:
        """Seconds until the best schedule after a batch had that latency; None if none had."""
        last = {secs: found for _, secs, found in self.points}  # a batch's results come together, at its end
        return next((secs for secs, found in last.items() if found <= SAME_QUALITY * latency), None)


@dataclass(frozen=True)
class Results:
    """All runs whose schedules were compared.

    Attributes:
        runs: in the order of tasks.
        failed: rows of runs that failed.
        defaults: task -> latency of the unscheduled program.
        errors: largest relative error of each schedule that was compared, in no order.
    """

    runs: list[Run]
    failed: list[dict[str, Any]]
    defaults: dict[str, float]
    errors: list[float]

    def select(self, method: str) -> dict[str, list[Run]]:
        """Runs of a method by task."""
        found: defaultdict[str, list[Run]] = defaultdict(list)
        for run in self.runs:
            if run.method == method:
                found[run.task].append(run)
        return dict(found)

    def latency(self, method: str, num_trials: int) -> dict[str, float]:
        """Task -> geometric mean over seeds of the latency after so many trials."""
        found = {
            task: [at[1] for run in runs if (at := run.after(num_trials)) is not None]
            for task, runs in self.select(method).items()
        }
        return {task: geomean(values) for task, values in found.items() if values}


def read_results(
    folder: Path, tasks: Iterable[str], methods: Iterable[str], seeds: Iterable[int], threads: int
) -> Results:
    """Reads the rows of a folder; a run without a comparison is left out."""
    runs, failed, defaults, errors = [], [], {}, []
    for task in tasks:
        comparison = read_row(folder / comparison_name(task, threads))
        measured = comparison["measured"] if comparison is not None and comparison["status"] == "ok" else {}
        found = {key: float(value["max_rel_error"]) for key, value in measured.items()}
        errors += found.values()
        latencies = {
            key: statistics.median(value["secs"])
            for key, value in measured.items()
            if value["secs"] and found[key] <= TOLERANCE
        }
        if measured and comparison["default"] in latencies:
            defaults[task] = latencies[comparison["default"]]
        for row in (read_row(folder / run_name(task, m, s, threads)) for m in methods for s in seeds):
            if row is not None and row["status"] != "ok":
                failed.append(row)
            elif row is not None and set(row["winners"].values()) <= measured.keys():
                runs.append(Run(row, latencies))
    return Results(runs, failed, defaults, errors)


def run_name(task: str, method: str, seed: int, threads: int) -> str:
    """File name of a run's row."""
    return f"{HELD_OUT[task]}-{task}-{threads}t-{method}-seed{seed}.json"


def comparison_name(task: str, threads: int) -> str:
    """File name of a comparison's row."""
    return f"{HELD_OUT[task]}-{task}-{threads}t-comparison.json"


def read_row(path: Path) -> dict[str, Any] | None:
    """A row, or None if there is none."""
    return json.loads(path.read_text()) if path.exists() else None


# -- figures -----------------------------------------------------------------------------------------


def figures(results: Results, budgets: Sequence[int], reference_trials: int) -> dict[str, Any]:
    """The numbers to quote."""
    middle = 64 if 64 in budgets else max(budgets)
    rival, reference = results.latency(REFERENCE, middle), results.latency(REFERENCE, reference_trials)
    ours = results.latency("foretune", middle)
    secs = secs_ratios(results, middle)
    tuned = [run for run in results.runs if run.method == "foretune"]
    found = {
        **_with_interval(f"vs_metaschedule_{middle}", ratios(rival, ours)),
        **_with_interval(f"vs_metaschedule_{reference_trials}", ratios(reference, ours)),
        **_with_interval(f"zero_trials_vs_metaschedule_{middle}", ratios(rival, results.latency("foretune-0", 0))),
        "vs_ansor_64": None,
        **_with_interval("secs_ratio", {task: geomean([r for r, _ in pairs]) for task, pairs in secs.items()}),
        "share_that_reached": _mean([reached for pairs in secs.values() for _, reached in pairs]),
        "own_secs_per_trial": _mean([run.row["own_secs_per_trial"] for run in tuned]),
        "metaschedule_own_secs_per_trial": _mean(
            [run.row["own_secs_per_trial"] for run in results.runs if run.method == REFERENCE]
        ),
        f"relative_to_metaschedule_{reference_trials}": _table(results, budgets, reference_trials, reference),
        "num_tasks": len(ours),
        "num_seeds": len({run.row["seed"] for run in tuned}),
        "num_runs": len(results.runs),
        "num_compared": len(results.errors),
        "num_wrong": sum(error > TOLERANCE for error in results.errors),
        "max_rel_error": max((e for e in results.errors if e <= TOLERANCE), default=None),
        "failed": [
            {"task": row["task"], "method": row["method"], "seed": row["seed"], "error": row["error"]}
            for row in results.failed
        ],
    }
    return found


def _table(
    results: Results, budgets: Sequence[int], reference_trials: int, reference: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Method -> trials -> speed relative to the reference, geometric mean over tasks."""
    table: dict[str, dict[str, float]] = {}
    for method in dict.fromkeys(run.method for run in results.runs):
        counts = (
            [0]
            if method == "foretune-0"
            else [b for b in budgets if b] + ([reference_trials] if method == REFERENCE else [])
        )
        table[method] = {
            str(n): geomean(found.values()) for n in counts if (found := ratios(reference, results.latency(method, n)))
        }
    return table


def secs_ratios(results: Results, num_trials: int) -> dict[str, list[tuple[float, bool]]]:
    """Task -> for each seed, the reference's seconds for its trials over Foretune's for the same quality, and whether
    it got there.

    A run that never gets there is no faster: its ratio is at most 1.
    """
    rivals = results.select(REFERENCE)
    found: defaultdict[str, list[tuple[float, bool]]] = defaultdict(list)
    for task, runs in results.select("foretune").items():
        for run in runs:
            rival = next((r for r in rivals.get(task, ()) if r.row["seed"] == run.row["seed"]), None)
            at = rival.after(num_trials) if rival is not None else None
            if at is not None:
                secs = run.secs_to(at[1])
                found[task].append(
                    (at[0] / secs, True) if secs is not None else (min(1.0, at[0] / run.row["elapsed_secs"]), False)
                )
    return dict(found)


def ratios(of: Mapping[str, float], to: Mapping[str, float]) -> dict[str, float]:
    """Task -> how many times as fast `to` is, for the tasks that both have."""
    return {task: of[task] / to[task] for task in of if task in to}


def geomean(values: Iterable[float]) -> float:
    """Geometric mean."""
    return math.exp(statistics.fmean(math.log(v) for v in values))


def interval(values: Sequence[float]) -> list[float]:
    """95 % interval of the geometric mean, by bootstrap over the values."""
    logs, rng = np.log(np.array(values)), np.random.default_rng(0)
    means = logs[rng.integers(len(logs), size=(_RESAMPLES, len(logs)))].mean(1)  # [R]
    return [float(math.exp(q)) for q in np.quantile(means, [0.025, 0.975])]


def _with_interval(name: str, by_task: Mapping[str, float]) -> dict[str, Any]:
    values = list(by_task.values())
    return {name: geomean(values) if values else None, f"{name}_interval": interval(values) if values else None}


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


# -- curves ------------------------------------------------------------------------------------------


def curve_rows(results: Results, reference_trials: int) -> list[dict[str, Any]]:
    """A row for each checkpoint of each run; `relative_speed` is against the reference's mean at the end."""
    reference = results.latency(REFERENCE, reference_trials)
    return [
        {
            "task": run.task,
            "method": run.method,
            "seed": run.row["seed"],
            "trials": number,
            "secs": round(secs, 3),
            "latency_secs": latency,
            "relative_speed": reference[run.task] / latency if run.task in reference else "",
        }
        for run in results.runs
        for number, secs, latency in run.points
    ]


def curves_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Curves as CSV."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def mean_curve(
    runs: Sequence[Run],
    reference: Mapping[str, float],
    at: Sequence[float],
    position: Callable[[tuple[int, float, float]], float],
) -> np.ndarray:
    """Geometric mean over runs of the speed relative to the reference; [G], NaN where a run has no schedule yet.

    Args:
        runs: of one method.
        reference: task -> latency; runs of other tasks are left out.
        at: trials or seconds, ascending; after its end a run keeps its last value.
        position: where on that axis a checkpoint (trials, seconds, latency) is.
    """
    by_task: defaultdict[str, list[list[float]]] = defaultdict(list)
    for run in runs:
        if run.task in reference:
            values = [
                next((math.log(reference[run.task] / p[2]) for p in reversed(run.points) if position(p) <= x), math.nan)
                for x in at
            ]
            by_task[run.task].append(values)
    return (
        np.exp(np.mean([np.mean(found, 0) for found in by_task.values()], 0)) if by_task else np.full(len(at), math.nan)
    )


def summary_rows(results: Results, budgets: Sequence[int], reference_trials: int) -> list[dict[str, Any]]:
    """A row for each run, without its traces."""
    rows = []
    for run in results.runs:
        counts = (
            [0]
            if run.method == "foretune-0"
            else sorted({*(b for b in budgets if b), *([reference_trials] if run.method == REFERENCE else [])})
        )
        at = {n: found for n in counts if (found := run.after(n)) is not None}
        rows.append(
            {
                "task": run.task,
                "workload": HELD_OUT[run.task],
                "method": run.method,
                "seed": run.row["seed"],
                "threads": run.row["threads"],
                "trials": len(run.row["curve"]),
                "elapsed_secs": run.row["elapsed_secs"],
                "own_secs_per_trial": run.row.get("own_secs_per_trial"),
                "latency_secs": {str(n): latency for n, (_, latency) in at.items()},
                "secs": {str(n): round(secs, 3) for n, (secs, _) in at.items()},
                "default_secs": results.defaults.get(run.task),
                "load_average": run.row["load_average"],
                "warnings": run.row["warnings"],
            }
        )
    return rows
