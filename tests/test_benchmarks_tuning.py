"""What `benchmarks/tuning.py` makes of its rows; made-up latencies, nothing is tuned."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = str(Path(__file__).parents[1] / "benchmarks")

sys.path.append(BENCHMARKS)  # no package: its files are run as scripts
try:
    import tuning
    import tuning_report as report
finally:
    sys.path.remove(BENCHMARKS)

TASKS = ("softmax", "matmul")
SECS = {"a": 1e-3, "b": 2e-3, "c": 4e-3}  # trace key -> latency


def write_run(
    folder: Path,
    task: str,
    method: str,
    winners: dict[int, str],
    secs_a_trial: float,
    num_trials: int = 128,
    seed: int = 0,
    **more,
) -> None:
    row = {
        "task": task,
        "threads": 1,
        "method": method,
        "seed": seed,
        "num_trials": num_trials,
        "weights": "",
        "status": "ok",
        "winners": winners,
        "curve": [[n, n * secs_a_trial, None, None] for n in range(1, num_trials + 1)],
        "elapsed_secs": num_trials * secs_a_trial,
        "own_secs_per_trial": 0.01,
        "load_average": [0, 0],
        "warnings": [],
        "traces": {key: "" for key in winners.values()},
        **more,
    }
    (folder / report.run_name(task, method, seed, 1)).write_text(json.dumps(row))


def write_comparison(folder: Path, task: str, wrong: tuple[str, ...] = ()) -> None:
    measured = {
        k: {"secs": [s, 0.9 * s, 5 * s], "status": "ok", "max_rel_error": "inf" if k in wrong else 1e-6}
        for k, s in {**SECS, "default": 1.0}.items()
    }
    row = {"task": task, "threads": 1, "status": "ok", "default": "default", "measured": measured}
    (folder / report.comparison_name(task, 1)).write_text(json.dumps(row))


def results(folder: Path, seeds=(0,)) -> report.Results:
    return report.read_results(folder, TASKS, tuning.METHODS, seeds, 1)


@pytest.fixture
def folder(tmp_path):
    for task in TASKS:
        write_run(tmp_path, task, "ms-xgb", {1: "c", 64: "b", 640: "a"}, 1.0, 640)
        write_run(tmp_path, task, "foretune", {16: "b", 64: "a"}, 0.25)
        write_run(tmp_path, task, "foretune-0", {0: "c"}, 1.0, 0)
        write_comparison(tmp_path, task)
    return tmp_path


def test_figures(folder):
    found = report.figures(results(folder), (0, 16, 64, 128), 640)
    assert found["vs_metaschedule_64"] == pytest.approx(2) and found["vs_metaschedule_64_interval"] == pytest.approx(
        [2, 2]
    )
    assert found["vs_metaschedule_640"] == pytest.approx(1) and found[
        "zero_trials_vs_metaschedule_64"
    ] == pytest.approx(0.5)
    assert found["secs_ratio"] == pytest.approx(64 / 4) and found["share_that_reached"] == 1
    assert found["relative_to_metaschedule_640"]["ms-xgb"] == pytest.approx(
        {"16": 0.25, "64": 0.5, "128": 0.5, "640": 1}
    )
    assert found["num_tasks"] == 2 and found["num_wrong"] == 0 and not found["failed"]
    assert json.loads(json.dumps(found))["vs_ansor_64"] is None


def test_a_run_that_does_not_get_there_is_no_faster(folder):
    for task in TASKS:
        write_run(folder, task, "foretune", {16: "c", 128: "c"}, 0.25)
    found = report.figures(results(folder), (0, 16, 64, 128), 640)
    assert found["secs_ratio"] == 1 and found["share_that_reached"] == 0


def test_wrong_output_is_not_a_winner(folder):
    write_comparison(folder, "softmax", wrong=("a",))
    found = results(folder)
    assert found.latency("foretune", 64) == pytest.approx({"softmax": 2e-3, "matmul": 1e-3})
    assert report.figures(found, (0, 64), 640)["num_wrong"] == 1


def test_failed_and_uncompared_runs_are_left_out(folder):
    write_run(folder, "softmax", "ms-mlp", {64: "never compared"}, 1.0)
    write_run(folder, "matmul", "ms-mlp", {}, 1.0, status="error", error="boom")
    found = results(folder)
    assert not found.select("ms-mlp") and [row["error"] for row in found.failed] == ["boom"]


def test_curves(folder):
    found = results(folder)
    rows = report.curve_rows(found, 640)
    assert report.curves_csv(rows).splitlines()[0] == "task,method,seed,trials,secs,latency_secs,relative_speed"
    speeds = report.mean_curve(
        found.select("foretune")["matmul"], found.latency("ms-xgb", 640), [8, 16, 100], lambda point: point[0]
    )
    assert speeds[1:] == pytest.approx([0.5, 1]) and speeds[0] != speeds[0]
    tuning.write_plots(folder, found, 640)
    assert all((folder / f"{name}.png").stat().st_size > 1000 for name in ("trials", "seconds", "tasks"))


def test_the_most_telling_runs_come_first_and_rows_are_kept(folder, monkeypatch):
    plan, _ = tuning.parse(["--out", str(folder), "--tasks", ",".join(TASKS), "--seeds", "2"])
    stages = list(plan.stages())
    assert [(stage[0].seed, {run.method for run in stage} == set(tuning.NEEDED)) for stage in stages] == [
        (0, True),
        (0, False),
        (1, True),
        (1, False),
    ]
    assert sum(map(len, stages)) == 2 * 2 * len(tuning.METHODS)
    assert all(tuning.is_done(plan, run, "") for run in stages[0]) and not any(
        tuning.is_done(plan, run, "") for run in stages[1]
    )
    tuned = next(run for run in stages[0] if run.method == "foretune")
    write_run(folder, tuned.task, "foretune", {}, 1.0, weights="other weights")
    assert not tuning.is_done(plan, tuned, "these weights")


def test_a_failed_child_says_why(tmp_path):
    error = tuning.in_child(
        {"task": "no such task", "threads": 1, "traces": {}, "rounds": 1, "quiet_wait_secs": 0},
        tmp_path / "row.json",
        120,
    )
    assert "KeyError" in error and not (tmp_path / "row.json").exists()


def test_subgraphs_are_held_out():
    tuning.check_held_out()
    assert len(tuning.HELD_OUT) >= 12 and len(set(tuning.HELD_OUT.values())) == len(tuning.HELD_OUT)
