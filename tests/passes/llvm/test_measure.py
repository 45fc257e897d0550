"""Programs are loaded, built under limits, timed beside -O3, and checked."""

from __future__ import annotations

import dataclasses

import pytest

from foretune.errors import DataError, OptionError, UnsupportedError
from foretune.passes.llvm.actions import Flag, Pass, PassSequence
from foretune.passes.llvm.execution.outcome import RunOptions
from foretune.passes.llvm.measure import BASELINE, PassMeasurer, PassMeasureSettings
from foretune.passes.llvm.observe import FEATURES
from foretune.passes.llvm.program import BuildOptions, Selection, load_programs
from foretune.passes.llvm.toolchain import Toolchain
from foretune.record import Status
from tests.passes import sources


def load(folder, text, name="program.c", options=BuildOptions()):
    path = folder / name
    path.write_text(text)
    return load_programs(path, folder / "built", options)[0]


@pytest.fixture
def program(toolchain, tmp_path):
    return load(tmp_path, sources.ENDS_WITH_3, options=BuildOptions(run=RunOptions(expect_exit=3)))


def test_candidates_are_timed_beside_the_baseline(program, measurer):
    prepared = measurer.prepare(program)
    assert prepared.expected[0] == 3
    build = measurer.build(
        program, PassSequence((Pass("default<O2>"),), (Flag("force-vector-interleave", 2),)), observe=True
    )
    [timing] = measurer.time(prepared, [build])
    assert timing.record.status is Status.OK and len(timing.record.run_secs) <= 2 and timing.speedup > 0
    assert PassSequence.from_trace(timing.record.trace) == build.sequence
    counts = dict(zip(FEATURES, build.before))
    assert counts["functions"] == 2 and counts["loops"] == 3 and counts["loop_depth"] == 1
    assert build.text_bytes > 50 and dict(zip(FEATURES, build.after))["alloca"] < counts["alloca"]


def test_equal_sequences_give_equal_machine_code(program, measurer):
    one, other = (measurer.build(program, BASELINE) for _ in range(2))
    assert one.object_hash == other.object_hash != measurer.build(program, PassSequence()).object_hash


def test_a_program_whose_baseline_takes_long_gets_more_time(toolchain, tmp_path):
    program = load(tmp_path, sources.LARGE)
    with PassMeasurer(PassMeasureSettings(build_timeout_secs=1.0)) as measurer:
        prepared = measurer.prepare(program)  # which takes longer
        assert measurer.compiler.limit_of(program) == max(1.0, 4 * prepared.baseline.secs)
        assert measurer.build(program, PassSequence((Pass("default<O2>"),)), link=False).status is Status.OK
        assert prepared.baseline.secs > 0.25 and measurer.compiler.limit_of(program) > 1


DUMPS = """
#include <stdio.h>
int main(void) {
    double s = 0;
    for (int i = 0; i < 100000; i++) s += 1.0 / (i + 1);
#ifdef DUMP
    printf("%a\\n", s);
#endif
    return s < 1;
}
"""


def test_one_build_is_timed_and_another_is_checked(measurer, tmp_path, caplog):
    timed = load(tmp_path, DUMPS)
    checked = load(tmp_path, DUMPS, "dumps.c", BuildOptions(defines=("DUMP",)))
    program = dataclasses.replace(timed, checked=checked)
    assert program.hash != timed.hash
    prepared = measurer.prepare(program)
    assert prepared.checked.expected != prepared.expected and "prints nothing" not in caplog.text
    build = measurer.build(program, PassSequence((Pass("default<O2>"),)))
    assert measurer.check(prepared, build) == ""
    other = dataclasses.replace(prepared, checked=dataclasses.replace(prepared.checked, expected=(0, "another")))
    assert measurer.check(other, build).startswith("the program that is checked differs")


def test_short_runs_are_told(program, measurer, caplog):
    measurer.prepare(program)
    assert "give it more to do" in caplog.text and "starting it is much" in caplog.text


def test_polly_runs_where_it_is(program, measurer):
    if not measurer.has_polly:
        pytest.skip("this opt has no Polly")
    build = measurer.build(program, PassSequence((Pass("default<O3>"),), (Flag("polly", True),)))
    assert build.status is Status.OK, build.error


def test_a_wrong_output_is_a_status(program, measurer):
    prepared = dataclasses.replace(measurer.prepare(program), expected=(3, "another"))
    [timing] = measurer.time(prepared, [measurer.build(program, BASELINE)])
    assert timing.record.status is Status.WRONG_OUTPUT and timing.speedup == 0 and not timing.record.run_secs


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (sources.CRASHES, "does not run: the program was killed by signal 11"),
        (sources.HANGS, "does not run: no end within"),
        (sources.DIFFERS_EACH_TIME, "prints another output each time"),
    ],
)
def test_programs_that_cannot_be_tuned(toolchain, tmp_path, text, reason):
    with PassMeasurer(PassMeasureSettings(run_timeout_secs=1)) as measurer, pytest.raises(DataError, match=reason):
        measurer.prepare(load(tmp_path, text))


def test_programs_that_print_nothing_are_told(measurer, tmp_path, caplog):
    measurer.prepare(load(tmp_path, sources.SILENT))
    assert "prints nothing" in caplog.text


def test_builds_that_take_too_long_or_too_much(toolchain, tmp_path):
    program = load(tmp_path, sources.LARGE)
    with PassMeasurer(PassMeasureSettings(build_timeout_secs=0.05)) as measurer:
        build = measurer.build(program, BASELINE)
        assert build.status is Status.BUILD_TIMEOUT and "0.05 s" in build.error
    with PassMeasurer(PassMeasureSettings(memory_bytes=16 << 20)) as measurer:
        assert measurer.build(program, BASELINE).status is Status.BUILD_ERROR


def test_modules_that_are_damaged(toolchain, tmp_path, measurer):
    for text in ("define i32 @main( {", "", "\x00\x01garbage"):
        build = measurer.build(load(tmp_path, text, "broken.ll"), BASELINE)
        assert build.status is Status.BUILD_ERROR and build.error
    good = load(tmp_path, sources.SUM)
    assert measurer.build(good, BASELINE).status is Status.OK  # the worker goes on


def test_text_and_bitcode(toolchain, tmp_path, measurer):
    text = "define i32 @main(i32 %argc, ptr %argv) {\n  ret i32 7\n}\n"
    prepared = measurer.prepare(load(tmp_path, text, "seven.ll", BuildOptions(run=RunOptions(expect_exit=7))))
    assert prepared.expected[0] == 7
    bitcode = load(tmp_path, sources.SUM).module
    assert load_programs(bitcode, tmp_path)[0].module == bitcode


def test_a_folder_of_programs_with_a_utility(toolchain, tmp_path, measurer):
    (tmp_path / "suite" / "a").mkdir(parents=True)
    (tmp_path / "suite" / "utilities").mkdir()
    (tmp_path / "suite" / "a" / "one.c").write_text(sources.USES_UTILITY)
    (tmp_path / "suite" / "two.cpp").write_text(sources.CPP)
    (tmp_path / "suite" / "utilities" / "utility.c").write_text(sources.UTILITY)
    (tmp_path / "suite" / "utilities" / "utility.h").write_text(sources.UTILITY_HEADER)
    options = BuildOptions(libraries=("m", "stdc++"))
    one, two = load_programs(tmp_path / "suite", tmp_path / "separate", options, Selection(keep_separate=True))
    assert (one.name, two.name) == ("one", "two") and len(one.objects) == 1
    assert measurer.prepare(one).expected[0] == 0
    one, two = load_programs(tmp_path / "suite", tmp_path / "built", options)
    assert (
        (one.name, two.name) == ("one", "two")
        and not one.objects
        and set(measurer.compiler.signatures(one.module)) == {"main", "twice"}
    )
    assert measurer.prepare(one).expected[0] == 0 and measurer.prepare(two).expected[0] == 0


def test_sources_that_do_not_work(toolchain, tmp_path):
    with pytest.raises(DataError, match=r"program\.c cannot be compiled: .*error"):
        load(tmp_path, "int main( {")
    with pytest.raises(OptionError, match="there is no file or folder"):
        load_programs(tmp_path / "nothing.c", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(OptionError, match="has a main function"):
        load_programs(tmp_path / "empty", tmp_path)
    (tmp_path / "program.py").write_text("")
    with pytest.raises(OptionError, match=r"must be a \.c, \.cpp, \.ll or \.bc file"):
        load_programs(tmp_path / "program.py", tmp_path)


def test_missing_tools_are_named(toolchain):
    with pytest.raises(UnsupportedError, match="clang of LLVM 22 is not installed: run `make llvm`"):
        Toolchain(toolchain.library, ()).tool("clang")


def test_settings():
    with pytest.raises(OptionError, match="`repeats > 0` must hold"):
        PassMeasureSettings(repeats=0)
    with pytest.raises(OptionError, match="core must be one of"):
        PassMeasureSettings(core=4096)


def test_functions_that_no_library_has_are_inlined_without_passes(measurer, tmp_path):
    """As of `std::string`: always inlined, and said to be elsewhere."""
    text = """
inline __attribute__((always_inline, gnu_inline)) int elsewhere(int x) { return 3 * x; }
__attribute__((gnu_inline)) extern inline int again(int x) { return elsewhere(x) + 1; }
#include <string>
int main(int n, char **words) { std::string s(words[0]); return elsewhere(n) - 3 + (s + std::to_string(n)).empty(); }
"""
    prepared = measurer.prepare(load(tmp_path, text, "strings.cpp"))
    assert prepared.expected[0] == 0
