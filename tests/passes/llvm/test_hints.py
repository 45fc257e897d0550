"""Hints for single loops and functions, and mathematics without errno."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from foretune.errors import IllegalActionError
from foretune.passes.llvm.actions import BASELINE, PassSequence, parse_pass
from foretune.passes.llvm.program import BuildOptions, Program, load_module, load_programs
from foretune.passes.llvm.tables import ORDERED
from foretune.passes.llvm.tuning.changes import changes
from foretune.passes.llvm.tuning.emit import emit
from foretune.passes.llvm.tuning.screening import Screen
from foretune.trace import Trace

LOOPS = """
#include <math.h>
double nest(const double *restrict x, const double *restrict y, int n) {
    double s = 0;
    for (int i = 0; i < n; i++) for (int j = 0; j < n; j++) s += x[i * n + j] * y[j];
    return s;
}
void flat(int *x, int n) { for (int i = 0; i < n; i++) x[i] = x[i] * 3 + 1; }
void roots(float *restrict x, int n) { for (int i = 0; i < n; i++) x[i] = sqrtf(x[i]); }
"""
ERRNO = "\n#include <errno.h>\nint last(void) { return errno; }\n"
RUNS = (
    LOOPS
    + """
#include <stdio.h>
#include <stdlib.h>
int main(void) {
    int n = 150; double *x = malloc(n * n * 8), *y = malloc(n * 8);
    for (int i = 0; i < n * n; i++) x[i] = 1.0 / (i + 1);
    for (int i = 0; i < n; i++) y[i] = 1.0 / (3 * i + 7);
    double s = 0;
    for (int t = 0; t < 20; t++) s += nest(x, y, n);
    printf("%a\\n", s);
    return 0;
}
"""
)


def sequence(*texts):
    return PassSequence((*map(parse_pass, texts), *BASELINE.passes))


@pytest.fixture
def text_of(measurer, toolchain, tmp_path):
    """The text of a module under a sequence, as `--emit ll` writes it."""

    def made(source, tuned):
        (tmp_path / "loops.c").write_text(source)
        program = Program("loops", load_module(tmp_path / "loops.c", tmp_path / "made", BuildOptions()))
        return emit("ll", program, tuned, measurer, tmp_path).path.read_text()

    return made


def body_of(text, function):
    """A function without the numbers of metadata and attributes, which go by the whole module."""
    return re.sub(r"[!#]\d+", "", text[text.index(f"@{function}(") :].partition("\n}\n")[0])


def test_the_grammar_is_closed():
    tuned = sequence("loop-hint<at=1;width=8;interleave=2>", "function-hint<at=0;no-inline>", "no-math-errno")
    assert str(tuned.hints[0]) == "loop-hint<at=1;interleave=2;width=8>"
    assert tuned.pipeline == "default<O3>" and tuned.flag_texts == [ORDERED] and "loop-hint" in str(tuned)
    trace = Trace.from_json(json.loads(json.dumps(tuned.trace().to_json())))
    assert PassSequence.from_trace(trace) == tuned
    assert sequence("loop-hint<at=0;unroll=4>").flag_texts == []
    for text in ("loop-hint<at=9>", "loop-hint<width=17>", "loop-hint<enable>", "function-hint<at=0;optnone>"):
        with pytest.raises(IllegalActionError):
            parse_pass(text)


def test_a_hint_is_of_one_loop(text_of):
    plain = text_of(LOOPS, BASELINE)
    hinted = [text_of(LOOPS, sequence(f"loop-hint<at={at};width=1>")) for at in range(4)]
    names = ("nest", "flat", "roots")
    changed = [[name for name in names if body_of(text, name) != body_of(plain, name)] for text in hinted]
    assert sorted(changed) == [[], [], [], ["flat"]]  # the one that is vectorised, by whatever place it has
    scalar = hinted[changed.index(["flat"])]
    assert " x " in body_of(plain, "flat") and " x " not in body_of(scalar, "flat")  # a type of vectors


def test_the_loop_around_is_jammed(text_of):
    inside = parse_pass("o3-with<before-vectorizer=loop-unroll-and-jam>")
    plain = text_of(LOOPS, PassSequence((inside,)))
    jammed = text_of(LOOPS, PassSequence((parse_pass("loop-hint<at=0;jam=4>"), inside)))
    assert body_of(jammed, "nest") != body_of(plain, "nest") and body_of(jammed, "flat") == body_of(plain, "flat")


def test_mathematics_without_errno(text_of):
    assert "llvm.sqrt" not in text_of(LOOPS, BASELINE)
    assert "llvm.sqrt.v" in text_of(LOOPS, sequence("no-math-errno"))
    assert "llvm.sqrt" not in text_of(LOOPS + ERRNO, sequence("no-math-errno"))  # the program asks for it


def test_functions(text_of):
    static = (
        LOOPS.replace("void flat", "static void flat") + "void all(int *x, int n) { flat(x, n); flat(x + n, n); }\n"
    )
    assert "call void @flat" not in text_of(static, BASELINE).replace("fastcc ", "").replace("tail ", "")
    hinted = [text_of(static, sequence(f"function-hint<at={at};no-inline>")) for at in range(4)]
    assert sum("@flat(" in text for text in hinted) == 1


def test_hints_keep_every_bit_and_scripts_rebuild_them(measurer, tmp_path):
    (tmp_path / "runs.c").write_text(RUNS)
    [program] = load_programs(tmp_path / "runs.c", tmp_path / "built")
    prepared = measurer.prepare(program)
    tuned = sequence("loop-hint<at=0;width=8;interleave=4>", "loop-hint<at=1;unroll=4;distribute>", "no-math-errno")
    build = measurer.build(program, tuned)
    [timing] = measurer.time(prepared, [build], 1)
    assert timing.record.status.value == "ok", timing.record.error
    path = emit("script", program, tuned, measurer, tmp_path / "out").path
    subprocess.run(["sh", str(path), str(tmp_path / "again")], check=True)
    [made] = [emit("object", program, tuned, measurer, tmp_path / "out").path]
    assert (tmp_path / "again.o").read_bytes() == made.read_bytes()


def test_screens_know_single_hints():
    hints = [change for change in changes(False) if change.sequence.hints]
    assert len(hints) > 20
    one, other = hints[0], hints[1]
    screen = Screen(((one,),), 2)
    both = PassSequence((*one.sequence.hints, *other.sequence.hints, *BASELINE.passes))
    assert screen.active(both).hints == one.sequence.hints
