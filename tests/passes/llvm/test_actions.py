"""The grammar of passes and flags: what it takes, what it refuses, and how it prints."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

from foretune.errors import IllegalActionError
from foretune.passes.llvm.actions import (
    FLAGS,
    INTENTS,
    PASSES,
    Flag,
    Pass,
    PassSequence,
    parse_flag,
    parse_pass,
    parse_sequence,
)
from foretune.passes.llvm.tables import HINT, O3_WITH
from foretune.passes.llvm.tuning.changes import CORES
from foretune.passes.llvm.tuning.moves import BASE, MAX_FLAGS, MAX_LEVELS, MAX_PASSES, Moves
from foretune.trace import Trace


def all_passes():
    for name, kind in PASSES.items():
        yield Pass(name)
        yield from (Pass(name, ((switch, value),)) for switch in kind.switches for value in (True, False))
        yield from (
            Pass(name, ((option, value),))
            for option, values in [*dict(kind.numbers).items(), *dict(kind.words).items(), *dict(kind.places).items()]
            for value in values
        )


def all_flags():
    return (Flag(name, value) for name, kind in FLAGS.items() for value in kind.values)


def test_there_are_enough_and_each_has_an_intent():
    assert len(PASSES) >= 80 and len(FLAGS) >= 60
    for kind in (*PASSES.values(), *FLAGS.values()):
        assert kind.intents and set(kind.intents) <= set(INTENTS)


def test_everything_prints_and_parses_back():
    for step in all_passes():
        assert parse_pass(str(step)) == step
    for flag in all_flags():
        assert parse_flag(str(flag)) == flag


@pytest.mark.timeout(300)
def test_llvm_knows_them_all(toolchain, tmp_path):
    module = tmp_path / "empty.ll"
    module.write_text('target triple = "x86_64-pc-linux-gnu"\ndefine i32 @f(i32 %x) {\n  ret i32 %x\n}\n')

    def opt(*words):
        return subprocess.run(
            [toolchain.tool("opt"), "-disable-output", module, *words], capture_output=True, text=True
        )

    passes = [step for step in all_passes() if step.kind.level != HINT]  # of hints LLVM knows nothing
    inside = [step for step in passes if step.name == O3_WITH]  # each of them a long text
    batches = [[step for step in passes if step.name != O3_WITH]]
    batches += [inside[i : i + 20] for i in range(0, len(inside), 20)]
    for batch in batches:
        done = opt("-passes=" + ",".join(PassSequence((step,)).pipeline for step in batch))
        assert done.returncode == 0, done.stderr
    first = {flag.name: flag for flag in all_flags()}
    done = opt(
        "-passes=default<O3>",
        *PassSequence(
            (), tuple(flag for flag in first.values() if toolchain.has_polly or not flag.kind.polly)
        ).flag_texts,
    )
    assert done.returncode == 0, done.stderr


def test_pipelines_nest_by_level():
    passes = [
        parse_pass(text)
        for text in (
            "globaldce",
            "inline",
            "gvn",
            "sroa<modify-cfg>",
            "licm<no-allowspeculation>",
            "indvars",
            "default<O3>",
            "default<O1>",
        )
    ]
    assert PassSequence(tuple(passes)).pipeline == (
        "globaldce,cgscc(inline),function(gvn,sroa<modify-cfg>),function(loop-mssa(licm<no-allowspeculation>)),function(loop(indvars)),default<O3>,default<O1>"
    )


def test_forced_widths_keep_the_order_of_sums():
    assert (
        str(PassSequence((), (Flag("force-vector-width", 4),)))
        == "-passes='' -force-vector-width=4 -hints-allow-reordering=false"
    )


def test_the_last_of_equal_flags_holds():
    assert PassSequence((), (Flag("unroll-count", 2), Flag("unroll-count", 4))).flags == (Flag("unroll-count", 4),)


def test_sequences_are_traces():
    moves = Moves(np.random.default_rng(0))
    for _ in range(50):
        sequence = moves.walk(8)
        trace = Trace.from_json(json.loads(json.dumps(sequence.trace().to_json())))
        assert PassSequence.from_trace(trace) == sequence


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("no-such-pass", "there is no pass 'no-such-pass'"),
        ("gvn; rm -rf /", "there is no pass"),
        ("$(reboot)", "there is no pass"),
        ("print<domtree>", "there is no pass"),
        ("gvn<nonsense>", "pass gvn takes"),
        ("loop-unroll<full-unroll-max=99999999>", "pass loop-unroll takes"),
        ("loop-unroll<full-unroll-max=400>", "pass loop-unroll takes"),
        ("simplifycfg<keep-loops;no-keep-loops>", "has an option twice"),
        ("gvn<" * 4000, "there is no pass"),
        ("x" * 10_000_000, "must be a short text"),
        (None, "must be a short text"),
        (["gvn"], "must be a short text"),
        ({"pass": "gvn"}, "must be a short text"),
        ("", "there is no pass"),
    ],
)
def test_passes_that_are_refused(text, reason):
    with pytest.raises(IllegalActionError) as error:
        parse_pass(text)
    assert reason in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize(
    "text",
    [
        "-load=evil.so",
        "-o=/etc/passwd",
        "-unroll-count=1000000",
        "-unroll-count=4 -load=x",
        "unroll-count=4",
        "-x=`id`",
        7,
        None,
        "-" * 100_000,
    ],
)
def test_flags_that_are_refused(text):
    with pytest.raises(IllegalActionError):
        parse_flag(text)


def test_proposals_are_taken_in_part():
    sequence, refused = parse_sequence(["gvn", "evil", "licm"], ["-unroll-count=4", "-load=x"])
    assert str(sequence) == "-passes='function(gvn),function(loop-mssa(licm))' -unroll-count=4"
    assert refused == ["there is no pass 'evil'", "there is no flag '-load=x'"]
    sequence, refused = parse_sequence(["gvn"] * 10_000)
    assert len(sequence.passes) == 256 and refused == ["more than 256 steps"]


def num_levels(sequence):
    return sum(step.name in CORES for step in sequence.passes)


def test_moves_stay_in_bounds():
    moves = Moves(np.random.default_rng(1), polly=False)
    sequence = BASE
    for _ in range(2000):
        sequence, intent = moves.mutate(sequence)
        assert intent in ("", *INTENTS) and len(sequence.passes) <= MAX_PASSES and len(sequence.flags) <= MAX_FLAGS + 1
        assert 1 <= num_levels(sequence) <= MAX_LEVELS and not sequence.uses_polly
    crossed = moves.cross(sequence, moves.walk(5))
    assert 1 <= num_levels(crossed) <= MAX_LEVELS
