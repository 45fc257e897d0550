"""Winners are told without what their machine code does not need."""

from __future__ import annotations

from foretune.passes.llvm.actions import BASELINE, Flag, PassSequence, parse_pass
from foretune.passes.llvm.program import load_programs
from foretune.passes.llvm.tuning.search import RandomSearch
from foretune.passes.llvm.tuning.shorter import shortest
from foretune.passes.llvm.tuning.tuning import PassDomain, PassTuneConfig, tune
from tests.passes import sources

LONG = PassSequence(
    (parse_pass("loop-hint<at=7;unroll=4>"), parse_pass("gvn"), parse_pass("o3-with<before-slp=licm>")),
    (Flag("unroll-count", 4), Flag("licm-mssa-optimization-cap", 1000)),
)


def test_steps_go_one_after_another():
    """The code needs gvn, and one of licm and the flag."""

    def code_of(sequence):
        text = str(sequence)
        return "fast" if "gvn" in text and ("licm>" in text or "unroll-count" in text) else "slow"

    assert str(shortest(LONG, code_of)) == "-passes='function(gvn),default<O3>' -unroll-count=4"
    assert shortest(LONG, lambda sequence: "") == LONG  # nothing is known
    assert shortest(LONG, code_of, lambda: False) == LONG


def test_a_winner_has_no_idle_steps(toolchain, measurer, tmp_path):
    (tmp_path / "sum.c").write_text(sources.SUM)
    [program] = load_programs(tmp_path / "sum.c", tmp_path / "built")
    idle = PassSequence((parse_pass("strip-dead-prototypes"), parse_pass("o3-with<before-slp=dse>")), LONG.flags[:1])
    domain = PassDomain(program, measurer, "size")
    assert domain.simplify(idle) == BASELINE
    strategy = RandomSearch(0)
    strategy.openings = [PassSequence((parse_pass("strip-dead-prototypes"), parse_pass("default<Oz>")))]
    result = tune(program, measurer, lambda prepared: strategy, PassTuneConfig(1, "size"))
    assert result.gain > 1 and str(result.best) == "-passes='default<Oz>'"
