"""Searches for sequences: contract of the strategies, budgets, going on from records, the command line."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from foretune.datasets.records.store import RecordStore
from foretune.errors import OptionError
from foretune.passes.llvm.actions import PassSequence
from foretune.passes.llvm.program import load_programs
from foretune.passes.llvm.suite import categories, held_out, training
from foretune.passes.llvm.tuning.moves import BASE
from foretune.passes.llvm.tuning.search import STRATEGIES, GeneticSearch, RandomSearch, RankedSearch
from foretune.passes.llvm.tuning.tuning import BASELINE_SECS, OBJECTIVES, PassTuneConfig, tune
from foretune.record import MeasureRecord, Status, Trajectory
from foretune.task import Candidate
from foretune.trace import Action, Trace
from foretune.tuning.trials import append_records
from tests.passes import sources


def ranked(seed=0, polly=True):
    return RankedSearch(
        lambda pool: np.array([float(sum("threshold" in flag.name for flag in s.flags)) for s in pool]), seed, polly
    )


def landscape(sequence):
    """Costs with something to find: two flags and a pass help, one flag fails."""
    if any(flag.name == "unroll-count" for flag in sequence.flags):
        return math.inf
    helpful = sum("threshold" in flag.name for flag in sequence.flags)
    return 1.0 / (1 + 0.2 * helpful) + 0.002 * len(sequence.passes)


def searched(strategy, num=60, batch=4):
    seen = []
    while len(seen) < num:
        suggested = strategy.suggest(batch)
        strategy.observe([(s, landscape(s)) for s in suggested])
        seen += suggested
    return seen


@pytest.mark.parametrize("make", [*STRATEGIES.values(), ranked], ids=[*STRATEGIES, "ranked"])
def test_strategies(make):
    seen = searched(make(seed=0))
    assert len(set(seen)) == len(seen) and BASE not in seen
    assert seen == searched(make(seed=0)) and seen != searched(make(seed=1))
    assert not any(s.uses_polly for s in searched(make(seed=0, polly=False)))
    assert min(map(landscape, seen)) < 1


def test_the_genetic_search_beats_chance():
    best = {
        make: np.mean([min(map(landscape, searched(make(seed)))) for seed in range(8)])
        for make in (RandomSearch, GeneticSearch)
    }
    assert best[GeneticSearch] < best[RandomSearch]


def test_a_good_ranking_halves_the_measurements():
    def first_at(strategy, cost):
        return next((i for i, s in enumerate(searched(strategy, 120)) if landscape(s) <= cost), 120)

    plain = np.median([first_at(GeneticSearch(seed), 0.75) for seed in range(8)])
    helped = np.median(
        [first_at(RankedSearch(lambda pool: np.array([-landscape(s) for s in pool]), seed), 0.75) for seed in range(8)]
    )
    assert helped <= plain / 2


@pytest.fixture
def program(toolchain, tmp_path):
    (tmp_path / "sum.c").write_text(sources.SUM)
    return load_programs(tmp_path / "sum.c", tmp_path / "built")[0]


def test_budget_and_going_on(program, measurer, tmp_path):
    store = tmp_path / "store"
    seen = []
    first = tune(
        program,
        measurer,
        lambda _: GeneticSearch(0),
        PassTuneConfig(8, store=store, final_repeats=3),
        lambda r: seen.append(len(r.trials)),
    )
    assert 0 < len(first.trials) <= 8 and seen == sorted(seen) and first.num_reused == 0
    assert first.best == BASE or first.gain > 1
    with RecordStore(store) as records:
        stored = list(records.trajectories())
    assert {t.record.status for t in stored} == {t.status for t in first.trials} and all(
        len(t.initial) == 1 for t in stored
    )
    again = tune(program, measurer, lambda _: GeneticSearch(0), PassTuneConfig(12, store=store, final_repeats=3))
    assert again.num_reused == len(stored) and len(again.trials) <= 12
    assert [t.sequence for t in again.trials[: len(stored)]] == [
        PassSequence.from_trace(t.record.trace) for t in stored
    ]


@pytest.mark.parametrize("objective", [o for o in OBJECTIVES if o != "time"])
def test_counted_objectives(program, measurer, objective):
    result = tune(program, measurer, lambda _: RandomSearch(0), PassTuneConfig(6, objective))
    assert result.gain >= 1 and result.interval == () and all(t.status is Status.OK for t in result.trials)


def test_configurations_that_are_refused():
    for options, reason in (
        ({"budget": 0}, "`budget >= 1`"),
        ({"objective": "joy"}, "objective must be one of"),
        ({"final_repeats": 1}, "`final_repeats >= 3`"),
    ):
        with pytest.raises(OptionError, match=reason):
            PassTuneConfig(**options)


def run(*words, folder):
    return subprocess.run(
        [sys.executable, "-m", "foretune", "passes", *map(str, words)], capture_output=True, text=True, cwd=folder
    )


def test_the_command_line(toolchain, tmp_path):
    (tmp_path / "sum.c").write_text(sources.SUM)
    done = run("tune", "sum.c", "--budget", 6, "--out", "result.json", "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document == json.loads((tmp_path / "result.json").read_text()) and document["results"][0]["num_trials"] <= 6
    done = run("replay", "result.json", "--repeats", 3, "--json", folder=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["results"][0]["status"] == "ok", done.stderr
    done = run("explain", "result.json", "--repeats", 3, "--evidence", "evidence.jsonl", folder=tmp_path)
    assert done.returncode == 0 and "needed: opt -passes=" in done.stdout and (tmp_path / "evidence.jsonl").exists(), (
        done.stderr
    )
    done = run("bench", "sum.c", "--searches", "random,greedy", "--budget", 4, "--json", folder=tmp_path)
    assert done.returncode == 0 and set(json.loads(done.stdout)["geometric_means"]) == {"random", "greedy"}, done.stderr
    done = run("collect", "--out", "records", "--per-program", 5, ".", "--json", folder=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["num_records"]["sum"] >= 2, (
        done.stderr
    )  # more, where the processor gives more different code
    (tmp_path / "sum.c").write_text(sources.SUM.replace("0.25", "0.5"))
    done = run("replay", "result.json", folder=tmp_path)
    assert done.returncode == 1 and "has changed since it was tuned" in done.stderr
    for words, reason in (
        (["tune", "none.c"], "there is no file or folder"),
        (["tune", "sum.c", "--search", "luck"], "search must be one of"),
        (["replay", "sum.c"], "is no file of"),
    ):
        done = run(*words, folder=tmp_path)
        assert done.returncode in (1, 2) and reason in done.stderr and "Traceback" not in done.stderr


def test_results_with_steps_that_are_none_are_refused(toolchain, tmp_path):
    (tmp_path / "sum.c").write_text(sources.SUM)
    row = {
        "source": str(tmp_path / "sum.c"),
        "build": {},
        "program": "sum",
        "hash": "",
        "passes": ["gvn"],
        "flags": ["-load=evil.so"],
    }
    (tmp_path / "result.json").write_text(json.dumps({"results": [row]}))
    done = run("replay", "result.json", folder=tmp_path)
    assert done.returncode == 1 and "there is no flag '-load=evil.so'" in done.stderr


def test_the_programs_that_come_with_foretune():
    assert len(categories()) >= 30 and all(categories().values())
    assert len(held_out()) >= 20 and not set(held_out()) & set(training())
    assert set(held_out()) | set(training()) == set(categories())


def test_programs_with_files_libraries_and_limits(toolchain, tmp_path):
    (tmp_path / "reads.c").write_text(sources.READS)
    (tmp_path / "number").write_text("6")
    (tmp_path / "input").write_text("7")
    (tmp_path / "vector.cpp").write_text(sources.CPP)
    done = run(
        "tune",
        "reads.c",
        "--arg",
        "number",
        "--stdin",
        "input",
        "--budget",
        2,
        "--out",
        "result.json",
        "--json",
        folder=tmp_path,
    )
    assert done.returncode == 0 and not (tmp_path / "left-behind").exists(), done.stderr
    done = run("replay", "result.json", "--repeats", 3, "--json", folder=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["results"][0]["status"] == "ok", done.stderr
    done = run("tune", "vector.cpp", "--budget", 2, "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run("tune", "reads.c", "--stdin", "nowhere", folder=tmp_path)
    assert done.returncode == 2 and "there is no file nowhere" in done.stderr
    (tmp_path / "hangs.c").write_text(sources.HANGS)
    done = run("tune", "hangs.c", "--run-timeout", 0.5, folder=tmp_path)
    assert done.returncode == 1 and "no end within 0.5 s" in done.stderr


def test_stored_records_with_steps_that_have_left_are_skipped_by_name(program, measurer, tmp_path, caplog):
    store, prepared = tmp_path / "store", measurer.prepare(program)
    record = MeasureRecord(
        Candidate(prepared.task, Trace((Action("attributor"), Action("default<O3>")))),
        Status.OK,
        (0.001,),
        environment=((BASELINE_SECS, "[0.002]"),),
    )
    append_records(store, prepared.task, [Trajectory(record, (prepared.features,))], "passes", (prepared.features,))
    result = tune(program, measurer, lambda _: RandomSearch(0), PassTuneConfig(2, store=store, finals=0))
    assert (
        result.num_reused == 0 and "a stored sequence is left out: pass attributor has left the grammar" in caplog.text
    )
