"""Programs whose pass sequence is tuned: a module, what it is linked with, and how it is run.

A program comes from a file, from several, from a folder, from a build command or from a compilation database.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from foretune.errors import DataError, OptionError
from foretune.passes.llvm.build_command import (
    COMMANDS_FILE,
    BuildCommand,
    is_build_command,
    read_command,
    read_commands_file,
)
from foretune.passes.llvm.execution.outcome import RunOptions
from foretune.passes.llvm.sources import (
    ASSEMBLY_SUFFIXES,
    CPP_SUFFIXES,
    IR_SUFFIXES,
    SOURCE_SUFFIXES,
    Command,
    Compiled,
    Unit,
    compile_all,
    compile_command,
    compile_unit,
    link_command,
    link_modules,
    needed_by,
    readable,
)

_CPP_LIBRARY = "stdc++"
_MAX_SOURCE_BYTES = 64 << 20
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BuildOptions:
    """How sources become modules.

    Attributes:
        defines: for the preprocessor, `NAME` or `NAME=VALUE`.
        includes: folders of headers.
        libraries: to link with, such as `m`.
        arguments: of the program's command line.
        stdin: a file for its standard input.
        contract: whether products and sums may become one operation; it changes the last bits, so that outputs cannot
        be compared exactly. cflags, ldflags: further words for the compiler, and for the linker.
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
        commands: that made the module and the objects.
        checked: the same program built otherwise, so that it prints more for instance, whose output winners must not
            change either; this one is timed.
        timed: the function of whose calls alone the time counts, for people; empty for whole runs.
        whole: the program without what times that function, which is what is given out.
    """

    name: str
    module: Path
    objects: tuple[Path, ...] = ()
    options: BuildOptions = BuildOptions()
    hash: str = field(default="")
    commands: tuple[Command, ...] = field(default=(), repr=False)
    checked: Program | None = field(default=None, repr=False)
    timed: str = ""
    whole: Program | None = field(default=None, repr=False)

    @property
    def is_relaxed(self) -> bool:
        """Whether floating-point numbers may be computed in another order, within a tolerance."""
        return self.options.run.tolerance > 0

    def __post_init__(self) -> None:
        digest = hashlib.sha256(self.module.read_bytes())
        for path in (*self.objects, *([self.options.stdin] if self.options.stdin else [])):
            digest.update(Path(path).read_bytes())
        digest.update(repr((self.options.libraries, self.options.arguments)).encode())
        if self.options.ldflags:
            digest.update(repr(self.options.ldflags).encode())
        self.options.run.update_hash(digest)
        if self.is_relaxed:
            digest.update(b"\0tolerance " + repr(self.options.run.tolerance).encode())
        if self.checked is not None:
            digest.update(self.checked.hash.encode())
        object.__setattr__(self, "hash", digest.hexdigest()[:16])


@dataclass(frozen=True)
class Selection:
    """Which programs are made of sources.

    Attributes:
        keep_separate: whether the sources that a program needs become objects of their own instead of one module with
            it.
        main: the file whose `main` is meant, of several; None for each of them.
        without_main: whether sources without a `main` are programs, too, which are only looked at.
    """

    keep_separate: bool = False
    main: Path | None = None
    without_main: bool = False


def load(
    words: Sequence[str],
    folder: Path,
    options: BuildOptions = BuildOptions(),
    selection: Selection = Selection(),
    directory: Path = Path(),
    failed: dict[str, str] | None = None,
) -> list[Program]:
    """Reads programs as a command line names them.

    Args:
        words: a file or a folder; several files, which are one program; a compilation database; or a build command.
        folder: where compiled files go.
        options: how they are compiled, linked and run.
        selection: which programs.
        directory: that a build command is meant in.
        failed: gets name -> reason of programs of a folder that cannot be made; None raises the first one.

    Raises:
        OptionError: there is no such file, or no program in the folder.
        DataError: a source cannot be compiled; the compiler's words are in the error.
        UnsupportedError: a compiler is needed, and not installed.
    """
    words = [str(word) for word in words]
    if is_build_command(words):
        return _load_command(read_command(words, directory.resolve()), folder, options, selection, failed)
    paths = [directory / word for word in words]
    for path in paths:
        if not path.exists():
            raise OptionError(f"there is no file or folder {path}")
    if len(paths) > 1:
        if any(not path.is_file() for path in paths):
            raise OptionError(f"several sources are one program and must be files, but got {', '.join(words)}")
        return _load_command(BuildCommand([Unit(path) for path in paths]), folder, options, selection, failed)
    if paths[0].name == COMMANDS_FILE:
        return _load_command(read_commands_file(paths[0]), folder, options, selection, failed)
    return load_programs(paths[0], folder, options, selection, failed)


def load_programs(
    source: Path,
    folder: Path,
    options: BuildOptions = BuildOptions(),
    selection: Selection = Selection(),
    failed: dict[str, str] | None = None,
) -> list[Program]:
    """Reads a program, or all programs of a folder.

    In a folder, each source with a `main` is a program by itself, in any subfolder; of the sources without one it gets
    those that it needs, as one module with it. Folders that hold headers are searched for them, the program's own
    first.

    Args:
        source: a `.c`, `.cpp`, `.ll` or `.bc` file, or a folder of them.
        folder, options, selection, failed: as in `load`.

    Raises:
        OptionError, DataError, UnsupportedError: as `load`.
    """
    if source.is_file():
        return [_load(source, folder, options)]
    if not source.is_dir():
        raise OptionError(f"there is no file or folder {source}")
    paths = sorted(p for suffix in SOURCE_SUFFIXES for p in source.rglob(f"*{suffix}") if p.is_file())
    includes = tuple(sorted({p.parent for pattern in ("*.h", "*.hpp", "*.hh") for p in source.rglob(pattern)}))
    options = replace(options, includes=(*options.includes, *includes))
    names = [_slug(path, source) for path in paths]
    own = [name if names.count(name) == 1 else f"{name}-{path.suffix[1:]}" for path, name in zip(paths, names)]
    units = [(Unit(path, (f"-I{path.parent.resolve()}",)), name) for path, name in zip(paths, own)]
    return _link(units, folder, options, selection, failed, f"no file in {source} has a main function")


def load_module(path: Path, folder: Path, options: BuildOptions = BuildOptions(), name: str = "") -> Path:
    """The module of a source, not optimised; a file in `folder`, or the source itself if it is a module.

    Raises:
        OptionError: there is no such file, or it is of another kind.
        DataError: it is too large, or cannot be compiled.
    """
    if not path.is_file():
        raise OptionError(f"there is no file {path}")
    if path.suffix not in SOURCE_SUFFIXES:
        raise OptionError(f"a program must be a .c, .cpp, .ll or .bc file, but got {path.name}")
    if path.stat().st_size > _MAX_SOURCE_BYTES:
        raise DataError(f"{path} is larger than the {_MAX_SOURCE_BYTES} bytes that are read")
    if path.suffix in IR_SUFFIXES:
        return readable(path, folder)
    unit = Unit(path, (f"-I{path.parent.resolve()}",))
    return compile_unit(unit, folder / f"{name or path.stem}.bc", _flags(options), True, options.contract).resolve()


def _load(path: Path, folder: Path, options: BuildOptions) -> Program:
    if path.suffix in CPP_SUFFIXES:
        options = _with_cpp(options)
    module = load_module(path, folder, options)
    unit = Unit(path, (f"-I{path.parent.resolve()}",))
    commands = (
        () if path.suffix in IR_SUFFIXES else (compile_command(unit, module, _flags(options), True, options.contract),)
    )
    return Program(path.stem, module, (), options, commands=commands)


def _load_command(
    command: BuildCommand, folder: Path, options: BuildOptions, selection: Selection, failed: dict[str, str] | None
) -> list[Program]:
    """The programs of a build command: one, unless several of its sources have a `main`."""
    if not command.units:
        raise OptionError("a build command must name a source")
    for unit in command.units:
        if unit.path.suffix not in (*SOURCE_SUFFIXES, *ASSEMBLY_SUFFIXES):
            raise OptionError(f"a program must be a .c, .cpp, .ll or .bc file, but got {unit.path.name}")
    options = replace(options, ldflags=(*options.ldflags, *command.ldflags))
    names = [unit.path.stem for unit in command.units]
    units = []
    for number, (unit, name) in enumerate(zip(command.units, names)):
        own = replace(unit, flags=(*unit.flags, f"-I{unit.path.parent.resolve()}"))
        units.append((own, name if names.count(name) == 1 else f"{name}-{number}"))
    programs = _link(
        units, folder, options, selection, failed, "none of the sources has a main function", tuple(command.objects)
    )
    return [replace(programs[0], name=command.name)] if len(programs) == 1 and command.name else programs


def _link(
    units: Sequence[tuple[Unit, str]],
    folder: Path,
    options: BuildOptions,
    selection: Selection,
    failed: dict[str, str] | None,
    none: str,
    objects: tuple[Path, ...] = (),
) -> list[Program]:
    """Programs of sources with a `main`, each with what it needs of the others."""
    names = {unit.path: name for unit, name in units}
    compiled, errors = compile_all(
        [(unit, folder / f"{name}.bc") for unit, name in units], _flags(options), options.contract
    )
    mains = [one for one in compiled if "main" in one.defined]
    if selection.main is not None:
        mains = [one for one in mains if one.unit.path.resolve() == selection.main.resolve()]
        none = f"{selection.main} is none of the sources with a main function"
    others = [one for one in compiled if "main" not in one.defined]
    if selection.without_main and selection.main is None:
        taken = [part for one in mains for part in needed_by(one, others)]
        mains += [one for one in others if one not in taken and one.unit.path.suffix not in ASSEMBLY_SUFFIXES]
    for path, error in errors.items():
        if failed is None or not mains:
            raise error
        failed[names[path]] = str(error)
    if not mains:
        raise OptionError(f"{none}: name one with --call, or look at it with --objective instructions, size or cycles")
    programs = []
    for one in mains:
        try:
            programs.append(
                _program_of(one, others if "main" in one.defined else (), names, folder, options, selection, objects)
            )
        except DataError as error:
            if failed is None or len(mains) == 1:
                raise
            failed[names[one.unit.path]] = str(error)
    return programs


def _program_of(
    one: Compiled,
    others: Sequence[Compiled],
    names: dict[Path, str],
    folder: Path,
    options: BuildOptions,
    selection: Selection,
    objects: tuple[Path, ...],
) -> Program:
    name = names[one.unit.path]
    needed = needed_by(one, others)
    if any(part.unit.is_cpp for part in (one, *needed)):
        options = _with_cpp(options)
    as_objects = [part for part in needed if selection.keep_separate or part.unit.path.suffix in ASSEMBLY_SUFFIXES]
    as_objects.sort(key=lambda part: part.unit.path)
    modules = [one.module, *(part.module for part in needed if part not in as_objects)]
    made = [_object_of(part, folder / f"{names[part.unit.path]}.o", options) for part in as_objects]
    commands = [
        compile_command(part.unit, out, _flags(options), out.suffix == ".bc", options.contract)
        for part, out in [
            *((part, part.module) for part in (one, *needed) if part not in as_objects),
            *zip(as_objects, made),
        ]
        if part.unit.path.suffix not in IR_SUFFIXES
    ]
    linked = folder / f"{name}-linked.bc"
    commands += [link_command(modules, linked)] if len(modules) > 1 else []
    return Program(name, link_modules(modules, linked), (*made, *objects), options, commands=tuple(commands))


def _object_of(part: Compiled, out: Path, options: BuildOptions) -> Path:
    if part.unit.path.suffix in ASSEMBLY_SUFFIXES:
        return part.module
    return out if out.exists() else compile_unit(part.unit, out, _flags(options), False, options.contract)


def _flags(options: BuildOptions) -> list[str]:
    """Words for the compiler, of all sources."""
    return [
        *(f"-D{define}" for define in options.defines),
        *(f"-I{Path(include).resolve()}" for include in options.includes),
        *options.cflags,
    ]


def _with_cpp(options: BuildOptions) -> BuildOptions:
    return (
        options if _CPP_LIBRARY in options.libraries else replace(options, libraries=(*options.libraries, _CPP_LIBRARY))
    )


def _slug(path: Path, root: Path) -> str:
    same = [p for p in root.rglob(path.name) if p.is_file()]
    return path.stem if len(same) == 1 else "-".join(path.relative_to(root).with_suffix("").parts)
