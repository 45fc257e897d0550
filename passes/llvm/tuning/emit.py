"""A tuned program as something that one can use: an object, a module, a script of exact commands, or a line of flags
for clang.

The script and the line are tried before they are given out: the script must make the same object byte for byte, the
line the same machine code.
"""

from __future__ import annotations

import os
import shlex
import struct
import subprocess
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from pathlib import Path

from foretune.errors import DataError
from foretune.passes.llvm.actions import BASELINE, Flag, PassSequence
from foretune.passes.llvm.measure import PassMeasurer
from foretune.passes.llvm.program import Program
from foretune.passes.llvm.sources import Command
from foretune.passes.llvm.toolchain import Toolchain, find_toolchain
from foretune.support.files import write_atomically
from foretune.support.scratch import step_folder
from foretune.support.tools import run_tool
from foretune.support.words import each_once

KINDS = {"object": ".o", "ll": ".ll", "script": ".sh", "flags": ".flags"}
"""What can be given out, and how the file's name ends."""

_TIMEOUT_SECS = 120
_OF_TOOLS = ("align-loops",)  # which `opt` and `llc` take in place of the library, where it does nothing
_LOADED, _NO_BITS = 0x2, 8  # flag and type of an ELF section


@dataclass(frozen=True)
class Emitted:
    """What was given out.

    Attributes:
        kind: of `KINDS`.
        path: the file; None if there is none.
        note: why there is none, or what to know of it.
        text: of a line of flags.
    """

    kind: str
    path: Path | None
    note: str = ""
    text: str = ""


def check_kinds(kinds: Many[str]) -> tuple[str, ...]:
    """The kinds, each once.

    Raises:
        OptionError: there is no such kind.
    """
    return each_once(kinds, KINDS, "what to emit")


def emit(kind: str, program: Program, sequence: PassSequence, measurer: PassMeasurer, folder: Path) -> Emitted:
    """Writes a tuned program.

    Args:
        kind: of `KINDS`.
        program: which.
        sequence: its passes and flags.
        measurer: compiles.
        folder: for the file, which is named after the program.

    Raises:
        DataError: it cannot be compiled, or its own script does not make it.
        UnsupportedError: a tool is missing.
    """
    check_kinds([kind])
    path = folder.resolve() / f"{program.name}.tuned{KINDS[kind]}"
    if kind == "object":
        made = _made(program, sequence, measurer, ".o")
        write_atomically(path, lambda temporary: temporary.write_bytes(made))
    elif kind == "ll":
        made = _as_text(_made(program, sequence, measurer, ".bc"))
        write_atomically(path, lambda temporary: temporary.write_bytes(made))
    elif kind == "script":
        program = _with_hints(program, sequence, measurer, path)
        _check_script(program, sequence, measurer)
        text = script(program, sequence, find_toolchain())
        write_atomically(path, lambda temporary: temporary.write_text(text))
        os.chmod(path, 0o755)
    else:
        return _emit_flags(program, sequence, measurer, path)
    return Emitted(kind, path)


def _made(program: Program, sequence: PassSequence, measurer: PassMeasurer, suffix: str) -> bytes:
    measurer.compiler.allow(program, max(_TIMEOUT_SECS, measurer.compiler.limit_of(program)))
    reply, out = measurer.compiler.run_passes(program, sequence, False, suffix)
    try:
        if reply.status != "ok":
            raise DataError(f"{program.name} cannot be compiled: {reply.error}")
        return out.read_bytes()
    finally:
        out.unlink(missing_ok=True)


def _as_text(bitcode: bytes) -> bytes:
    done = subprocess.run(
        [str(find_toolchain().tool("opt")), "-S", "-", "-o", "-"],
        input=bitcode,
        capture_output=True,
        timeout=_TIMEOUT_SECS,
    )
    if done.returncode:
        raise DataError(f"the module cannot be written as text: {done.stderr.decode(errors='replace')[-400:]}")
    return done.stdout


def _with_hints(program: Program, sequence: PassSequence, measurer: PassMeasurer, path: Path) -> Program:
    """The program that a script begins with: no tool writes hints, so that their module lies beside the script."""
    hints = sequence.hints_for(program.is_relaxed)
    if not hints:
        return program
    made = _made(program, PassSequence(hints), measurer, ".bc")
    module = path.with_suffix(".bc")
    write_atomically(module, lambda temporary: temporary.write_bytes(made))
    objects = {str(made) for made in program.objects}
    commands = tuple(c for c in program.commands if c.words[c.words.index("-o") + 1] in objects)
    return replace(program, module=module, commands=commands)


# -- the script --------------------------------------------------------------------------------------


def script(program: Program, sequence: PassSequence, toolchain: Toolchain) -> str:
    """A script of the exact commands: its first argument is the program's file, beside which its object goes."""
    commands = [*program.commands, *_tune_commands(program, sequence, toolchain, Path("tuned.bc"), Path("tuned.o"))]
    made = {command.words[command.words.index("-o") + 1] for command in commands}
    lines = [_line(command, made) for command in commands]
    link = [*map(str, program.objects), *program.options.ldflags, *(f"-l{name}" for name in program.options.libraries)]
    words = [_word(word, made) for word in link]
    return "\n".join(
        [
            "#!/bin/sh",
            f"# Rebuilds {shlex.quote(program.name)} as it was tuned: opt {sequence}".replace("\n", " "),
            "# usage: sh SCRIPT [FILE]; the object becomes FILE.o",
            "set -eu",
            f"out=${{1:-{shlex.quote(program.name)}}}",
            "work=$(mktemp -d)",
            "trap 'rm -rf \"$work\"' EXIT",
            *lines,
            'cp "$work"/tuned.o "$out".o',
            " ".join(["cc", '"$out".o', '-o "$out"', *words]),
            "",
        ]
    )


def _tune_commands(
    program: Program, sequence: PassSequence, toolchain: Toolchain, module: Path, made: Path
) -> list[Command]:
    """The passes, and the code generator."""
    flags = [flag for flag in sequence.flags if flag.name not in (*_OF_TOOLS, "mattr")]
    features = [str(flag.value) for flag in sequence.flags if flag.name == "mattr"]
    features = [f"-mattr={','.join(features)}"] if features else []
    in_library = [flag for flag in flags if not flag.kind.polly]
    opt = [
        str(toolchain.tool("opt")),
        "-relocation-model=pic",
        f"-passes={sequence.pipeline}",
        *PassSequence(sequence.hints, tuple(flags)).flag_texts,
        *features,
        str(program.module),
        "-o",
        str(module),
    ]
    llc = [
        str(toolchain.tool("llc")),
        "-O3",
        "-filetype=obj",
        "-relocation-model=pic",
        *PassSequence((), tuple(in_library)).flag_texts,
        str(module),
        "-o",
        str(made),
    ]
    return [Command(tuple(opt)), Command(tuple(llc))]


def _line(command: Command, made: set[str]) -> str:
    text = " ".join(_word(word, made) for word in command.words)
    return f"(cd {shlex.quote(str(command.directory))} && {text})" if command.directory is not None else text


def _word(word: str, made: set[str]) -> str:
    """A word for the shell; files that are made on the way are in a folder of the script's own."""
    return f'"$work"/{shlex.quote(Path(word).name)}' if word in made else shlex.quote(word)


def _check_script(program: Program, sequence: PassSequence, measurer: PassMeasurer) -> None:
    with step_folder() as folder:
        made = folder / "tuned.o"
        for command in _tune_commands(program, sequence, find_toolchain(), folder / "tuned.bc", made):
            _run(command)
        if made.read_bytes() != _made(program, sequence, measurer, ".o"):
            raise DataError(f"opt and llc make another object of {program.name} than was measured; use --emit object")


def _run(command: Command) -> None:
    done = run_tool(command.words, _TIMEOUT_SECS, directory=command.directory)
    if done.returncode:
        raise DataError(
            f"{Path(command.words[0]).name} failed: {(done.stderr.strip().splitlines() or ['without a word'])[0][:400]}"
        )


# -- the line of flags -------------------------------------------------------------------------------


def _emit_flags(program: Program, sequence: PassSequence, measurer: PassMeasurer, path: Path) -> Emitted:
    words, reason = clang_words(program, sequence)
    if not reason:
        with step_folder() as folder:
            made = folder / "tuned.o"
            try:
                _run(Command((*words, "-c", "-o", str(made)), program.commands[0].directory))
                if loaded_sections(made.read_bytes()) != loaded_sections(_made(program, sequence, measurer, ".o")):
                    reason = "clang makes other machine code with them"
            except DataError as error:
                reason = str(error)
    if reason:
        return Emitted("flags", None, f"flags alone do not give this program ({reason}); use --emit script")
    libraries = [f"-l{name}" for name in program.options.libraries]
    text = shlex.join([*words, *map(str, program.objects), "-o", program.name, *program.options.ldflags, *libraries])
    write_atomically(path, lambda temporary: temporary.write_text(text + "\n"))
    return Emitted("flags", path, "", text)


def clang_words(program: Program, sequence: PassSequence) -> tuple[list[str], str]:
    """(a call of clang that gives the same program, without its output; or why there is none)."""
    if sequence.passes != BASELINE.passes:
        return [], "it has passes beside those of -O3"
    if sequence.uses_polly:
        return [], "Polly runs in opt"
    if program.is_relaxed:
        return [], "its numbers are relaxed by a hint"
    if len(program.commands) != 1:
        return [], "it is not made of one source"
    words = [*program.commands[0].words]
    for first, number in (("-disable-llvm-passes", 2), ("-emit-llvm", 1), ("-o", 2), ("-c", 1), ("-g0", 1)):
        at = words.index(first) - (first == "-disable-llvm-passes")  # with the -Xclang before it
        del words[at : at + number]
    return [*words, *(word for flag in sequence.flags for word in _clang_flag(flag))], ""


def _clang_flag(flag: Flag) -> list[str]:
    if flag.name in _OF_TOOLS:
        return []
    if flag.name == "mattr":
        return ["-Xclang", "-target-feature", "-Xclang", str(flag.value)]
    return [word for text in (str(flag), *flag.kind.needs) for word in ("-mllvm", text)]


def loaded_sections(machine_code: bytes) -> dict[str, bytes]:
    """Sections of an ELF object of 64 bits that are loaded: code and constants, without what only tells of the
    compiler.
    """
    start, size, number = (
        struct.unpack_from("<Q", machine_code, 0x28)[0],
        *struct.unpack_from("<HH", machine_code, 0x3A),
    )
    rows = [struct.unpack_from("<IIQQQQ", machine_code, start + i * size) for i in range(number)]
    names = rows[struct.unpack_from("<H", machine_code, 0x3E)[0]][4]
    return {
        machine_code[names + name : machine_code.index(b"\0", names + name)].decode(): machine_code[at : at + length]
        for name, kind, flags, _, at, length in rows
        if flags & _LOADED and kind != _NO_BITS
    }
