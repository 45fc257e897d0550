"""What a run leaves: files, exit codes, lines that change; files that a program reads; further inputs of finalists."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from foretune.errors import DataError, OptionError
from foretune.passes.llvm.actions import BASELINE, Pass, PassSequence
from foretune.passes.llvm.execution.outcome import Input, Outcome, RunOptions, describe_difference
from foretune.passes.llvm.program import BuildOptions, load_programs
from foretune.passes.llvm.tuning.search import RandomSearch
from foretune.passes.llvm.tuning.tuning import PassTuneConfig, confirm, tune
from foretune.record import Status

WRITES = """
#include <stdio.h>
int main(void) { long s = 1; for (int i = 1; i < 1000; i++) s = s * 31 + i; FILE *f = fopen("sums.txt", "w"); fprintf(f, "%ld\\n", s); fclose(f); return 0; }
"""  # noqa: E501
TELLS_TIME = """
#include <stdio.h>
#include <time.h>
int main(void) {
    struct timespec now; clock_gettime(CLOCK_MONOTONIC, &now);
    printf("answer %d\\ntook %ld.%09ld secs\\n", 42, (long)now.tv_sec, now.tv_nsec); return 0;
}
"""
READS_FIXED_NAME = """
#include <stdio.h>
int main(void) {
    FILE *f = fopen("data/numbers.txt", "r"); int n = 0;
    if (!f) { printf("no numbers\\n"); return 4; }
    fscanf(f, "%d", &n); printf("%d\\n", n * 2); return 0;
}
"""
TWO_PATHS = (
    "#include <stdio.h>\nint main(int argc, char **argv) { printf(\"%d\\n\", argc > 1 && argv[1][0] == '1' ? 7 : 3);"
    " return argc > 2; }\n"
)


def load(folder, text, run=RunOptions(), **options):
    (folder / "program.c").write_text(text)
    return load_programs(folder / "program.c", folder / "built", BuildOptions(run=run, **options))[0]


def test_files_that_a_program_writes_are_compared(measurer, tmp_path, caplog):
    prepared = measurer.prepare(load(tmp_path, WRITES))
    assert "prints nothing" not in caplog.text  # it prints nothing, but writes
    build = measurer.build(prepared.program, BASELINE)
    assert measurer.time(prepared, [build], 1)[0].record.status is Status.OK
    other = load(tmp_path / "built", WRITES.replace("31", "33"))
    [wrong] = measurer.time(
        prepared, [measurer.build(other, BASELINE)], 1
    )  # another program in its place, as a miscompiled one would be
    assert wrong.record.status is Status.WRONG_OUTPUT and "a file that it wrote" in wrong.record.error


def test_lines_that_change_are_named_and_can_be_ignored(measurer, tmp_path):
    with pytest.raises(
        DataError, match=r"lines that differ: 'took .* secs', then 'took .*leave them out with --ignore '\^took"
    ) as told:
        measurer.prepare(load(tmp_path, TELLS_TIME))
    pattern = str(told.value).rpartition("--ignore '")[2].rstrip("'")
    assert measurer.prepare(load(tmp_path, TELLS_TIME, RunOptions(ignore=(pattern,)))).expected[0] == 0
    with pytest.raises(DataError, match="lines of the file log that differ"):
        measurer.prepare(load(tmp_path, TELLS_TIME.replace("printf(", 'fprintf(fopen("log", "w"), ')))


def test_what_a_program_is_called_by_is_its_own_name(measurer, tmp_path):
    program = load(tmp_path, "#include <stdio.h>\nint main(int n, char **words) { puts(words[0]); return n - 1; }\n")
    prepared = measurer.prepare(program)
    others = [measurer.build(program, PassSequence((Pass(f"default<{level}>"),))) for level in ("O1", "Os")]
    assert all(timing.record.status is Status.OK for timing in measurer.time(prepared, others, 1))
    printed = measurer._run(program, prepared.baseline.linked).outcome.last_line
    assert printed.endswith("/program") and Path(printed).is_relative_to(measurer._folder)


def test_an_error_path_is_not_tuned(measurer, tmp_path):
    (tmp_path / "numbers.txt").write_text("21")
    with pytest.raises(
        DataError,
        match=(
            r"ends with exit code 4, but 0 is expected; it prints 'no numbers'. Bring .* --file or --cwd.* say"
            r" --expect-exit 4"
        ),
    ):
        measurer.prepare(load(tmp_path, READS_FIXED_NAME))
    assert measurer.prepare(load(tmp_path, READS_FIXED_NAME, RunOptions(expect_exit=4))).expected[0] == 4
    found = measurer.prepare(
        load(tmp_path, READS_FIXED_NAME, RunOptions(files=(("data/numbers.txt", tmp_path / "numbers.txt"),)))
    )
    (tmp_path / "there" / "data").mkdir(parents=True)
    (tmp_path / "there" / "data" / "numbers.txt").write_text("21")
    same = measurer.prepare(load(tmp_path, READS_FIXED_NAME, RunOptions(cwd=tmp_path / "there")))
    assert same.expected == found.expected and same.program.hash == found.program.hash
    (tmp_path / "there" / "data" / "numbers.txt").write_text("22")
    assert load(tmp_path, READS_FIXED_NAME, RunOptions(cwd=tmp_path / "there")).hash != found.program.hash
    assert sorted(path.name for path in (tmp_path / "there").rglob("*")) == ["data", "numbers.txt"]


def test_finalists_are_right_on_further_inputs(measurer, tmp_path):
    checks = (Input(("1",)), Input(("0", "more")))
    prepared = measurer.prepare(load(tmp_path, TWO_PATHS, RunOptions(checks=checks), arguments=("0",)))
    assert [code for code, _ in prepared.checks] == [0, 1] and len(set(prepared.checks)) == 2
    build = measurer.build(prepared.program, BASELINE)
    assert measurer.check(prepared, build) == "" and confirm(prepared, BASELINE, measurer, 1)["status"] == "ok"
    wrong = dataclasses.replace(prepared, checks=((0, "another"), prepared.checks[1]))
    assert "on the check input '1' it differs" in measurer.check(wrong, build)
    assert confirm(wrong, BASELINE, measurer, 1)["status"] == "wrong_output"


@pytest.mark.parametrize("objective", ["time", "size"])
def test_what_is_wrong_on_another_input_does_not_win(measurer, tmp_path, objective, monkeypatch):
    program = load(tmp_path, TWO_PATHS, RunOptions(checks=(Input(("1",)),)), arguments=("0",))
    monkeypatch.setattr(measurer, "check", lambda prepared, build: "on the check input '1' it differs")
    result = tune(program, measurer, lambda _: RandomSearch(1), PassTuneConfig(10, objective, final_repeats=3))
    assert result.best == BASELINE and result.gain == 1
    assert all(
        trial.status is Status.WRONG_OUTPUT for trial in result.trials if "check input" in trial.error
    ) and not any(trial.cost < 1 for trial in result.trials)


def test_options_that_are_refused(tmp_path):
    for options, reason in (
        ({"expect_exit": 300}, "`0 <= expect_exit <= 255` must hold"),
        ({"ignore": ("(",)}, "must be a regular expression"),
        ({"cwd": tmp_path / "none"}, "there is no folder"),
        ({"files": (("../up", tmp_path / "x"),)}, "inside its folder"),
    ):
        with pytest.raises(OptionError, match=reason):
            RunOptions(**options)


def test_the_pattern_names_the_word_before_what_differs():
    one, other = (Outcome("", False, {"what it prints": text}) for text in (b"a > Time: 0.1 s\n", b"a > Time: 0.2 s\n"))
    told = describe_difference(one, other)
    assert told.endswith(r"--ignore 'Time:\s+\S+'")
    one, other = (Outcome("", False, {"what it prints": text}) for text in (b"ticks : 5\n", b"ticks : 6\n"))
    assert describe_difference(one, other).endswith(r"--ignore '^ticks\s+:\s+\S+$'")
