"""Programs whose pass sequence is tuned: a module, what it is linked with, and how it is run."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foretune.errors import DataError, OptionError
from foretune.passes.llvm.outcome import RunOptions
from foretune.passes.llvm.toolchain import find_toolchain

C_SUFFIXES, CPP_SUFFIXES, IR_SUFFIXES = (".c",), (".cpp", ".cc", ".cxx"), (".ll", ".bc")
_CPP_LIBRARY = "stdc++"
_COMPILE_TIMEOUT_SECS = 60
_MAX_SOURCE_BYTES = 64 << 20
_MAIN = re.compile(r"^[A-Za-z_][\w \t*]*\bmain[ \t\n]*\(", re.M)


@dataclass(frozen=True)
class BuildOptions:
    """How sources become modules.

    Attributes:
        defines: for the preprocessor, `NAME` or `NAME=VALUE`.
        includes: folders of headers.
        libraries: to link with, such as `m`.
        arguments: of the program's command line.
        stdin: a file for its standard input.
        contract: whether products and sums may become one operation; it changes the last bits, so that outputs cannot be compared exactly.
        cflags, ldflags: further words for the compiler, and for the linker.
        run: where it runs and what is compared.
    """

    defines: tuple[str, ...] = ()
    includes: tuple[Path, ...] = ()
    libraries: tuple[str, ...] = ("m",)
    arguments: tuple[str, ...] = ()
    stdin: Path | None = None
    contract: bool = False
    cflags: tuple[str, ...] = ()
    ldflags: tuple[str, ...] = ()
    run: RunOptions = RunOptions()


@dataclass(frozen=True)
class Program:
    """A program to be tuned.

    Attributes:
        name: for people.
        module: file of its LLVM module, not optimised.
        objects: files that it is linked with as they are.
        options: how it is linked and run.
        hash: of the module and all that changes what it does; 16 hexadecimal digits.
    """

    name: str
    module: Path
    objects: tuple[Path, ...] = ()
    options: BuildOptions = BuildOptions()
    hash: str = field(default="")

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.module.read_bytes())
        for path in (*self.objects, *([self.options.stdin] if self.options.stdin else [])):
            digest.update(Path(path).read_bytes())
        digest.update(repr((self.options.libraries, self.options.arguments)).encode())
        if self.options.ldflags:
            digest.update(repr(self.options.ldflags).encode())
        self.options.run.update_hash(digest)
        object.__setattr__(self, "hash", digest.hexdigest()[:16])


def load_programs(source: Path, folder: Path, options: BuildOptions = BuildOptions()) -> list[Program]:
    """Reads a program, or all programs of a folder.

    In a folder, each source with a `main` is a program by itself, in any subfolder; sources without one are utilities that all programs
    are linked with. Folders that hold headers are searched for them, the program's own first.

    Args:
        source: a `.c`, `.cpp`, `.ll` or `.bc` file, or a folder of them.
        folder: where compiled files go.

    Raises:
        OptionError: there is no such file, or no program in the folder.
        DataError: a source cannot be compiled; the compiler's words are in the error.
        UnsupportedError: a compiler is needed, and not installed.
    """
    if source.is_file():
        return [_load(source, folder, options, ())]
    if not source.is_dir():
        raise OptionError(f"there is no file or folder {source}")
    paths = sorted(p for suffix in (*C_SUFFIXES, *CPP_SUFFIXES, *IR_SUFFIXES) for p in source.rglob(f"*{suffix}") if p.is_file())
    programs = [p for p in paths if p.suffix in IR_SUFFIXES or _MAIN.search(_text(p))]
    if not programs:
        raise OptionError(f"no file in {source} has a main function")
    includes = tuple(sorted({p.parent for p in source.rglob("*.h")}))
    options = replace(options, includes=(*options.includes, *includes))
    objects = tuple(_compile(p, folder / f"{_slug(p, source)}.o", options, to_module=False) for p in paths if p not in programs)
    return [_load(p, folder, options, objects, _slug(p, source)) for p in programs]


def load_module(path: Path, folder: Path, options: BuildOptions = BuildOptions(), name: str = "") -> Path:
    """The module of a source, not optimised; a file in `folder`, or the source itself if it is a module.

    Raises:
        OptionError: there is no such file, or it is of another kind.
        DataError: it is too large, or cannot be compiled.
    """
    if not path.is_file():
        raise OptionError(f"there is no file {path}")
    if path.suffix not in (*C_SUFFIXES, *CPP_SUFFIXES, *IR_SUFFIXES):
        raise OptionError(f"a program must be a .c, .cpp, .ll or .bc file, but got {path.name}")
    if path.stat().st_size > _MAX_SOURCE_BYTES:
        raise DataError(f"{path} is larger than the {_MAX_SOURCE_BYTES} bytes that are read")
    return (path if path.suffix in IR_SUFFIXES else _compile(path, folder / f"{name or path.stem}.bc", options, to_module=True)).resolve()


def _load(path: Path, folder: Path, options: BuildOptions, objects: Sequence[Path], name: str = "") -> Program:
    name = name or path.stem
    if path.suffix in CPP_SUFFIXES and _CPP_LIBRARY not in options.libraries:
        options = replace(options, libraries=(*options.libraries, _CPP_LIBRARY))
    return Program(name, load_module(path, folder, options, name), tuple(objects), options)


def _slug(path: Path, root: Path) -> str:
    same = [p for p in root.rglob(path.name) if p.is_file()]
    return path.stem if len(same) == 1 else "-".join(path.relative_to(root).with_suffix("").parts)


def _text(path: Path) -> str:
    with open(path, "rb") as file:
        return file.read(_MAX_SOURCE_BYTES).decode(errors="replace")


def _compile(path: Path, out: Path, options: BuildOptions, to_module: bool) -> Path:
    """Compiles a source without running any pass, so that the module is what passes begin with."""
    toolchain = find_toolchain()
    compiler = toolchain.tool("clang++" if path.suffix in CPP_SUFFIXES else "clang")
    command = [str(compiler), "-O3", "-march=native", f"-ffp-contract={'fast' if options.contract else 'off'}", "-w", "-g0", "-c", str(path.resolve()), "-o", str(out)]
    command += ["-emit-llvm", "-Xclang", "-disable-llvm-passes"] if to_module else []
    command += [f"-D{define}" for define in options.defines] + [f"-I{path.parent}"] + [f"-I{include}" for include in options.includes]
    command += options.cflags
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_COMPILE_TIMEOUT_SECS)
    except subprocess.TimeoutExpired:
        raise DataError(f"{path} took the compiler more than {_COMPILE_TIMEOUT_SECS} s") from None
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[-400:])
        raise DataError(f"{path} cannot be compiled: {first[:400]}")
    return out
