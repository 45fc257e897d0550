"""Passes inside `-O3`: its own pipeline, written out with them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from foretune.errors import IllegalActionError, UnsupportedError
from foretune.passes.llvm import pipelines
from foretune.passes.llvm.actions import BASELINE, Flag, Pass, PassSequence, parse_pass
from foretune.passes.llvm.pipelines import o3_pipeline, o3_with
from foretune.passes.llvm.program import BuildOptions, Program, load_module
from foretune.passes.llvm.tables import O3_WITH, POINTS
from foretune.passes.llvm.tuning.changes import CORES, Change, changes
from foretune.passes.llvm.tuning.emit import emit
from foretune.passes.llvm.tuning.macros import MACROS
from foretune.passes.llvm.tuning.moves import Moves, apply
from foretune.passes.llvm.tuning.shorter import without_each
from foretune.trace import Trace
from tests.passes import sources
from tests.passes.llvm.test_tables import NEST

JAM = parse_pass("o3-with<before-vectorizer=loop-unroll-and-jam>")


@pytest.fixture
def nest(tmp_path):
    (tmp_path / "nest.c").write_text(NEST)
    return Program("nest", load_module(tmp_path / "nest.c", tmp_path / "made", BuildOptions()))


def test_the_grammar_is_closed():
    step = parse_pass("o3-with<before-slp=gvn;after-inliner=licm>")
    assert step.options == (("after-inliner", "licm"), ("before-slp", "gvn")) and parse_pass(str(step)) == step
    sequence = PassSequence((step,), (Flag("unroll-count", 4),))
    trace = Trace.from_json(json.loads(json.dumps(sequence.trace().to_json())))
    assert PassSequence.from_trace(trace) == sequence
    for text in (
        "o3-with<before-slp=globaldce>",
        "o3-with<before-slp=newgvn>",
        "o3-with<before-slp=gvn,licm>",
        "o3-with<elsewhere=gvn>",
        "o3-with<before-slp=loop-interchange>",
        "o3-with<before-slp=4>",
        "o3-with<before-slp=gvn;before-slp=licm>",
    ):
        with pytest.raises(IllegalActionError):
            parse_pass(text)


def test_without_a_pass_it_is_O3(measurer, nest):
    builds = [measurer.build(nest, s, link=False) for s in (BASELINE, PassSequence((Pass(O3_WITH),)))]
    assert builds[0].object_hash == builds[1].object_hash != ""


def test_each_point_is_met_once(toolchain):
    text = o3_with(dict.fromkeys(POINTS, "gvn"))
    places = [
        text.index(f"gvn,{following}") for following in ("drop-unn", "loop-distribute", "slp-v", "loop-unroll<O3>")
    ]
    assert places == sorted(places) and len(text) == len(o3_pipeline()) + 4 * len("gvn,")
    assert "loop-interchange" in o3_pipeline(("-enable-loopinterchange",)) and "interchange" not in text


def test_another_pipeline_is_refused(toolchain, monkeypatch):
    monkeypatch.setattr(pipelines, "o3_pipeline", lambda flags=(): "function(loop-unroll<O3>,loop-unroll<O3>,sroa)")
    with pytest.raises(UnsupportedError, match="before-unroller 2 times"):
        o3_with({"before-unroller": "gvn"})


def test_jamming_inside_changes_the_code(measurer, nest):
    inside = MACROS["jam-4-inside"].sequence
    builds = [
        measurer.build(nest, s, link=False) for s in (BASELINE, inside, PassSequence(BASELINE.passes, inside.flags))
    ]
    assert all(build.status.value == "ok" for build in builds)
    assert builds[0].object_hash == builds[2].object_hash != builds[1].object_hash


def test_a_script_rebuilds_it(measurer, tmp_path):
    (tmp_path / "sum.c").write_text(sources.SUM)
    program = Program("sum", load_module(tmp_path / "sum.c", tmp_path / "made", BuildOptions()))
    sequence = PassSequence((parse_pass("o3-with<after-inliner=reassociate;before-unroller=gvn>"),))
    found = emit("script", program, sequence, measurer, tmp_path)  # which checks that it makes the same object
    assert found.path is not None and "loop-vectorize" in found.path.read_text()
    assert str(sequence) in found.path.read_text() and len(sequence.command) > 1000


def test_passes_inside_meet_at_their_points():
    gvn, licm = (
        Change(PassSequence((parse_pass(f"o3-with<{t}>"),)), ()) for t in ("before-slp=gvn", "before-unroller=licm")
    )
    both = apply(apply(PassSequence((Pass("sink"), *BASELINE.passes)), gvn), licm)
    assert list(map(str, both.passes)) == ["sink", "o3-with<before-slp=gvn;before-unroller=licm>"]
    twice = apply(MACROS["O3-O3"].sequence, gvn)
    assert list(map(str, twice.passes)) == ["default<O3>", "o3-with<before-slp=gvn>"]
    rest = [(text, str(shorter(both))) for shorter, text in without_each(both)]
    assert [text for text, _ in rest] == ["sink", "o3-with<before-slp=gvn>", "o3-with<before-unroller=licm>"]
    assert "before-unroller=licm" in rest[1][1] and "gvn" not in rest[1][1]
    alone = PassSequence((parse_pass("o3-with<before-slp=gvn>"),))
    assert [shorter(alone) for shorter, _ in without_each(alone)] == [BASELINE]


def test_moves_keep_a_pipeline():
    moves = Moves(np.random.default_rng(0), polly=False)
    sequence = PassSequence((Pass("gvn"), JAM, Pass("sink")), (Flag("allow-unroll-and-jam", True),))
    for _ in range(300):
        changed, _ = moves.mutate(sequence)
        assert any(step.name in CORES for step in changed.passes)
    assert sum(change.sequence.passes[0].name == O3_WITH for change in changes(False)) > 20
