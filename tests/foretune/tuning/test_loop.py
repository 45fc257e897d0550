"""The tuning loop on a domain of numbers: budgets, known code, records, going on, the second round."""

from __future__ import annotations

import math
import shutil

import numpy as np
import pytest

from foretune import (
    Action,
    Candidate,
    DataError,
    HardwareFeatures,
    IllegalActionError,
    MeasureRecord,
    OptionError,
    ProgramGraph,
    Status,
    Target,
    Task,
    Trace,
    Trajectory,
    Workload,
)
from foretune.datasets.records.store import RecordStore
from foretune.testing.domains import DomainContract
from foretune.tuning.domain import Built, Compared, Domain, Measured, Prepared
from foretune.tuning.loop import TuneConfig, TuneResult, tune
from foretune.tuning.paired import Comparison
from foretune.tuning.rungs import RUNGS, told
from foretune.tuning.search import STRATEGIES, GeneticSearch, GreedySearch, Moves, RankedSearch
from tests.foretune.tuning.test_search import NumberMoves

TASK = Task(Workload("numbers", "", ProgramGraph((), ()), "numbers", "numbers"), Target("llvm", (), HardwareFeatures()))
BASE_SECS = 1e-3


class Numbers(Domain[int]):
    """Numbers below 100: time falls with the digit sum, those of one digit sum are equal code, multiples of 7 fail."""

    noun = "number"
    forbidden = 99
    wrong = -1

    def __init__(self):
        self.open_files, self.learned, self.measured = set(), [], []

    def moves(self, rng) -> Moves[int]:
        return NumberMoves(rng)

    def prepare(self):
        return Prepared(TASK, "0")

    def build(self, candidate, known=()):
        if candidate % 7 == 0 and candidate:
            return Built(candidate, Status.BUILD_ERROR, "a multiple of 7")
        self.open_files.add(candidate)
        return Built(candidate, Status.OK, "", str(sum(map(int, str(candidate)))))

    def _record(self, built, turns):
        self.measured.append(built.candidate)
        candidate = Candidate(TASK, Trace((Action("number", (), (built.candidate,)),)))
        secs = (BASE_SECS * (20 - int(built.code_hash or 0)) / 20,) * turns if built.status is Status.OK else ()
        return MeasureRecord(candidate, built.status, secs, built.error, built.code_hash)

    def time(self, built):
        record = self._record(built, 1)
        return Measured(record.status, self.stored_cost(record), record.error, Trajectory(record))

    def compare(self, built, turns):
        records = [self._record(one, turns) for one in built]
        return [Compared(Comparison.of(r, (BASE_SECS,) * turns), self.stored_cost(r)) for r in records]

    def read(self, trace):
        if trace.actions[0].op != "number":
            raise IllegalActionError("this is no number")
        return trace.actions[0].attrs[0]

    def stored_cost(self, record):
        return record.best_secs / BASE_SECS if record.status is Status.OK else math.inf

    def discard(self, built):
        self.open_files.discard(built.candidate)

    def check(self, built):
        return "wrong" if built.candidate == self.wrong else ""

    def why_not(self, candidate):
        return "not that one" if candidate == self.forbidden else ""

    def learn(self, candidate, measured):
        self.learned.append(candidate)


class TestNumbers(DomainContract):
    def make(self):
        return Numbers()


def run(domain, search=GeneticSearch, seed=0, **config):
    made = []

    def make():
        made.append(search(domain.moves(np.random.default_rng(seed))))
        return made[0]

    result = tune(domain, make, TuneConfig(**config), TuneResult("numbers", "", 0))
    return result, made[0]


@pytest.mark.parametrize("search", STRATEGIES.values(), ids=STRATEGIES)
def test_equal_code_is_measured_once(search):
    domain = Numbers()
    result, strategy = run(domain, search, budget=60, finals=0)
    codes = [t.candidate for t in result.trials if t.status is Status.OK]
    assert len({sum(map(int, str(c))) for c in codes}) == len(codes) and strategy.repeats
    assert not strategy.repeats & set(domain.measured) and domain.learned == [t.candidate for t in result.trials]
    assert not domain.open_files


def test_what_a_domain_forbids_is_skipped():
    domain = Numbers()
    domain.forbidden = 1
    result, _ = run(domain, GreedySearch, budget=60, finals=0)
    assert result.num_skipped >= 1 and 1 not in domain.measured


def test_the_second_round_decides_and_files_are_removed():
    domain = Numbers()
    result, _ = run(domain, budget=40, finals=3)
    best = min(t.cost for t in result.trials)
    assert result.gain == pytest.approx(1 / best) and result.best_secs == result.fastest_secs < result.baseline_secs
    assert len({t.candidate for t in result.trials[-3:]}) == 3 and not domain.open_files


def test_what_is_wrong_on_further_inputs_does_not_win():
    best = run(Numbers(), budget=40)[0].best
    domain = Numbers()
    domain.wrong = best
    result, _ = run(domain, budget=40)
    assert result.best not in (0, best)
    assert [t.status for t in result.trials if t.candidate == best] == [Status.WRONG_OUTPUT]


def test_counted_costs_win_as_they_are():
    domain = Numbers()
    domain.is_timed = False
    result, _ = run(domain, budget=30)
    assert result.gain == pytest.approx(1 / min(t.cost for t in result.trials)) and result.interval == ()


def test_a_stopped_run_keeps_what_it_measured(tmp_path):
    domain, last = Numbers(), []

    def stop(result):
        last[:] = [t.candidate for t in result.trials]
        if len(result.trials) == 6:
            raise KeyboardInterrupt

    moves = domain.moves(np.random.default_rng(0))
    with pytest.raises(KeyboardInterrupt):
        config = TuneConfig(30, store=tmp_path / "store")
        tune(domain, lambda: GeneticSearch(moves), config, TuneResult("numbers", "", 0), stop)
    with RecordStore(tmp_path / "store") as store:
        assert [domain.read(t.record.trace) for t in store.trajectories()] == last
    result, _ = run(Numbers(), budget=30, store=tmp_path / "store")
    assert [t.candidate for t in result.trials[:6]] == last and result.num_reused == 6


@pytest.mark.parametrize("left", [".lock", ".manifest.json.x1.tmp", "workloads", "batch"])
def test_a_store_whose_first_write_was_killed_is_taken_up(tmp_path, left):
    run(Numbers(), budget=12, store=tmp_path / "whole")
    store = tmp_path / "store"
    store.mkdir()
    (store / ".lock").write_text("")
    kinds = {"workloads": ("workloads",), "batch": ("workloads", "batch")}.get(left, ())
    for path in (tmp_path / "whole").glob("*.parquet"):
        if kinds and path.name.startswith(kinds):
            shutil.copy(path, store)
    if not kinds:
        (store / left).write_text("")
    result, _ = run(Numbers(), budget=12, store=store)
    assert (result.num_reused > 0) == (left == "batch")
    with RecordStore(store) as records:
        keys = [row["trace_key"] for row in records.rows(["trace_key"])]
    assert len(keys) == len(set(keys)) > 0


def test_a_folder_of_something_else_is_no_store(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(DataError, match="it is not a data folder"):
        run(Numbers(), budget=12, store=tmp_path)


def test_a_search_that_ranks_finds_the_best():
    result, _ = run(
        Numbers(),
        lambda moves: RankedSearch(moves, lambda pool: np.array([sum(map(int, str(c))) for c in pool], float)),
        budget=12,
    )
    assert result.gain == pytest.approx(20 / (20 - 17))  # 89; 98 is a multiple of 7, 99 is forbidden


def test_a_result_tells_what_each_rung_saw():
    ranks = lambda moves: RankedSearch(moves, lambda pool: np.zeros(len(pool)))  # noqa: E731
    for search, num_ranked in ((GeneticSearch, 0), (ranks, 1)):
        result, strategy = run(Numbers(), search, budget=30, finals=2)
        built = len(result.trials) - 2 + len(strategy.repeats)  # the finalists were built before
        ran = sum(t.status is Status.OK for t in result.trials)
        assert [result.rungs[name].num for name in RUNGS[1:]] == [built, ran]
        assert min(result.rungs["rank"].num, 1) == num_ranked
    line = told({name: {"num": 1200 * i, "secs": i} for i, name in enumerate(RUNGS)})
    assert line == "ranked 0 in 0.0 s, compiled 1,200 in 1.0 s, measured 2,400 in 2.0 s"


def test_configurations_that_are_refused():
    for options, reason in (
        ({"budget": 0}, "`budget >= 1` must hold and be an integer, but got budget=0"),
        ({"batch": 1.5}, "`batch >= 1`"),
        ({"finals": -1}, "`finals >= 0`"),
        ({"final_turns": 2}, "`final_turns >= 3`"),
    ):
        with pytest.raises(OptionError, match=reason):
            TuneConfig(**options)
