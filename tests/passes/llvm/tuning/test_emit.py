"""What is given out of a winner is what was measured: the object, the module, the script, the line of flags."""

from __future__ import annotations

import shlex
import subprocess

import pytest

from foretune.errors import OptionError
from foretune.passes.llvm.actions import BASELINE, Flag, Pass, PassSequence
from foretune.passes.llvm.program import BuildOptions, load
from foretune.passes.llvm.tuning.emit import emit, loaded_sections
from foretune.passes.llvm.tuning.macros import MACROS
from tests.passes import sources
from tests.passes.llvm.test_build_command import HEADER, HELPER, MAIN, TWICE

SEQUENCES = [
    BASELINE,
    MACROS["jam-8"].sequence,
    PassSequence((Pass("gvn"), *BASELINE.passes), (Flag("force-vector-width", 4), Flag("unroll-count", 2))),
    PassSequence(
        BASELINE.passes,
        (
            Flag("mattr", "-prefer-256-bit"),
            Flag("disable-lsr", True),
            Flag("align-loops", 64),
            Flag("unroll-threshold", 600),
        ),
    ),
]


@pytest.fixture
def program(toolchain, tmp_path):
    (tmp_path / "sum.c").write_text(sources.SUM)
    return load([str(tmp_path / "sum.c")], tmp_path / "built")[0]


def measured(measurer, program, sequence):
    reply, out = measurer.compiler.run_passes(program, sequence, False, ".o")
    assert reply.status == "ok"
    return out.read_bytes()


@pytest.mark.parametrize("sequence", SEQUENCES, ids=str)
def test_the_script_rebuilds_the_winner_byte_for_byte(measurer, program, tmp_path, sequence):
    written = emit("script", program, sequence, measurer, tmp_path)
    subprocess.run(["sh", written.path, "made"], check=True, cwd=tmp_path)
    assert (tmp_path / "made.o").read_bytes() == measured(measurer, program, sequence)
    assert subprocess.run([tmp_path / "made"], capture_output=True).stdout


def test_polly_is_rebuilt_too(measurer, program, tmp_path):
    if not measurer.has_polly:
        pytest.skip("this opt has no Polly")
    assert emit("script", program, MACROS["polly-O3"].sequence, measurer, tmp_path).path


def test_objects_and_modules(measurer, program, tmp_path):
    sequence = SEQUENCES[2]
    assert emit("object", program, sequence, measurer, tmp_path).path.read_bytes() == measured(
        measurer, program, sequence
    )
    text = emit("ll", program, sequence, measurer, tmp_path / "deeper").path.read_text()
    assert "define" in text and "@main" in text


def test_flags_are_given_out_where_they_suffice(measurer, program, tmp_path):
    line = emit("flags", program, SEQUENCES[3], measurer, tmp_path)
    assert line.path and "-mllvm -unroll-threshold=600" in line.text and "-O3" in line.text and not line.note
    words = shlex.split(line.text)
    subprocess.run([*words[: words.index("-o")], "-c", "-o", tmp_path / "clang.o"], check=True)
    assert loaded_sections((tmp_path / "clang.o").read_bytes()) == loaded_sections(
        measured(measurer, program, SEQUENCES[3])
    )
    for sequence in SEQUENCES[1:3]:
        refused = emit("flags", program, sequence, measurer, tmp_path)
        assert refused.path is None and "use --emit script" in refused.note


def test_a_program_of_several_sources(measurer, toolchain, tmp_path):
    for name, text in (("main.c", MAIN), ("twice.c", TWICE), ("helper.c", HELPER), ("twice.h", HEADER)):
        (tmp_path / name).write_text(text)
    [program] = load(
        ["cc", "-DTIMES=3", "main.c", "twice.c", "helper.c", "-o", "tool"],
        tmp_path / "built",
        BuildOptions(),
        directory=tmp_path,
    )
    written = emit("script", program, SEQUENCES[1], measurer, tmp_path)
    subprocess.run(["sh", written.path, tmp_path / "made"], check=True, cwd=tmp_path / "built")
    assert (tmp_path / "made.o").read_bytes() == measured(measurer, program, SEQUENCES[1])
    assert subprocess.run([tmp_path / "made"], capture_output=True, text=True).stdout == "6\n"
    assert "not made of one source" in emit("flags", program, BASELINE, measurer, tmp_path).note


def test_kinds_that_are_refused(measurer, program, tmp_path):
    with pytest.raises(OptionError, match="what to emit must be one of"):
        emit("exe", program, BASELINE, measurer, tmp_path)
