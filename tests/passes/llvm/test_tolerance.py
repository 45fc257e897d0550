"""Programs with a tolerance: numbers are relaxed in `-O3` and in all candidates alike, and outputs agree number by
number.
"""

from __future__ import annotations

import json

import pytest

from foretune.errors import DataError, OptionError
from foretune.passes.llvm.actions import BASELINE, PassSequence, parse_pass
from foretune.passes.llvm.execution.outcome import Outcome, RunOptions
from foretune.passes.llvm.execution.tolerance import agree, difference
from foretune.passes.llvm.measure import UNOPTIMISED
from foretune.passes.llvm.program import BuildOptions, load_programs
from foretune.passes.llvm.tuning.changes import changes
from foretune.passes.llvm.tuning.emit import emit
from foretune.record import Status
from tests.passes.llvm.test_command_line import run

SUM = """
#include <stdio.h>
static float x[4096];
int main(void) {
    double all = 0;
    for (int i = 0; i < 4096; i++) x[i] = 1.0f / (3 * i + 1);
    for (int t = 0; t < 3000; t++) {
        float s = 0;
        for (int i = 0; i < 4096; i++) s += x[i] * (float)(t % 7 + 1);
        all += s;
    }
    printf("sum %.9e of %d\\n", all, 4096);
    return all != all;
}
"""
STRICT = "fast-math<no-afn;no-arcp;no-contract;no-nsz;no-reassoc>"


def load(folder, tolerance=0.0, text=SUM):
    (folder / "sum.c").write_text(text)
    options = BuildOptions(run=RunOptions(tolerance=tolerance))
    return load_programs(folder / "sum.c", folder / f"built-{tolerance}", options)[0]


@pytest.mark.parametrize(
    ("one", "other", "is_close"),
    [
        ("1.0000001", "1.0", True),
        ("1.00001", "1.0", False),
        ("1e-30", "3e-30", False),
        ("-0.0", "0.0", True),
        ("100000", "99999.99", True),
        ("100000", "100001", False),
        ("0x1.0000001p+3", "0x1p+3", True),
        ("nan", "-nan", True),
        ("nan", "1.0", False),
        ("inf", "inf", True),
        ("-inf", "inf", False),
        ("1e308", "-1e308", False),
    ],
)
def test_numbers(one, other, is_close):
    assert agree(one.encode(), other.encode(), 1e-6) == agree(other.encode(), one.encode(), 1e-6) == is_close


def outcome(text, name="what it prints"):
    return Outcome(str(hash(text)), False, {name: text if isinstance(text, bytes) else text.encode()})


@pytest.mark.parametrize(
    ("one", "other", "told"),
    [
        ("x = -1.0000001, y=2\n", "x =  -1.0, y=2\n", ""),
        ("a1.5 2.0\n", "a1.6 2.0\n", "beside its numbers"),
        ("took 3 steps\n", "took 4 steps\n", "3 in place of 4"),
        ("ok 1.5\n", "no 1.5\n", "beside its numbers"),
        ("1.5\n1.5\n", "1.5\n", "beside its numbers"),
        (b"\0\x01", b"\0\x02", "no text"),
    ],
)
def test_texts(one, other, told):
    found = difference(outcome(one), outcome(other), 1e-6)
    assert (told in found and found) if told else not found
    assert "the file b" in difference(outcome("1"), outcome("2", "b"), 1e-6)


def test_the_baseline_is_relaxed_as_all_candidates_are(measurer, tmp_path):
    exact, relaxed = load(tmp_path), load(tmp_path, 1e-4)
    assert relaxed.hash != exact.hash and relaxed.is_relaxed and not exact.is_relaxed
    prepared, others = measurer.prepare(relaxed), measurer.prepare(exact)
    assert prepared.expected == others.expected  # what the exact program prints without passes
    assert prepared.baseline.object_hash != others.baseline.object_hash
    plain = [measurer.build(one, UNOPTIMISED).object_hash for one in (exact, relaxed)]
    assert plain[0] == plain[1]
    [fast] = measurer.time(prepared, [measurer.build(relaxed, BASELINE)], 2)
    strict = measurer.build(relaxed, PassSequence((parse_pass(STRICT), *BASELINE.passes)))
    [slow] = measurer.time(prepared, [strict], 2)
    assert fast.record.status is slow.record.status is Status.OK
    assert slow.record.best_secs > 1.5 * fast.record.best_secs  # a sum that may not be reordered
    build = measurer.build(exact, PassSequence((parse_pass("fast-math"), *BASELINE.passes)))
    assert build.status is Status.ILLEGAL and "needs a tolerance" in build.error


def test_a_tolerance_that_is_too_small_is_told(measurer, tmp_path):
    with pytest.raises(DataError, match=r"its numbers need another tolerance.* in place of .* more than 1e-09"):
        measurer.prepare(load(tmp_path, 1e-9))
    with pytest.raises(OptionError, match="`0 <= tolerance < 1` must hold"):
        RunOptions(tolerance=1.0)


def test_only_programs_with_a_tolerance_have_the_changes():
    assert not any(change.sequence.relaxes for change in changes(False))
    relaxed = [str(change.sequence) for change in changes(False, relaxed=True) if change.sequence.relaxes]
    assert len(relaxed) > 8 and len(set(relaxed)) == len(relaxed) and any(STRICT in text for text in relaxed)
    both = PassSequence((parse_pass(STRICT), parse_pass("fast-math<no-afn>"), *BASELINE.passes))
    assert list(map(str, both.hints_for(True))) == ["fast-math<no-afn>"] and UNOPTIMISED.hints_for(True) == ()


def test_a_relaxed_winner_is_given_out_as_it_was_measured(measurer, tmp_path):
    program = load(tmp_path, 1e-4)
    text = emit("ll", program, BASELINE, measurer, tmp_path).path.read_text()
    assert "fadd reassoc nsz arcp contract afn <" in text
    assert emit("script", program, BASELINE, measurer, tmp_path).path.is_file()  # it is tried before it is written
    assert "relaxed" in emit("flags", program, BASELINE, measurer, tmp_path).note


def test_the_command_names_it(toolchain, tmp_path):
    (tmp_path / "sum.c").write_text(SUM)
    words = ("tune", "sum.c", "--budget", 2, "--search", "random", "--no-skills", "--tolerance", "1e-4")
    done = run(*words, "--out", "result.json", folder=tmp_path)
    assert done.returncode == 0 and "relaxed, -O3 and all candidates alike" in done.stdout, done.stderr
    [row] = json.loads((tmp_path / "result.json").read_text())["results"]
    assert row["tolerance"] == row["build"]["tolerance"] == 1e-4
    done = run("replay", "result.json", "--repeats", 3, "--json", folder=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["results"][0]["status"] == "ok", done.stderr
    done = run("tune", "sum.c", "--tolerance", "2", folder=tmp_path)
    assert done.returncode == 2 and "tolerance < 1" in done.stderr
