"""One function's calls are timed: in C and C++, by several threads, with recursion, exceptions and jumps."""

from __future__ import annotations

import json

import pytest

from foretune.errors import DataError, OptionError, UnsupportedError
from foretune.passes.llvm.actions import BASELINE, PassSequence, parse_pass
from foretune.passes.llvm.execution.region import FILE_NAME, take_region
from foretune.passes.llvm.measure import UNOPTIMISED
from foretune.passes.llvm.program import BuildOptions, load_programs
from foretune.passes.llvm.timing.instrument import time_function
from foretune.passes.llvm.tuning.emit import emit
from foretune.record import Status
from tests.passes.llvm import test_command_line

WORK = """
static double x[2048];
static double work(int n) {
    double s = 0;
    for (int t = 0; t < n; t++) for (int i = 0; i < 2048; i++) s += (x[i] = x[i] * 0.5 + t);
    return s;
}
"""
TWO_PARTS = (
    "#include <stdio.h>\n"
    + WORK
    + """
static inline double part(int n) { return work(n); }
static int unused(int n) { return n ? 1 : 0; }
int variable(int n, ...) { return n; }
int (*kept)(int) = unused;
int main(int argc, char **argv) {
    double s = 0;
    for (int i = 0; i < 10; i++) s += part(1000);
    s += work(30000) + variable(1, 2);
    printf("%.17g\\n", s);
    return 0;
}
"""
)
RECURSES = """
#include <stdio.h>
long odd(long n);
long even(long n) { return n == 0 ? 1 : odd(n - 1); }
long odd(long n) { return n == 0 ? 0 : even(n - 1); }
long fib(long n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
int main(void) {
    long s = 0;
    for (int i = 0; i < 5; i++) s += fib(23) + even(999);
    printf("%ld\\n", s);
    return 0;
}
"""
THROWS = """
#include <cstdio>
#include <string>
struct Big { double v[6]; };
static __attribute__((noinline)) Big make(const std::string &s, int n) {
    if (n % 3 == 0) throw s + std::to_string(n);
    Big b = {}; for (int i = 0; i < 6; i++) b.v[i] = n * i; return b;
}
inline __attribute__((always_inline)) int small(int n) { return n * n; }
int main() {
    double s = 0; int caught = 0;
    for (int i = 0; i < 999; i++) {
        try { s += make("thrown", i).v[5] + small(i); } catch (const std::string &e) { caught += (int)e.size(); }
    }
    std::printf("%g %d\\n", s, caught);
}
"""
THREADS = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>
static double __attribute__((noinline)) work(int n) { volatile double s = 0; for (int i = 0; i < n; i++) s += i; return s; }
static void *begin(void *n) { work(*(int *)n); return 0; }
int main(void) {
    pthread_t t[4]; int n = 9000000;
    for (int i = 0; i < 4; i++) pthread_create(t + i, 0, begin, &n);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    pid_t child = fork();
    if (!child) { work(n); _exit(0); }
    waitpid(child, 0, 0);
    puts("done");
    if (chdir("/")) return 1;
    _exit(0);
}
"""  # noqa: E501
JUMPS = """
#include <setjmp.h>
#include <stdio.h>
static jmp_buf back;
int leap(int n) { if (n == 3) longjmp(back, 1); return n; }
int outer(void) { volatile int s = 0; for (volatile int i = 0; i < 6; i++) if (!setjmp(back)) s += leap(i); return s; }
int leave(int n) { if (n > 2) __builtin_exit(0); return n; }
int main(void) { printf("%d\\n", outer()); fflush(stdout); for (int i = 0;; i++) leave(i); }
""".replace("__builtin_exit", "exit").replace("#include <setjmp.h>", "#include <setjmp.h>\n#include <stdlib.h>")


def load(folder, text, name="program.c"):
    (folder / name).write_text(text)
    return load_programs(folder / name, folder / "built", BuildOptions())[0]


def region_of(measurer, program, sequence=BASELINE):
    build = measurer.build(program, sequence)
    assert build.status is Status.OK, build.error
    found = measurer._run(program, build.linked)
    assert found.is_ok, found.ran.error
    return found.region


def timed(folder, text, function, name="program.c"):
    program = load(folder, text, name)
    return time_function(program, function, folder / "built")


def test_a_part_takes_its_part_of_the_time(measurer, tmp_path):
    program = load(tmp_path, TWO_PARTS)
    part = time_function(program, "part", tmp_path / "built")
    assert part.timed == "part" and part.whole is program and part.checked is program and part.hash != program.hash
    for sequence in (UNOPTIMISED, BASELINE, PassSequence((parse_pass("default<O1>"),))):
        assert region_of(measurer, part, sequence).num_calls == 10  # inline, or called with one constant alone
    whole = time_function(program, "main", tmp_path / "built")
    prepared = measurer.prepare(part)
    [timing] = measurer.time(prepared, [prepared.baseline], 3)
    [all_of_it] = measurer.time(measurer.prepare(whole), [measurer.build(whole, BASELINE)], 3)
    assert timing.record.status is Status.OK
    assert 0.1 < timing.record.best_secs / all_of_it.record.best_secs < 0.5  # a quarter of the work


@pytest.mark.parametrize(("function", "calls"), [("fib", 5), ("even", 5), ("odd", 5), ("main", 1)])
def test_nested_calls_are_counted_once(measurer, tmp_path, function, calls):
    program = timed(tmp_path, RECURSES, function)
    assert region_of(measurer, program).num_calls == region_of(measurer, program, UNOPTIMISED).num_calls == calls


def test_exceptions_and_results_in_memory(measurer, tmp_path):
    program = timed(tmp_path, THROWS, "make", "program.cpp")
    assert measurer.prepare(program).expected == measurer.prepare(program.whole).expected
    found = region_of(measurer, program)
    assert found.num_calls == 999 and not found.num_jumps and found.secs > 0
    assert region_of(measurer, timed(tmp_path, THROWS, "small(int)", "program.cpp")).num_calls == 666


def test_threads_children_and_sudden_ends(measurer, tmp_path):
    found = region_of(measurer, timed(tmp_path, THREADS, "work"))
    assert found.num_calls == 5
    run_secs = measurer.cpu_secs(load(tmp_path, THREADS), measurer.build(load(tmp_path, THREADS), BASELINE))
    assert 0.6 * run_secs < found.secs < 1.6 * run_secs


def test_jumps_are_told_and_ends_inside_are_counted(measurer, tmp_path):
    with pytest.raises(DataError, match="leap is left by longjmp"):
        measurer.prepare(timed(tmp_path, JUMPS, "leap"))
    assert region_of(measurer, timed(tmp_path, JUMPS, "outer")).num_calls == 1
    left = region_of(measurer, timed(tmp_path, JUMPS, "leave"))
    assert left.num_calls == 4 and not left.num_jumps


def test_what_cannot_be_timed_is_told(measurer, tmp_path):
    with pytest.raises(DataError, match="unused is never called in this run"):
        measurer.prepare(timed(tmp_path, TWO_PARTS, "unused"))
    with pytest.raises(UnsupportedError, match="variable cannot be timed: it takes a variable number of arguments"):
        timed(tmp_path, TWO_PARTS, "variable")
    with pytest.raises(OptionError, match="has no function nothing"):
        timed(tmp_path, TWO_PARTS, "nothing")
    with pytest.raises(OptionError, match="it is called, but defined elsewhere"):
        timed(tmp_path, TWO_PARTS, "printf")


def test_winners_are_given_out_without_the_clock(measurer, tmp_path):
    program = timed(tmp_path, TWO_PARTS, "part")
    text = emit("ll", program.whole, BASELINE, measurer, tmp_path).path.read_text()
    assert "foretune" not in text
    assert "@foretune_region_enter" in emit("ll", program, BASELINE, measurer, tmp_path).path.read_text()


def test_files_that_are_not_ours_are_none(tmp_path):
    path = tmp_path / FILE_NAME
    assert take_region(tmp_path) is None
    path.write_bytes(b"x" * 40)
    assert take_region(tmp_path) is None and not path.exists()
    path.symlink_to("/dev/zero")
    assert take_region(tmp_path) is None
    path.unlink()
    path.mkdir()
    assert take_region(tmp_path) is None


def test_the_command(toolchain, tmp_path):
    (tmp_path / "program.c").write_text(TWO_PARTS)
    words = ("tune", "program.c", "--budget", 2, "--search", "random", "--no-skills", "--time-function")
    done = test_command_line.run(*words, "part", "--out", "result.json", folder=tmp_path)
    assert done.returncode == 0 and "times are those of all calls of part" in done.stdout, done.stderr
    [row] = json.loads((tmp_path / "result.json").read_text())["results"]
    assert row["timed"] == "part"
    again = test_command_line.run("replay", "result.json", "--repeats", 3, "--json", folder=tmp_path)
    assert json.loads(again.stdout)["results"][0]["status"] == "ok", again.stderr
    done = test_command_line.run(*words, "par", folder=tmp_path)
    assert done.returncode == 2 and "has no function par" in done.stderr and "part" in done.stderr
    done = test_command_line.run(*words, "part", "--objective", "size", folder=tmp_path)
    assert done.returncode == 2 and "--time-function goes with --objective time" in done.stderr
