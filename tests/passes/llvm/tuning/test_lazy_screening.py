"""Screening in slices: bounded by the time of tuning, kept on disk, and harmless where it found nothing."""

from __future__ import annotations

import dataclasses
import hashlib
from types import SimpleNamespace

import numpy as np
import pytest

from foretune.passes.llvm.actions import BASELINE, Flag, Pass, PassSequence
from foretune.passes.llvm.program import BuildOptions, load_programs
from foretune.passes.llvm.tuning.changes import LEVELS, changes, polly_settings
from foretune.passes.llvm.tuning.macros import MACROS
from foretune.passes.llvm.tuning.screening import Screen, Screening
from foretune.passes.llvm.tuning.search import STRATEGIES, GeneticSearch, RankedSearch
from foretune.passes.llvm.tuning.strategies import StrategyConfig
from foretune.passes.llvm.tuning.tuning import PassTuneConfig, tune
from foretune.target import num_usable_cores
from tests.passes import sources
from tests.passes.llvm.test_tables import NEST


class Clock:
    """Seconds that pass only where something is compiled."""

    now = 0.0

    def __call__(self):
        return self.now


class FakeCompiler:
    """A compiler that takes so long for each sequence, on all cores; what `idle` says gives `-O3`'s own code."""

    def __init__(self, clock, secs, idle=lambda sequence: False, fails=False):
        self.clock, self.secs, self.idle, self.fails, self.limits, self.compiled = clock, secs, idle, fails, [], []

    def code_hashes(self, program, sequences, timeout_secs):
        self.limits.append(timeout_secs)
        self.compiled += sequences
        self.clock.now += self.secs * -(-len(sequences) // num_usable_cores())
        return [
            "" if self.fails else "o3" if s == BASELINE or self.idle(s) else hashlib.sha256(str(s).encode()).hexdigest()
            for s in sequences
        ]


def screening(secs, polly=False, **options):
    clock = Clock()
    kept = options.pop("kept", None)
    compiler = FakeCompiler(clock, secs, **options)
    measurer = SimpleNamespace(compiler=compiler, has_polly=polly, settings=SimpleNamespace(build_timeout_secs=1000.0))
    return Screening(
        SimpleNamespace(hash="p", is_relaxed=False), measurer, False, secs, kept=kept, clock=clock
    ), compiler


@pytest.mark.parametrize("secs", [0.01, 1.0, 10.0, 60.0])
def test_it_takes_a_tenth_of_the_time_of_tuning(secs):
    found, compiler = screening(secs)
    found.advance(0.0)
    assert compiler.clock.now <= 4.0 + secs and (secs > 1.0) <= (
        not compiler.compiled
    )  # a large program is measured first
    for tuned_secs in (100.0, 300.0, 1000.0):
        found.advance(tuned_secs)
        assert found.secs <= max(4.0, 0.1 * tuned_secs) + secs
    assert found.to_json()["tried"] + found.num_left == len(changes(False))
    assert found.to_json()["of"] == len(changes(False)) and (secs >= 1 or found.num_left == 0)


def test_its_limit_is_that_of_the_baseline():
    found, compiler = screening(8.0)
    found.advance(1000.0)
    assert set(compiler.limits) == {24.0}
    quick, compiler = screening(0.01)
    quick.advance()
    assert set(compiler.limits) == {2.0}


def test_steps_that_nobody_looked_at_stay_in_the_search():
    found, _ = screening(1.0)
    found.advance(0.0)
    assert 0 < found.screen.num_tried < len(changes(False))
    late = PassSequence((*BASELINE.passes, Pass("vector-combine")))
    assert found.screen.active(late) == late and found.screen.unknown
    whole, _ = screening(0.01, idle=lambda s: s == late or s.passes[0] == Pass("vector-combine"))
    while whole.advance():
        pass
    assert whole.screen.active(late) == BASELINE and not whole.screen.unknown


def test_polly_settings_are_tried_where_polly_does_something():
    nothing, compiler = screening(0.001, polly=True, idle=lambda s: s.uses_polly)
    while nothing.advance():
        pass
    something, more = screening(0.001, polly=True)
    while something.advance():
        pass
    assert len(more.compiled) > len(compiler.compiled) and len({*more.compiled}) == len(more.compiled)
    assert all(setting.sequence in more.compiled for setting in polly_settings())


def test_it_goes_on_from_what_is_kept(tmp_path):
    kept = tmp_path / "screens" / "p.json"
    first, _ = screening(1.0, kept=kept)
    first.advance(0.0)
    again, compiler = screening(1.0, kept=kept)
    assert again.screen == first.screen and again.num_left == first.num_left
    again.advance(100.0)
    assert not {*compiler.compiled} & {change.sequence for members in first.screen.classes for change in members}
    kept.write_text("{")
    fresh, _ = screening(1.0, kept=kept)
    assert fresh.screen.num_tried == 0


@pytest.mark.parametrize(
    "make",
    [*STRATEGIES.values(), lambda seed, screen: RankedSearch(lambda pool: np.zeros(len(pool)), seed, screen=screen)],
    ids=[*STRATEGIES, "ranked"],
)
@pytest.mark.parametrize("screen", [Screen((), 400), Screen((), 0)], ids=["all failed", "none tried"])
def test_without_a_screen_the_search_is_the_whole_grammar(make, screen):
    strategy, suggested = make(0, screen=screen), []
    for _ in range(5):
        fresh = strategy.suggest(4)
        strategy.observe([(sequence, 1.0) for sequence in fresh])
        suggested += fresh
    assert len(set(suggested)) == len(suggested) >= 18
    assert sum(bool(s.flags) or any(step.name not in LEVELS for step in s.passes) for s in suggested) > 14


def test_all_compilations_that_fail_leave_everything_open():
    found, _ = screening(0.01, fails=True)
    while found.advance():
        pass
    sequence = PassSequence(BASELINE.passes, (Flag("unroll-count", 4),))
    assert not found.screen.classes and found.screen.active(sequence) == sequence


def test_a_search_follows_a_screening():
    found, _ = screening(1.0)
    search = GeneticSearch(0)
    search.follow(found)
    before = len(search.steps)
    search.look_further(500.0)
    assert len(search.steps) > before and search.steps == tuple(sorted(map(str, found.screen.steps)))


def test_a_run_tells_how_far_it_came(toolchain, measurer, tmp_path):
    (tmp_path / "sum.c").write_text(sources.SUM)
    [program] = load_programs(tmp_path / "sum.c", tmp_path / "built")
    strategy, store = StrategyConfig("genetic", skills=False), tmp_path / "store"
    result = tune(
        program,
        measurer,
        lambda prepared: strategy.make(prepared, measurer, 20, store),
        PassTuneConfig(3, final_repeats=3, store=store),
    )
    told = strategy.report(result.strategy)["screening"]
    assert (
        0 < told["tried"] <= told["of"]
        and told["of"] > 300
        and list((store / "screens").glob(f"{program.hash}-*.json"))
    )


@pytest.mark.parametrize("secs, first", [(0.1, "jam-8"), (3.0, "jam-8-inside")])
def test_what_compiles_quickly_is_measured_first(measurer, tmp_path, secs, first):
    (tmp_path / "nest.c").write_text(NEST)
    [program] = load_programs(tmp_path / "nest.c", tmp_path / "built", BuildOptions())
    prepared = measurer.prepare(program, run=False)
    prepared = dataclasses.replace(prepared, baseline=dataclasses.replace(prepared.baseline, secs=secs))
    strategy = StrategyConfig("genetic", skills=False, screening=False).make(prepared, measurer, 20)
    assert strategy.openings[0] == MACROS[first].sequence
    lengths = [len(sequence.passes) for sequence in strategy.openings]
    assert (lengths == sorted(lengths)) == (secs > 1)
