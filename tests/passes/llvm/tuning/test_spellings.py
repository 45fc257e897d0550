"""What models write for what the grammar has: harmless spellings are read, everything else is refused as it stands."""

from __future__ import annotations

import json

import pytest

from foretune.passes.llvm.tuning.macros import MACROS
from foretune.passes.llvm.tuning.spellings import spell_flags, spell_passes
from foretune.passes.llvm.tuning.strategist import read_proposals
from tests.passes.llvm.tuning.test_strategist import proposal


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["-mllvm -unroll-count=4"], "-unroll-count=4"),
        (["-mllvm", "-unroll-count=4"], "-unroll-count=4"),
        (["--unroll-count 4"], "-unroll-count=4"),
        (["-unroll-count", "4"], "-unroll-count=4"),
        (["unroll-count=4"], "-unroll-count=4"),
        (["-slp-threshold -10"], "-slp-threshold=-10"),
        (["-enable-loop-distribute"], "-enable-loop-distribute=true"),
        (["-enable-loop-distribute=1"], "-enable-loop-distribute=true"),
        (["-vectorize-slp=OFF"], "-vectorize-slp=false"),
        (["-mllvm -unroll-count=4 -mllvm -unroll-runtime"], "-unroll-count=4 -unroll-runtime=true"),
    ],
)
def test_flags(written, read):
    [found] = read_proposals(json.dumps({"proposals": [proposal(flags=written)]}))
    assert not found.refused and str(found.sequence) == f"-passes='default<O3>' {read}"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["loop(licm)"], "function(loop-mssa(licm))"),
        (["function(gvn,loop-mssa(licm))"], "function(gvn),function(loop-mssa(licm))"),
        (["-licm"], "function(loop-mssa(licm))"),
        (["cgscc(inline)"], "cgscc(inline)"),
        (["GVN"], "function(gvn)"),
        (["-passes='gvn,sroa'"], "function(gvn,sroa)"),
        (["O1"], "default<O1>"),
        (["early-cse-memssa"], "function(early-cse<memssa>)"),
        (["loop-unroll<O3;full-unroll-max=8>"], "function(loop-unroll<full-unroll-max=8;O3>)"),
    ],
)
def test_passes(written, read):
    [found] = read_proposals(json.dumps({"proposals": [proposal(before=written)]}))
    assert not found.refused and str(found.sequence) == f"-passes='{read},default<O3>'"


def test_levels_and_macros():
    texts = [{"proposals": [proposal(level=level)]} for level in ("O2", "-O2", "default<O2>", "jam-8")]
    *levels, [macro] = [read_proposals(json.dumps(text)) for text in texts]
    assert all(str(found.sequence) == "-passes='default<O2>'" for [found] in levels)
    assert macro.sequence == MACROS["jam-8"].sequence


@pytest.mark.parametrize(
    ("passes", "flags"),
    [
        (["loop(evil)"], []),
        (["function(gvn; reboot)"], []),
        ([], ["-mllvm -load=x.so"]),
        ([], ["--unroll-count 6000"]),
        ([], ["-o /etc/passwd"]),
        (["(" * 500], []),
        ([7, None], [{"a": 1}]),
        (["function(" * 300 + "gvn" + ")" * 300], []),
        (["attributor"], []),
    ],
)
def test_what_is_not_harmless_is_refused(passes, flags):
    [found] = read_proposals(json.dumps({"proposals": [proposal(before=passes, flags=flags)]}))
    assert found.refused and str(found.sequence) == "-passes='default<O3>'"


def test_what_is_held_back_is_taken_where_it_is_asked_for():
    text = json.dumps({"proposals": [proposal(after=["loop-interchange", "gvn"])]})
    [strict], [free] = read_proposals(text, experimental=False), read_proposals(text, experimental=True)
    assert (
        "loop-interchange is off by default" in strict.refused[0]
        and str(strict.sequence) == "-passes='default<O3>,function(gvn)'"
    )
    assert not free.refused and "loop-interchange" in str(free.sequence)


def test_texts_that_are_no_texts_pass_through():
    assert (
        spell_flags([7, None]) == [7, None]
        and spell_passes([{"a": 1}]) == ([{"a": 1}], [])
        and spell_passes(["-unroll-count=2", "gvn"]) == (["gvn"], ["-unroll-count=2"])
    )
