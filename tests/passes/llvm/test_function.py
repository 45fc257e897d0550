"""Single functions: the grammar of calls, the program that is made around them, and what is refused."""

from __future__ import annotations

import struct
import subprocess

import pytest
from typer.testing import CliRunner

from foretune import DataError, OptionError
from foretune.cli.app import app
from foretune.passes.llvm.function import Buffer, FunctionCall, load_function
from foretune.passes.llvm.measure import BASELINE
from foretune.passes.llvm.program import BuildOptions

SOURCE = """
void saxpy(float *restrict y, const float *restrict x, float a, int n) { for (int i = 0; i < n; i++) y[i] = a * x[i] + 0.5f * y[i]; }
double first(const double *x, const signed char *small) { return x[0] + small[1]; }
long both(long a, short b) { return a * 1000 + b; }
static int hidden(int x) { return 3 * x; }
int crash(int *p) { return hidden(*(volatile int *)0) + *p; }
"""  # noqa: E501


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "kernels.c"
    path.write_text(SOURCE)
    return path


def run(measurer, program) -> bytes:
    build = measurer.build(program, BASELINE)
    return subprocess.run(
        [build.executable, *program.options.arguments], capture_output=True, check=True, timeout=20
    ).stdout


def load(source, tmp_path, text, measurer, num_calls=None):
    return load_function(source, tmp_path, BuildOptions(), FunctionCall.parse(text), measurer, num_calls)


def test_the_grammar():
    assert FunctionCall.parse(" f ( f32[8] , -3, 1e-3,i8[1] ) ") == FunctionCall(
        "f", (Buffer("f32", 8), -3, 0.001, Buffer("i8", 1))
    )
    assert FunctionCall.parse("f()") == FunctionCall("f")
    for bad in (
        "f",
        "f(",
        "f(x)",
        "f(f32[0])",
        "f(f32[-1])",
        "f(u8[4])",
        "f($(rm -r x))",
        "f(1;2)",
        "f(g(1))",
        "f(nan)",
        "f(f64[999999999999])",
        "f(1,)",
        "f" * 10_000,
    ):
        with pytest.raises(OptionError):
            FunctionCall.parse(bad)


def test_arguments_and_results_arrive(source, tmp_path, measurer):
    assert struct.unpack("<q", run(measurer, load(source, tmp_path, "both(-7, 12)", measurer, 1)))[0] == -6988
    out = run(measurer, load(source, tmp_path, "first(f64[4], i8[16])", measurer, 1))
    result, *rest = struct.unpack("<d4d16b", out)
    assert (
        result == rest[0] + rest[5]
        and all(0 <= x < 1 for x in rest[:4])
        and all(0 <= x < 100 for x in rest[4:])
        and len(set(rest)) > 5
    )


def test_buffers_are_filled_once_and_written_in_full(source, tmp_path, measurer):
    once, twice = (
        struct.unpack("<8x64f", run(measurer, load(source, tmp_path, "saxpy(f32[32], f32[32], 2.5, 32)", measurer, n)))
        for n in (1, 2)
    )
    assert once[32:] == twice[32:]  # what is only read stays
    for y1, y2, x in zip(once[:32], twice[:32], once[32:]):
        assert y2 == pytest.approx(2.5 * x + 0.5 * y1, rel=1e-6)


def test_calls_are_counted_so_that_they_can_be_timed(source, tmp_path, measurer):
    program = load(source, tmp_path, "saxpy(f32[256], f32[256], 2.5, 256)", measurer)
    assert int(program.options.arguments[0]) > 1000
    prepared = measurer.prepare(program)
    assert min(t.record.best_secs for t in measurer.time(prepared, [prepared.baseline])) > 0.005


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("nope(1)", "no function nope.*both, crash, first, saxpy"),
        ("hidden(1)", "no function hidden"),
        ("both(1)", "takes 2 arguments .i64, i16., but got 1"),
        ("both(1.5, 2)", "argument 1 of both is of type i64, which 1.5 does not fit"),
        ("both(1, 70000)", "cannot hold 70000"),
        ("first(1, 2)", "argument 1 of first is of type ptr"),
        ("crash(i32[1])", "does not run"),
    ],
)
def test_what_does_not_fit_is_told(source, tmp_path, measurer, call, words):
    with pytest.raises(DataError, match=words):
        load(source, tmp_path, call, measurer)


def test_a_program_with_a_main_is_run_as_it_is(tmp_path, measurer):
    path = tmp_path / "whole.c"
    path.write_text("int f(int x) { return x; } int main(void) { return f(0); }")
    with pytest.raises(DataError, match="main of its own"):
        load(path, tmp_path, "f(1)", measurer)


def test_the_command_and_its_replay(source, tmp_path, toolchain):
    out = tmp_path / "results.json"
    done = CliRunner().invoke(
        app,
        [
            "passes",
            "tune",
            str(source),
            "--call",
            "saxpy(f32[512], f32[512], 2.5, 512)",
            "--budget",
            "4",
            "--out",
            str(out),
            "--json",
        ],
    )
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, ["passes", "replay", str(out), "--json"])
    assert done.exit_code == 0 and '"status": "ok"' in done.output, done.output
