"""Sources and what each becomes: a module that no pass has run over, or an object file; and which other sources a
program needs.

A program is linked as a linker would: the source with `main`, then those that define what is still missing, the
nearest first. What several programs of a folder share, and what belongs to one of them alone, is found out in that
way and not told.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from foretune.errors import DataError, ForetuneError
from foretune.passes.llvm.toolchain import find_toolchain
from foretune.support.files import write_atomically
from foretune.support.tools import run_tool
from foretune.target import num_usable_cores

C_SUFFIXES, CPP_SUFFIXES, IR_SUFFIXES, ASSEMBLY_SUFFIXES = (
    (".c",),
    (".cpp", ".cc", ".cxx", ".C", ".c++"),
    (".ll", ".bc"),
    (".s", ".S"),
)
SOURCE_SUFFIXES = (*C_SUFFIXES, *CPP_SUFFIXES, *IR_SUFFIXES)
COMPILE_TIMEOUT_SECS = 120
_TOOL_TIMEOUT_SECS = 60
_SHOWN_MODULES = 6  # in messages
_OLD_C = tuple(
    f"-Wno-{name}"
    for name in (
        "implicit-int",
        "implicit-function-declaration",
        "int-conversion",
        "incompatible-pointer-types",
        "return-mismatch",
    )
)
"""What C from before 1999 does and clang 22 refuses unless it is told to go on."""
_OLD_CPP = tuple(f"-Wno-{name}" for name in ("c++11-narrowing", "dynamic-exception-spec", "register"))
"""What C++ from before 2011 and 2017 does, likewise."""

_TYPE = r"%\"[^\"\n]+\"|%[\w.$-]+|i\d+|\{[^{}\n]*\}|\[[^\[\]\n]*\]"
_UNTYPED = re.compile(rf"({_TYPE})\*((?: [a-z_]+(?:\(\d+\))?)*?) (sret|byval)(?=[ ,)])")
_INRANGE = re.compile(r"\binrange (?=i\d+ )")


@dataclass(frozen=True)
class Unit:
    """One source, and how it is compiled.

    Attributes:
        path: of it.
        flags: of its own, beside those of all.
        directory: that the compiler is called in; None for this process's.
    """

    path: Path
    flags: tuple[str, ...] = ()
    directory: Path | None = None

    @property
    def is_cpp(self) -> bool:
        """Whether it is C++."""
        return self.path.suffix in CPP_SUFFIXES


@dataclass(frozen=True)
class Compiled:
    """A source that was compiled.

    Attributes:
        unit: the source.
        module: file of its module; of assembly, of its object.
        defined, needed: symbols.
    """

    unit: Unit
    module: Path
    defined: frozenset[str] = field(default=frozenset(), repr=False)
    needed: frozenset[str] = field(default=frozenset(), repr=False)


@dataclass(frozen=True)
class Command:
    """One call of a tool that made a part of a program.

    Attributes:
        words: the tool's path and its arguments.
        directory: that it is called in; None for this process's.
    """

    words: tuple[str, ...]
    directory: Path | None = None


def compile_command(unit: Unit, out: Path, flags: Sequence[str], to_module: bool, contract: bool = False) -> Command:
    """How a source is compiled; to a module without running any pass, so that it is what passes begin with.

    Raises:
        UnsupportedError: there is no compiler.
    """
    compiler = find_toolchain().tool("clang++" if unit.is_cpp else "clang")
    words = [
        str(compiler),
        "-O3",
        "-march=native",
        f"-ffp-contract={'fast' if contract else 'off'}",
        "-w",
        "-g0",
        "-c",
        str(unit.path.resolve()),
        "-o",
        str(out.resolve()),
    ]
    words += ["-emit-llvm", "-Xclang", "-disable-llvm-passes"] if to_module else []
    words += _OLD_C if unit.path.suffix in C_SUFFIXES else _OLD_CPP if unit.is_cpp else ()
    return Command((*words, *unit.flags, *flags), unit.directory)


def compile_unit(unit: Unit, out: Path, flags: Sequence[str], to_module: bool, contract: bool = False) -> Path:
    """Compiles a source; see `compile_command`.

    Raises:
        DataError: it cannot be compiled; the compiler's words are in the error.
        UnsupportedError: there is no compiler.
    """
    command = compile_command(unit, out, flags, to_module, contract)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = run_tool(command.words, COMPILE_TIMEOUT_SECS, directory=command.directory)
    except subprocess.TimeoutExpired:
        raise DataError(f"{unit.path} took the compiler more than {COMPILE_TIMEOUT_SECS} s") from None
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[-400:])
        raise DataError(f"{unit.path} cannot be compiled: {first[:400]}")
    return out


def compile_all(
    units: Sequence[tuple[Unit, Path]], flags: Sequence[str], contract: bool = False
) -> tuple[list[Compiled], dict[Path, ForetuneError]]:
    """Compiles sources to modules, side by side.

    Args:
        units: each with the file for its module.
        flags: for all.
        contract: as in `BuildOptions`.

    Returns:
        (those that compile, with their symbols; path -> why one does not).
    """

    def work(row: tuple[Unit, Path]) -> Compiled | ForetuneError:
        unit, out = row
        try:
            if unit.path.suffix in IR_SUFFIXES:
                module = readable(unit.path, out.parent)
            else:
                is_assembly = unit.path.suffix in ASSEMBLY_SUFFIXES
                module = compile_unit(
                    unit, out.with_suffix(".o") if is_assembly else out, flags, not is_assembly, contract
                )
            return Compiled(unit, module, *symbols(module))
        except ForetuneError as error:
            return error

    with ThreadPoolExecutor(num_usable_cores()) as pool:
        results = list(pool.map(work, units))
    failed = {unit.path: result for (unit, _), result in zip(units, results) if isinstance(result, ForetuneError)}
    return [result for result in results if isinstance(result, Compiled)], failed


def symbols(module: Path) -> tuple[frozenset[str], frozenset[str]]:
    """(symbols that a module or an object defines for others, those that it needs).

    Raises:
        DataError: it cannot be read.
        UnsupportedError: llvm-nm is not installed.
    """
    content = (
        _run([str(find_toolchain().tool("opt")), str(module), "-o", "-"], b"", module)
        if module.suffix == ".ll"
        else module.read_bytes()
    )
    said = _run([str(find_toolchain().tool("llvm-nm")), "-P", "-g", "-"], content, module)
    defined, needed = set(), set()
    for line in said.decode(errors="replace").splitlines():
        name, _, rest = line.partition(" ")
        (needed if rest[:1] in ("U", "w", "v") else defined).add(name)
    return frozenset(defined), frozenset(needed)


def _run(command: list[str], given: bytes, module: Path) -> bytes:
    done = subprocess.run(command, input=given, capture_output=True, timeout=_TOOL_TIMEOUT_SECS)
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"{Path(command[0]).name} failed"]
        raise DataError(
            f"{module} cannot be read: {next((line for line in lines if 'error' in line), lines[-1])[:400]}"
        )
    return done.stdout


def needed_by(program: Compiled, others: Iterable[Compiled]) -> list[Compiled]:
    """The sources that a program needs, in the order in which they were found; the nearest one where several define a
    symbol.
    """
    near = sorted(
        (other for other in others if other is not program),
        key=lambda other: (_distance(program.unit.path, other.unit.path), str(other.unit.path)),
    )
    chosen: list[Compiled] = []
    defined, missing = set(program.defined), set(program.needed - program.defined)
    while missing:
        fits = [other for other in near if other not in chosen and other.defined & missing]
        found = next((other for other in fits if not other.defined & defined), fits[0] if fits else None)
        if found is None:
            break
        chosen.append(found)
        defined |= found.defined
        missing = (missing | found.needed) - defined
    return chosen


def _distance(one: Path, other: Path) -> int:
    """Steps from the folder of one file to that of another."""
    here, there = one.resolve().parent.parts, other.resolve().parent.parts
    shared = next((i for i, (a, b) in enumerate(zip(here, there)) if a != b), min(len(here), len(there)))
    return len(here) + len(there) - 2 * shared


def link_command(modules: Sequence[Path], out: Path) -> Command:
    """How several modules become one.

    Raises:
        UnsupportedError: llvm-link is not installed.
    """
    return Command((str(find_toolchain().tool("llvm-link")), *map(str, modules), "-o", str(out.resolve())))


def link_modules(modules: Sequence[Path], out: Path) -> Path:
    """Several modules as one.

    Raises:
        DataError: they do not fit together; the linker's words are in the error.
        UnsupportedError: llvm-link is not installed.
    """
    if len(modules) == 1:
        return modules[0]
    command = link_command(modules, out)
    done = run_tool(command.words, _TOOL_TIMEOUT_SECS)
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[-400:])
        hint = "; old C may need --cflag=-fcommon" if "multiply defined" in first else ""
        more = f" and {len(modules) - _SHOWN_MODULES} more" if len(modules) > _SHOWN_MODULES else ""
        names = ", ".join(path.name for path in modules[:_SHOWN_MODULES]) + more
        raise DataError(f"{names} cannot be linked into one module: {first[:400]}{hint}")
    return out.resolve()


# -- text of older LLVM: what its reader of bitcode upgrades by itself, its parser of text refuses ---


def upgrade(text: str) -> str:
    """The text as LLVM 22 reads it; itself, where nothing is old.

    `sret` and `byval` without their type (until LLVM 11) get the one that the pointer beside them says; `inrange`
    before an index (until LLVM 18), a hint that nothing depends on, goes.
    """
    return _INRANGE.sub("", _UNTYPED.sub(r"\1*\2 \3(\1)", text))


def readable(path: Path, folder: Path) -> Path:
    """A module that LLVM 22 reads: the file itself, or one in a folder if its text is old."""
    if path.suffix != ".ll":
        return path.resolve()
    text = path.read_bytes().decode("latin-1")  # each byte is a character, and stays what it is
    upgraded = upgrade(text)
    if upgraded == text:
        return path.resolve()
    out = folder / f"{path.stem}.upgraded.ll"
    write_atomically(out, lambda temporary: temporary.write_bytes(upgraded.encode("latin-1")))
    return out.resolve()
