"""`foretune passes` as a user calls it: any program, results that one can use, and results of earlier versions."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from foretune.cli.passes_programs import ProgramArguments, program_arguments, stored_results
from foretune.errors import DataError, OptionError
from foretune.passes.llvm.program import load_programs
from tests.passes import sources
from tests.passes.llvm.test_build_command import HEADER, HELPER, MAIN, TWICE
from tests.passes.llvm.test_measure import DUMPS
from tests.passes.llvm.test_outcome import READS_FIXED_NAME, TELLS_TIME, TWO_PATHS


def run(*words, folder):
    return subprocess.run(
        [sys.executable, "-m", "foretune", "passes", *map(str, words)], capture_output=True, text=True, cwd=folder
    )


def test_a_build_command_is_tuned_given_out_and_replayed(toolchain, tmp_path):
    for name, text in (("main.c", MAIN), ("twice.c", TWICE), ("helper.c", HELPER), ("twice.h", HEADER)):
        (tmp_path / name).write_text(text)
    words = (
        "--budget",
        2,
        "--search",
        "random",
        "--emit",
        "script",
        "--emit",
        "object",
        "--emit-folder",
        "tuned",
        "--out",
        "result.json",
        "--json",
    )
    done = run(
        "tune",
        *words,
        "--",
        "cc",
        "-O2",
        "-DTIMES=3",
        "main.c",
        "twice.c",
        "helper.c",
        "-lm",
        "-o",
        "tool",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    [result] = json.loads(done.stdout)["results"]
    assert result["program"] == "tool" and result["emitted"]["script"]["path"] == str(
        tmp_path / "tuned" / "tool.tuned.sh"
    )
    subprocess.run(["sh", "tuned/tool.tuned.sh"], check=True, cwd=tmp_path)
    assert (tmp_path / "tool.o").read_bytes() == (tmp_path / "tuned" / "tool.tuned.o").read_bytes()
    (tmp_path / "elsewhere").mkdir()
    done = run("replay", tmp_path / "result.json", "--repeats", 3, "--json", folder=tmp_path / "elsewhere")
    assert done.returncode == 0 and json.loads(done.stdout)["results"][0]["status"] == "ok", done.stderr
    done = run("emit", tmp_path / "result.json", "--emit", "ll", folder=tmp_path / "elsewhere")
    assert done.returncode == 0 and (tmp_path / "elsewhere" / "tool.tuned.ll").exists(), done.stderr


def test_a_program_with_all_it_needs(toolchain, tmp_path):
    (tmp_path / "reads.c").write_text(
        READS_FIXED_NAME.replace('printf("%d', 'printf("at %p\\n%d').replace("n * 2", "(void *)&n, n * 2")
    )
    (tmp_path / "numbers").write_text("21")
    words = ("tune", "reads.c", "--budget", 1, "--search", "random", "--no-skills", "--json")
    done = run(*words, folder=tmp_path)
    assert (
        done.returncode == 1
        and "ends with exit code 4, but 0 is expected" in done.stderr
        and "Traceback" not in done.stderr
    )
    done = run(
        *words,
        "--file",
        "data/numbers.txt=numbers",
        "--ignore",
        "^at 0x",
        "--check-arg",
        "1 2",
        "--check-arg",
        "3",
        "--cflag=-fno-pie",
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"][0]["build"]["checks"] == [[["1", "2"], None], [["3"], None]]


def test_a_program_that_prints_only_when_it_is_checked(toolchain, tmp_path):
    (tmp_path / "dumps.c").write_text(DUMPS)
    words = ("dumps.c", "--budget", 2, "--search", "random", "--check-define", "DUMP", "--out", "result.json", "--json")
    done = run("tune", *words, folder=tmp_path)
    assert done.returncode == 0 and "prints nothing" not in done.stderr, done.stderr
    assert json.loads(done.stdout)["results"][0]["build"]["check_define"] == ["DUMP"]
    done = run("replay", "result.json", "--repeats", 3, "--json", folder=tmp_path)
    assert done.returncode == 0 and json.loads(done.stdout)["results"][0]["status"] == "ok", done.stderr


def test_nothing_that_could_be_tuned_is_a_failure(toolchain, tmp_path):
    for name, text in (("one.c", TELLS_TIME), ("two.c", sources.CRASHES)):
        (tmp_path / name).write_text(text)
    done = run("tune", tmp_path, "--budget", 1, "--json", folder=tmp_path)
    assert (
        done.returncode == 1
        and "nothing could be tuned" in done.stderr
        and set(json.loads(done.stdout)["failed"]) == {"one", "two"}
    )
    (tmp_path / "three.c").write_text(TWO_PATHS)
    done = run("tune", tmp_path, "--budget", 1, "--search", "random", "--no-skills", folder=tmp_path)
    assert done.returncode == 0 and "left out" in done.stdout, done.stderr


@pytest.mark.parametrize("objective", ["instructions", "cycles"])
def test_modules_without_main_are_looked_at(toolchain, tmp_path, objective):
    (tmp_path / "a.c").write_text(
        "float sum(const float *x, int n) { float s = 0; for (int i = 0; i < n; i++) s += x[i]; return s; }\n"
    )
    (tmp_path / "b.c").write_text(
        "int elsewhere(int);\nint ask(int x) { return elsewhere(x) * 2 + elsewhere(x + 1); }\n"
    )
    done = run(
        "tune", tmp_path, "--objective", objective, "--budget", 3, "--search", "random", "--json", folder=tmp_path
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (
        [row["program"] for row in document["results"]] == ["a", "b"]
        and not document["failed"]
        and all(row["gain"] >= 1 for row in document["results"])
    )


def test_the_list(tmp_path):
    done = run("list", "attributor", "--json", folder=tmp_path)
    assert done.returncode == 0 and all(
        row["tier"] == "left the grammar" and "wrong code" in row["reason"] for row in json.loads(done.stdout)["steps"]
    )
    done = run("list", "jam", folder=tmp_path)
    assert done.returncode == 0 and "O1-jam-8" in done.stdout and "-unroll-and-jam-threshold" in done.stdout


def test_wrong_use(tmp_path):
    (tmp_path / "a.c").write_text("int main(void) { return 0; }\n")
    for words, reason in (
        (["tune", "a.c", "--emit", "exe"], "what to emit must be one of"),
        (["tune", "a.c", "--ignore", "("], "must be a regular expression"),
        (["tune", "a.c", "--file", "none"], "there is no file none for --file"),
        (["tune", "a.c", "--llm", "http://models.example/v1", "--llm-key-env", "PATH"], "a key is sent to https"),
        (["tune", "a.c", "b.c"], "there is no file or folder"),
        (["tune", "a.c", "--check-arg", "'"], "must be words as in a shell"),
    ):
        done = run(*words, folder=tmp_path)
        assert done.returncode == 2 and reason in done.stderr and "Traceback" not in done.stderr, done.stderr


def old_result(folder, **parts):
    """A result as it was written before programs had options of their runs."""
    (folder / "sum.c").write_text(sources.ENDS_WITH_3)
    [program] = load_programs(folder / "sum.c", folder / "built")
    build = {"define": [], "include": [], "arg": [], "stdin": None, "lib": [], "call": "", "num_calls": None}
    row = {
        "source": str(folder / "sum.c"),
        "program": "sum",
        "hash": program.hash,
        "gain": 1.1,
        "build": build,
        "timeouts": [20.0, 10.0],
        "flags": ["-unroll-count=4"],
    }
    path = folder / "result.json"
    path.write_text(
        json.dumps(
            {
                "results": [
                    {**row, "passes": ["gvn", "default<O3>"], "steps": ["gvn", "newgvn", "-unroll-count=4"], **parts}
                ]
            }
        )
    )
    return path


def test_old_results_still_load(toolchain, tmp_path):
    [(row, program, sequence, settings)] = stored_results(old_result(tmp_path))
    assert (
        row["steps"] == ("gvn", "-unroll-count=4")
        and str(sequence) == "-passes='function(gvn),default<O3>' -unroll-count=4"
    )
    assert program.options.run.expect_exit is None and settings.run_timeout_secs == 10.0


@pytest.mark.parametrize(
    "parts",
    [
        {"passes": ["attributor-cgscc", "default<O3>"]},
        {"passes": ["newgvn", "default<O3>"]},
        {"flags": ["-enable-dfa-jump-thread=true"]},
    ],
)
def test_results_with_steps_that_have_left_are_skipped_by_name(toolchain, tmp_path, caplog, parts):
    assert list(stored_results(old_result(tmp_path, **parts))) == []
    assert "the result of sum is left out" in caplog.text and "has left the grammar (wrong code" in caplog.text
    with pytest.raises(DataError, match="there is no pass 'evil'"):
        list(stored_results(old_result(tmp_path, passes=["evil"])))


def test_options_of_a_program_keep_their_files_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input").write_text("1")
    arguments = program_arguments(
        ["a.c"], arg=["input", "7"], file=["input", "b/c=input"], check_stdin=[tmp_path / "input"], expect_exit=2
    )
    assert arguments.arg == [str(tmp_path / "input"), "7"] and arguments.file == [
        ["input", str(tmp_path / "input")],
        ["b/c", str(tmp_path / "input")],
    ]
    assert (
        arguments.checks == [[arguments.arg, str(tmp_path / "input")]]
        and arguments.expect_exit == 2
        and arguments.directory == str(tmp_path)
    )
    assert ProgramArguments(**json.loads(json.dumps(vars(arguments)))) == arguments
    with pytest.raises(OptionError, match="there is no file"):
        program_arguments(["a.c"], stdin=tmp_path / "none")
