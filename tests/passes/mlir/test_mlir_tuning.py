"""Schedules are searched, proved by measurement, stored and gone on from; the command line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest

from foretune.datasets.records.store import RecordStore
from foretune.errors import DataError, IllegalActionError, OptionError
from foretune.passes.language.llm_client import LlmClient, LlmConfig, Reply
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.grammar.templates import Template
from foretune.passes.mlir.tuning.frontend import MlirProgram
from foretune.passes.mlir.tuning.measure import DEFAULT, MlirMeasureSettings, speedup
from foretune.passes.mlir.tuning.search import STRATEGIES, MlirRanked
from foretune.passes.mlir.tuning.strategies import MlirStrategyConfig
from foretune.passes.mlir.tuning.strategist import MlirStrategist
from foretune.passes.mlir.tuning.tuning import MlirTuneConfig, confirm, tune
from foretune.record import Status
from tests.passes.llvm.tuning.test_strategist import answers, completion, server
from tests.passes.mlir import sources


class Forks:
    """A template with something to find: no compiler."""

    operations: ClassVar[dict[str, str]] = {}

    def schedule(self, choose):
        sizes = choose("rows", (1, 2, 4, 8, 16)), choose("columns", (4, 8, 16, 32, 64))
        if choose("illegal", (False, True)):
            raise IllegalActionError("no")
        texts = [f"tile{{on=linalg:0 sizes={sizes[0]},{sizes[1]}}}"] + ["vectorize{on=linalg:0}"] * choose(
            "vectorise", (False, True)
        )
        return Schedule.of(*texts, *(["canonicalize", "cse"][i] for i in range(choose("tidy", (0, 1, 2)))))


def landscape(schedule):
    if schedule == DEFAULT:
        return 1.0
    (rows, columns), vector = dict(schedule.actions[0].options)["sizes"], "vectorize" in str(schedule)
    return math.inf if rows * columns > 512 else 1 / (1 + vector + 0.2 * math.log2(rows) + 0.2 * math.log2(columns))


def searched(strategy, num=30):
    seen = []
    while len(seen) < num:
        suggested = strategy.suggest(4)
        if not suggested:
            break
        strategy.observe([(s, landscape(s)) for s in suggested])
        seen += suggested
    return seen


def ranked(template, seed=0):
    return MlirRanked(template, lambda pool: np.array([-landscape(s) for s in pool]), seed)


def make(search):
    return MlirStrategyConfig(search).make


@pytest.mark.parametrize("strategy", [*STRATEGIES.values(), ranked], ids=[*STRATEGIES, "ranked"])
def test_strategies(strategy):
    seen = searched(strategy(Forks(), 0))
    assert (
        len(set(seen)) == len(seen) >= 28
        and seen == searched(strategy(Forks(), 0))
        and seen != searched(strategy(Forks(), 1))
    )
    assert min(map(landscape, seen)) < 0.4


def test_a_good_ranking_saves_measurements():
    def first_at(strategy, cost):
        return next((i for i, s in enumerate(searched(strategy, 60)) if landscape(s) <= cost), 60)

    best = 1 / (2 + 0.2 * 9)
    plain = np.mean([first_at(STRATEGIES["genetic"](Forks(), seed), best) for seed in range(8)])
    helped = np.mean([first_at(ranked(Forks(), seed), best) for seed in range(8)])
    assert helped < plain


@pytest.mark.parametrize(
    "source",
    [
        sources.matmul(32, 64, 16),
        sources.matmul(13, 35, 7),
        sources.softmax(8, 64),
        sources.CONV,
        sources.AFFINE,
        sources.SCF,
        sources.BOOLEANS,
    ],
    ids=range(7),
)
@pytest.mark.parametrize("bits", [128, 256, 512])
def test_the_most_promising_schedule_is_right(session, measurer, source, bits):
    entry = session.inspect(source).entry().name
    program = MlirProgram.of(session, "program", source, entry)
    prepared = measurer.prepare(program)
    template = Template(lambda schedule: session.describe(program.text, schedule), bits)
    for answer in (0, -1):
        built = measurer.build(program, template.schedule(lambda name, answers, answer=answer: answers[answer]))
        assert built.build.status is Status.OK, built.build.error
        timing = measurer.time(prepared, built)
        assert (
            timing.record.status is Status.OK
            and timing.difference < 1e-5
            and speedup(timing, prepared.default_secs) > 0
        )
        assert Schedule.from_trace(timing.record.trace) == built.schedule


def test_a_chain_is_fused(session, measurer):
    program = MlirProgram.of(session, "softmax", sources.softmax(8, 64))
    schedule = Template(lambda s: session.describe(program.text, s)).schedule(lambda name, answers: answers[0])
    assert "fuse{on=linalg:5" in str(schedule) and "decompose-aggregate" in str(schedule)
    assert all(
        max(op["extents"], default=1) == 1 for op in session.describe(program.text, schedule)["ops"]
    )  # what is left is a number at a time


def test_tuning_and_going_on(session, measurer, tmp_path):
    program = MlirProgram.of(session, "matmul", sources.matmul(64, 64, 64))
    store, seen = tmp_path / "store", []
    config = MlirTuneConfig(10, store=store, finals=2, final_turns=3)
    first = tune(program, measurer, make("genetic"), config, lambda r: seen.append(len(r.trials)))
    assert (
        first.gain > 3
        and first.interval[0] > 1
        and first.difference < 1e-5
        and len(first.trials) <= 10
        and seen == sorted(seen)
    )
    assert (
        "transform.structured.vectorize" in first.script
        and first.statuses["ok"] > 5
        and max(first.best_so_far()) >= first.gain / 2
    )
    with RecordStore(store) as records:
        stored = list(records.trajectories())
    assert len(stored) == len(first.trials) - 2 and {Schedule.from_trace(t.record.trace) for t in stored} == {
        t.schedule for t in first.trials
    }
    again = tune(program, measurer, make("random"), MlirTuneConfig(12, store=store, finals=2, final_turns=3))
    assert again.num_reused == len(stored) and len(again.trials) <= 12
    [told] = confirm(measurer.prepare(program), [first.best], measurer, 3)
    assert told["status"] == "ok" and told["gain"] > 2


def test_what_cannot_be_tuned(session, measurer):
    with pytest.raises(DataError, match="does not run: the program was killed by signal"):
        measurer.prepare(MlirProgram.of(session, "crashes", sources.CRASHES))
    with pytest.raises(DataError, match="cannot be lowered"):
        measurer.prepare(
            MlirProgram.of(
                session,
                "calls",
                "func.func private @elsewhere()\nfunc.func @main() { call @elsewhere() : () -> ()\n return }",
            )
        )


def test_settings():
    with pytest.raises(OptionError, match="search must be one of"):
        MlirStrategyConfig("luck")
    with pytest.raises(OptionError, match="`budget >= 2` must hold"):
        MlirTuneConfig(1)
    with pytest.raises(OptionError, match="`repeats > 0` must hold"):
        MlirMeasureSettings(repeats=0)


def run(*arguments, folder):
    command = [sys.executable, "-m", "foretune", "mlir", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


def test_the_command_line(session, tmp_path):
    (tmp_path / "matmul.mlir").write_text(sources.UNKNOWN_SIZES)
    sizes = ("--size", 32, "--size", 32, "--size", 32)
    done = run(
        "tune",
        "matmul.mlir",
        *sizes,
        "--budget",
        4,
        "--out",
        "result.json",
        "--script",
        "script.mlir",
        "--json",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (
        document["gain"] > 1
        and document == json.loads((tmp_path / "result.json").read_text())
        and "named_sequence" in (tmp_path / "script.mlir").read_text()
    )
    done = run("replay", "result.json", "--turns", 3, "--json", folder=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["status"] == "ok", done.stderr
    (tmp_path / "matmul.mlir").write_text(sources.UNKNOWN_SIZES.replace("0.0 : f32", "1.0 : f32"))
    done = run("replay", "result.json", folder=tmp_path)
    assert done.returncode == 1 and "has changed since it was tuned" in done.stderr
    for words, code, reason in (
        (["tune", "none.mlir"], 2, "there is no file none.mlir"),
        (["tune", "matmul.mlir"], 1, "extents must be known"),
        (["replay", "matmul.mlir"], 1, "is no file of"),
        (["tune", "matmul.mlir", "--search", "luck"], 2, "search must be one of"),
    ):
        done = run(*words, folder=tmp_path)
        assert done.returncode == code and reason in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_the_list_of_actions(tmp_path):
    done = run("passes", "--json", folder=tmp_path)
    actions = {row["action"] for row in json.loads(done.stdout)["actions"]}
    assert {
        "tile",
        "fuse",
        "interchange",
        "pad",
        "pack",
        "vectorize",
        "unroll",
        "hoist-pad",
        "promote",
        "bufferize",
        "lower",
    } <= actions
    assert "img2col" in run("passes", "img2col", folder=tmp_path).stdout


class Model:
    """A language model of one answer."""

    usage = None

    def __init__(self, text):
        self._text, self.questions = text, []

    def ask(self, messages, schema):
        self.questions.append(messages[-1]["content"])
        return Reply(self._text)


def test_a_language_model_answers_forks():
    good = {
        "reason": "wide",
        "answers": [
            {"fork": "rows", "answer": "8"},
            {"fork": "columns", "answer": "64"},
            {"fork": "vectorise", "answer": "true"},
        ],
    }
    bad = {"reason": "", "answers": [{"fork": "format the disk", "answer": "1"}, {"fork": "rows", "answer": "3"}, 7]}
    client = Model(json.dumps({"proposals": [good, bad, "x"]}))
    search = MlirStrategist(
        Forks(),
        [{"name": "linalg.matmul", "extents": [8, 8], "parallel": [True, True], "uses": []}],
        STRATEGIES["random"](Forks(), 0),
        client,
    )
    first = search.suggest(4)
    assert (
        landscape(first[0]) < 0.3
        and len(first) == 4
        and search.report.accepted == 1
        and "linalg.matmul" in client.questions[0]
    )
    assert "there is no fork 'format the disk'" in search.report.refused and any(
        "fork rows has the answers 1, 2, 4, 8, 16, but got '3'" in r for r in search.report.refused
    )
    search.observe([(s, landscape(s)) for s in first])
    assert search.report.measured == {"model": 1, "search": 3} and search.report.best_gain["model"] > 3
    for text in ("no json", "[1]", '{"proposals": 3}', "[" * 100_000):
        silent = MlirStrategist(Forks(), [], STRATEGIES["random"](Forks(), 0), Model(text))
        assert len(silent.suggest(4)) == 4 and silent.report.refused and not silent.report.accepted


def test_thirty_proposals_are_ranked_and_the_good_ones_measured():
    def proposal(**given):
        return {"reason": "", "answers": [{"fork": fork, "answer": str(answer)} for fork, answer in given.items()]}

    poor = [
        proposal(rows=rows, columns=columns, tidy=tidy)
        for rows in (1, 2, 4)
        for columns in (4, 8, 16)
        for tidy in (0, 1, 2)
    ]
    good = [proposal(rows=8, columns=64, vectorise=True, tidy=tidy) for tidy in (0, 1, 2)]
    proposals = [*poor[:10], good[0], *poor[10:20], good[1], *poor[20:], good[2]]
    with server(
        answers(completion("Let me think. </think>```json\n" + json.dumps({"proposals": proposals}) + "\n```"))
    ) as (url, requests):
        strategist = MlirStrategist(Forks(), [], ranked(Forks()), LlmClient(LlmConfig(url, timeout_secs=5.0)))
        for _ in range(3):
            suggested = strategist.suggest(4)
            strategist.observe([(s, landscape(s)) for s in suggested])
    told = strategist.report.to_json()
    rows = told["proposals"]
    assert len(proposals) == 30 == told["accepted"] == len(rows) and len(requests) == 1
    best = [row for row in rows if "sizes=8,64" in row["proposal"]]
    assert len(best) == 3 and all(row["rank"] <= 3 and row["gain"] > 3 for row in best)
    assert sum(row["gain"] is not None for row in rows if row not in best) <= 3 and all(row["rank"] for row in rows)
    assert told["measured"]["search"] >= 6


def test_the_latent_model_ranks_proposals_of_any_search(session, measurer):
    prepared = measurer.prepare(MlirProgram.of(session, "matmul", sources.matmul(32, 32, 32)))
    template = Template(lambda schedule: session.describe(prepared.program.text, schedule))
    with server(answers(completion(json.dumps({"proposals": [{"reason": "", "answers": []}] * 3})))) as (url, _):
        strategist = MlirStrategyConfig("random", llm=LlmConfig(url, timeout_secs=5.0)).make(
            session, prepared, template
        )
        first = [strategist._search._moves.decode(strategist._search._moves.random()) for _ in range(5)]
        strategist.report.proposals.add(schedule for schedule in first if schedule is not None)
        strategist.suggest(2)
    rows = strategist.report.to_json()["proposals"]
    assert rows and all(row["rank"] for row in rows) and len({row["rank"] for row in rows}) == len(rows)
