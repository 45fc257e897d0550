"""Baselines beside a winner."""

from __future__ import annotations

import json

import pytest

from foretune.errors import OptionError
from foretune.passes.llvm.program import BuildOptions, load_programs
from foretune.passes.llvm.tuning.beside import RELAXED, check_kinds, measure
from tests.passes import sources
from tests.passes.llvm.test_command_line import run

SUM = sources.SUM.replace("i < 200;", "i < 5000;")  # long enough to be timed


def test_polly_and_relaxed_numbers(toolchain, measurer, tmp_path):
    (tmp_path / "sum.c").write_text(SUM)
    [program] = load_programs(tmp_path / "sum.c", tmp_path / "built")
    [relaxed] = load_programs(tmp_path / "sum.c", tmp_path / "relaxed", BuildOptions(cflags=RELAXED))
    prepared = measurer.prepare(program)
    found = measure("ofast", prepared, measurer, relaxed, 3)
    assert found.gain > 1.5 and found.interval and "relaxed" in found.name  # a sum in vectors
    assert found.note in ("", "its output differs")
    same = measure("ofast", prepared, measurer, program, 3)
    assert not same.interval and "no source" in same.note
    polly = measure("polly", prepared, measurer, None, 3)
    assert polly.interval if measurer.has_polly else "no Polly" in polly.note
    with pytest.raises(OptionError, match="must be one of"):
        check_kinds(["pgo"])


def test_the_command_line_tells_them(toolchain, tmp_path):
    (tmp_path / "sum.c").write_text(SUM)
    words = ("tune", "sum.c", "--budget", 1, "--search", "random", "--no-skills", "--beside", "ofast")
    done = run(*words, "--json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    [told] = json.loads(done.stdout)["results"][0]["beside"]
    assert told["kind"] == "ofast" and told["gain"] > 1.5
    done = run(*words, "--objective", "size", folder=tmp_path)
    assert done.returncode == 2 and "--beside is of times" in done.stderr
