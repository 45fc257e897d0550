"""The objective `cycles` weighs blocks by how often they run, and sees through unrolling, vectors and calls."""

from __future__ import annotations

import platform

import pytest

from foretune.passes.llvm.actions import BASELINE, parse_sequence
from foretune.passes.llvm.cycles.assembly import MachineBlock
from foretune.passes.llvm.cycles.estimate import module_cycles
from foretune.passes.llvm.program import BuildOptions, load_module
from foretune.passes.llvm.program import Program as Made

SCALE = (
    "void scale(float *restrict y, const float *restrict x, int n) { for (int i = 0; i < n; i++) y[i] = 3 * x[i]; }\n"
)
SUM = "float sum(const float *x, int n) { float s = 0; for (int i = 0; i < n; i++) s += x[i]; return s; }\n"
FIXED = "float four(const float *x) { float s = 0; for (int i = 0; i < 4; i++) s += x[i]; return s; }\n"
CALLS = """
static int twice(int *x) { return *x * 2 + x[1]; }
int all(int *x, int n) { int s = 0; for (int i = 0; i < n; i++) s = (s << 1) ^ twice(x + i); return s; }
"""
RECURSION = (
    "int odd(int n); int even(int n) { return n ? odd(n - 1) : 1; } int odd(int n) { return n ? even(n - 1) : 0; }\n"
)


@pytest.fixture
def cycles(measurer, toolchain, tmp_path):
    for tool in ("llc", "llvm-mca"):
        if not toolchain.has(tool):
            pytest.skip(f"{tool} is not installed")

    def of(text, *steps):
        (tmp_path / "module.c").write_text(text)
        program = Made("module", load_module(tmp_path / "module.c", tmp_path / "made", BuildOptions()))
        passes = [step for step in steps if not step.startswith("-")] or ["default<O3>"]
        sequence, refused = parse_sequence(passes, [step for step in steps if step.startswith("-")])
        assert not refused
        return measurer.compiler.cycles(program, sequence)

    return of


def test_vectors_pay_and_unrolling_costs_nothing(cycles):
    assert cycles(SCALE) < cycles(SCALE, "-vectorize-loops=false") / 3
    rolled, unrolled = cycles(SUM, "-unroll-runtime=false"), cycles(SUM)  # one addition waits for the other either way
    assert 0.7 * rolled < unrolled < 1.2 * rolled


def test_constant_bounds_are_known(cycles):
    rolled = cycles(FIXED, "mem2reg", "instcombine", "simplifycfg", "loop-rotate", "indvars")  # a loop still
    assert cycles(FIXED) < rolled < 30


def test_inlining_neither_hides_work_nor_doubles_it(cycles):
    called, inlined = (
        cycles(CALLS, "-inline-threshold=0", "-unroll-runtime=false"),
        cycles(CALLS, "-unroll-runtime=false"),
    )
    assert inlined <= called < 20 * inlined and inlined > 256


def test_functions_that_call_each_other_end(cycles):
    assert 0 < cycles(RECURSION, "default<O1>") < 1000


def test_modules_of_another_system(cycles, measurer, tmp_path):
    """Their code has no map of blocks in its own format."""
    text = (
        'target triple = "x86_64-apple-macosx10.15.0"\ndefine i32 @f(i32 %x) {\n  %y = mul i32 %x, 3\n  ret i32 %y\n}\n'
    )
    (tmp_path / "other.ll").write_text(text)
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the module is for another processor")
    other = Made("other", load_module(tmp_path / "other.ll", tmp_path / "made"))
    assert measurer.compiler.cycles(other, BASELINE) > 0


def test_inline_assembly_is_left_out(cycles):
    text = 'int f(int x) { __asm__ volatile("# nothing here\\n\\t.byte 0x90\\n1:\\tnop"); return x + 1; }\n'
    assert cycles(text) > 0


def test_nothing_is_known_where_the_tool_says_nothing():
    functions = {"f": [MachineBlock(("addl\t$1, %eax",), 1.0), MachineBlock((), 1.0)]}
    assert module_cycles(functions, {"f"}, ["true"], 10.0) is None
