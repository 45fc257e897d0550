"""Programs of several sources: build commands that are read and never run, compilation databases, folders, and which
source belongs where.
"""

from __future__ import annotations

import json

import pytest

from foretune.errors import DataError, OptionError
from foretune.passes.llvm.build_command import is_build_command, read_command, read_commands_file
from foretune.passes.llvm.program import BuildOptions, Selection, load
from tests.passes import sources

MAIN = '#include "twice.h"\n#include <stdio.h>\nint main(void) { printf("%d\\n", twice(TIMES)); return 0; }\n'
TWICE = '#include "twice.h"\nint twice(int x) { return helper(x) + x; }\n'
HELPER = "int helper(int x) { return x; }\n"
HEADER = "int twice(int x);\nint helper(int x);\n"


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    (folder / "include").mkdir(parents=True)
    for name, text in (("main.c", MAIN), ("twice.c", TWICE), ("helper.c", HELPER), ("include/twice.h", HEADER)):
        (folder / name).write_text(text)
    return folder


def test_what_a_command_says(project):
    command = read_command(
        [
            "cc",
            "-O2",
            "-g",
            "-Wall",
            "-std=c11",
            "-Iinclude",
            "-D",
            "TIMES=3",
            "-MF",
            "x.d",
            "-o",
            "lib/tool",
            "main.c",
            "twice.c",
            "-lm",
            "-Wl,--as-needed",
            "-pthread",
        ],
        project,
    )
    assert [unit.path.name for unit in command.units] == ["main.c", "twice.c"] and command.name == "tool"
    assert (
        command.units[0].flags == ("-std=c11", f"-I{project / 'include'}", "-D", "TIMES=3", "-pthread")
        and command.units[0].directory == project
    )
    assert command.ldflags == ["-lm", "-Wl,--as-needed", "-pthread"]


@pytest.mark.parametrize("word", ["cc", "gcc-13", "/usr/bin/clang++-22", "x86_64-linux-gnu-gcc", "c++"])
def test_compilers(word):
    assert is_build_command([word, "a.c"])


@pytest.mark.parametrize("words", [["cc"], ["main.c", "twice.c"], ["sh", "-c", "cc a.c"], ["make"], ["cc.c", "a.c"]])
def test_what_is_no_build_command(words):
    assert not is_build_command(words)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("cc none.c", "there is no file"),
        ("cc main.c -mllvm -unroll-count=4", "may not have '-mllvm'"),
        ("cc @more main.c", "may not have '@more'"),
        ("cc main.c ; reboot", "names sources"),
        ("cc main.c -o", "-o of a build command needs a value"),
    ],
)
def test_commands_that_are_refused(project, words, reason):
    with pytest.raises(OptionError, match=reason):
        read_command(words.split(), project)


def test_a_command_becomes_one_module(toolchain, project, measurer):
    words = ["cc", "-O2", "-Iinclude", "-DTIMES=21", "main.c", "twice.c", "helper.c", "-o", "tool"]
    [program] = load(words, project.parent / "built", directory=project)
    assert (
        program.name == "tool"
        and not program.objects
        and set(measurer.compiler.signatures(program.module)) == {"main", "twice", "helper"}
    )
    assert measurer.prepare(program).expected[0] == 0
    [separate] = load(words, project.parent / "separate", selection=Selection(keep_separate=True), directory=project)
    assert len(separate.objects) == 2 and measurer.prepare(separate).expected == measurer.prepare(program).expected


def test_several_files_and_folders_get_what_they_need(toolchain, project, measurer):
    options = BuildOptions(defines=("TIMES=4",), includes=(project / "include",))
    [program] = load(
        [str(project / name) for name in ("main.c", "twice.c", "helper.c")], project.parent / "built", options
    )
    assert program.name == "main" and measurer.prepare(program).expected[0] == 0
    (project / "other").mkdir()
    (project / "other" / "helper.c").write_text(
        HELPER.replace("return x", "return 10 * x")
    )  # nearer to another program
    (project / "other" / "second.c").write_text(MAIN.replace("int main", "int unused; int main"))
    first, second = load([str(project)], project.parent / "built", options)
    assert (first.name, second.name) == ("main", "second")
    assert measurer.prepare(first).expected != measurer.prepare(second).expected
    [chosen] = load([str(project)], project.parent / "built", options, Selection(main=project / "other" / "second.c"))
    assert chosen.name == "second"


def test_one_bad_source_of_a_folder_is_told_and_loses_no_other(toolchain, project):
    (project / "bad.c").write_text("int main( {")
    failed = {}
    programs = load([str(project)], project.parent / "built", BuildOptions(defines=("TIMES=1",)), failed=failed)
    assert [program.name for program in programs] == ["main"] and "cannot be compiled" in failed["bad"]
    with pytest.raises(DataError, match="cannot be compiled"):
        load([str(project)], project.parent / "built", BuildOptions(defines=("TIMES=1",)))


def test_compilation_databases(toolchain, project, measurer):
    entries = [
        {"directory": str(project), "command": f"cc -Iinclude -DTIMES=5 -c {name} -o {name}.o", "file": name}
        for name in ("main.c", "twice.c")
    ]
    entries.append({"directory": str(project), "arguments": ["cc", "-c", "helper.c"], "file": "helper.c"})
    (project / "compile_commands.json").write_text(json.dumps(entries))
    [program] = load([str(project / "compile_commands.json")], project.parent / "built")
    assert program.name == "main" and measurer.prepare(program).expected[0] == 0
    for text in (
        "{",
        "[1]",
        '[{"directory": "."}]',
        '[{"directory": ".", "arguments": "cc a.c"}]',
        '[{"directory": ".", "arguments": [1]}]',
    ):
        (project / "compile_commands.json").write_text(text)
        with pytest.raises(DataError, match="is no compilation database"):
            read_commands_file(project / "compile_commands.json")


def test_words_for_the_compiler_and_the_linker(toolchain, tmp_path, measurer):
    (tmp_path / "old.c").write_text(
        'main() { return printf("%d\\n", old(2)) < 0; }\nold(x) int x; { return x + ADDED; }\n'
    )  # C from before 1999
    options = BuildOptions(cflags=("-std=gnu89", "-DADDED=1"), ldflags=("-Wl,--gc-sections",))
    [program] = load([str(tmp_path / "old.c")], tmp_path / "built", options)
    assert measurer.prepare(program).expected[0] == 0
    [other] = load([str(tmp_path / "old.c")], tmp_path / "built", BuildOptions(cflags=options.cflags))
    assert other.hash != program.hash


def test_modules_without_main(toolchain, tmp_path, measurer):
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "one.c").write_text(sources.UTILITY.replace('#include "utility.h"\n', ""))
    (folder / "two.c").write_text("float half(float x) { return x / 2; }\n")
    with pytest.raises(OptionError, match="has a main function: name one with --call, or look at it with --objective"):
        load([str(folder)], tmp_path / "built")
    programs = load([str(folder)], tmp_path / "built", selection=Selection(without_main=True))
    assert [program.name for program in programs] == ["one", "two"]
    prepared = measurer.prepare(programs[0], run=False)
    assert not prepared.runs and prepared.baseline.text_bytes > 0
    with pytest.raises(DataError, match="undefined reference to `main'; a file without a main is tuned by --call"):
        measurer.prepare(programs[0])


def test_old_cpp_is_compiled(toolchain, tmp_path):
    (tmp_path / "old.cpp").write_text(
        "int f(int x) throw(int) { register int y = x; unsigned char c[] = {300}; return y + c[0]; }\n"
        "int main() { return f(1) - 45; }\n"
    )
    assert load(["old.cpp"], tmp_path / "built", directory=tmp_path)[0].module.exists()


def test_globals_that_are_defined_twice_are_explained(toolchain, tmp_path):
    (tmp_path / "a.c").write_text("int shared;\nint other(void);\nint main(void) { return shared + other(); }\n")
    (tmp_path / "b.c").write_text("int shared;\nint other(void) { return shared; }\n")
    with pytest.raises(DataError, match=r"multiply defined.*old C may need --cflag=-fcommon"):
        load(["a.c", "b.c"], tmp_path / "built", directory=tmp_path)
    options = BuildOptions(cflags=("-fcommon",))
    assert load(["a.c", "b.c"], tmp_path / "common", options, directory=tmp_path)[0].module.exists()
