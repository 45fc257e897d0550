"""Screening: the steps that change a program's code, and searches that keep to them."""

from __future__ import annotations

import numpy as np
import pytest

from foretune.passes.llvm.actions import INTENTS, Flag, Pass, PassSequence
from foretune.passes.llvm.measure import BASELINE
from foretune.passes.llvm.program import load_programs
from foretune.passes.llvm.tuning.moves import BASE, MAX_PASSES, Moves, apply
from foretune.passes.llvm.tuning.screening import Change, Screen, screen
from foretune.passes.llvm.tuning.search import STRATEGIES, RankedSearch
from tests.passes import sources

UNROLL = Change(PassSequence(BASE.passes, (Flag("unroll-count", 4),)), ("unroll",))
SAME = Change(PassSequence(BASE.passes, (Flag("unroll-count", 2),)), ("unroll",))
BEFORE = Change(PassSequence((Pass("gvn"), *BASE.passes)), ("memory", "simplify"))
LEVEL = Change(PassSequence((Pass("default<O2>"),)), ("simplify",))
SMALL = Screen(((UNROLL, SAME), (BEFORE,), (LEVEL,)), 10)


@pytest.fixture(scope="module")
def found(toolchain, measurer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("screened")
    (folder / "sum.c").write_text(sources.SUM)
    [program] = load_programs(folder / "sum.c", folder)
    return program, screen(program, measurer)


def test_what_changes_the_code_is_found(found, measurer):
    program, screened = found
    steps = [str(change.sequence) for members in screened.classes for change in members]
    assert screened.num_tried > 300 and 5 < len(screened.classes) < 150 and len(set(steps)) == len(steps)
    assert any("-unroll-count=" in step for step in steps) and not any("dfa-jump-thread" in step for step in steps)
    baseline, *hashes = measurer.compiler.code_hashes(
        program, [BASELINE, *(members[0].sequence for members in screened.classes)]
    )
    assert baseline not in hashes and len(set(hashes)) == len(hashes) and all(hashes)
    assert screen(program, measurer) is screened


def test_changes_are_put_where_they_belong():
    sequence = apply(apply(apply(BASE, UNROLL), BEFORE), LEVEL)
    assert sequence == PassSequence((Pass("gvn"), Pass("default<O2>")), (Flag("unroll-count", 4),))
    assert apply(sequence, SAME).flags == (Flag("unroll-count", 2),)
    many = BASE
    for _ in range(2 * MAX_PASSES):
        many = apply(many, BEFORE)
    assert len(many.passes) <= MAX_PASSES


def test_moves_keep_to_the_screen():
    moves = Moves(np.random.default_rng(0), screen=SMALL)
    drawn = [moves.mutate(BASE, drop=False)[0] for _ in range(300)]
    inside = [UNROLL.sequence, SAME.sequence, BEFORE.sequence, LEVEL.sequence]
    assert all(s in drawn for s in inside)
    by_intent = [moves.mutate(BASE, drop=False) for _ in range(300)]
    assert all(intent in INTENTS for _, intent in by_intent) and all(
        intent == "unroll" for s, intent in by_intent if s in inside[:2]
    )
    assert len(moves.singles()) == 3 and not Moves(np.random.default_rng(0)).singles()


@pytest.mark.parametrize(
    "make",
    [*STRATEGIES.values(), lambda seed, screen: RankedSearch(lambda pool: np.zeros(len(pool)), seed, screen=screen)],
    ids=[*STRATEGIES, "ranked"],
)
def test_strategies_use_it(make):
    strategy = make(0, screen=SMALL)
    suggested = []
    for _ in range(6):
        fresh = strategy.suggest(4)
        strategy.observe([(s, 1.0 - 0.1 * len(s.flags)) for s in fresh])
        suggested += fresh
    assert len(set(suggested)) == len(suggested) >= 4
    assert (
        sum(
            any(f.name == "unroll-count" for f in s.flags) or Pass("gvn") in s.passes or Pass("default<O2>") in s.passes
            for s in suggested
        )
        > len(suggested) / 2
    )


def test_idle_steps_do_not_make_a_sequence_new():
    idle = PassSequence((Pass("sink"), *BASE.passes), (Flag("unroll-count", 4), Flag("align-loops", 32)))
    assert (
        SMALL.active(idle) == UNROLL.sequence
        and SMALL.active(PassSequence((Pass("gvn", (("pre", False),)), *BASE.passes))).passes[0].name == "gvn"
    )
    strategy = RankedSearch(lambda pool: np.zeros(len(pool)), 0, explores=0.0, screen=SMALL)
    strategy.observe([(UNROLL.sequence, 0.9)])
    assert all(SMALL.active(s) not in (BASE, UNROLL.sequence) for s in strategy.suggest(6))
