"""Programs as `foretune passes` names them: the options of their building and running, kept in results so that they can
be replayed.
"""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from foretune.errors import DataError, ForetuneError, LeftGrammarError, OptionError
from foretune.support.scratch import ScratchFolder

_log = logging.getLogger("foretune")
_OLD_BUILD = {"keep_separate": True, "expect_exit": None}  # of results before those that have their sources in `build`

Sources = Annotated[
    list[str],
    typer.Argument(
        help=(
            "A .c, .cpp, .ll or .bc program; several sources of one; a folder; compile_commands.json; or, behind --, a"
            " build command such as cc a.c b.c -lm."
        )
    ),
]
Define = Annotated[
    list[str], typer.Option("--define", "-D", help="NAME or NAME=VALUE for the preprocessor; may be repeated.")
]
Include = Annotated[list[Path], typer.Option("--include", "-I", help="Folder of headers; may be repeated.")]
Argument = Annotated[list[str], typer.Option("--arg", help="Argument of the program's command line; may be repeated.")]
Library = Annotated[
    list[str], typer.Option("--lib", "-l", help="Library to link with beside the mathematical one; may be repeated.")
]
Stdin = Annotated[Path | None, typer.Option(help="File for the program's standard input.")]
Cflag = Annotated[
    list[str], typer.Option("--cflag", help="Word for the compiler, such as --cflag=-std=gnu89; may be repeated.")
]
Ldflag = Annotated[list[str], typer.Option("--ldflag", help="Word for the linker; may be repeated.")]
Main = Annotated[Path | None, typer.Option("--main", help="The source whose main is meant, of several.")]
KeepSeparate = Annotated[
    bool, typer.Option("--keep-separate", help="Tune the source with main alone; the others are compiled as they are.")
]
Ignore = Annotated[
    list[str],
    typer.Option(
        "--ignore",
        help=(
            "Regular expression: lines of the output that it is found in are not compared (times, addresses); may be"
            " repeated."
        ),
    ),
]
ExpectExit = Annotated[int, typer.Option(help="Exit code of the program when all is well.")]
CheckArg = Annotated[
    list[str],
    typer.Option(
        "--check-arg",
        help="Command line of one more run that winners must do right, such as '1 --big'; may be repeated.",
    ),
]
CheckStdin = Annotated[
    list[Path],
    typer.Option(
        "--check-stdin",
        help=(
            "Standard input of one more run that winners must do right, with the --check-arg of the same place; may be"
            " repeated."
        ),
    ),
]
CheckDefine = Annotated[
    list[str],
    typer.Option(
        "--check-define",
        help=(
            "NAME or NAME=VALUE for the preprocessor of one more build, which winners must do right and which is not"
            " timed, such as POLYBENCH_DUMP_ARRAYS; may be repeated."
        ),
    ),
]
File = Annotated[
    list[str],
    typer.Option(
        "--file", help="File that the program reads in the folder that it runs in: FILE or NAME=FILE; may be repeated."
    ),
]
Cwd = Annotated[
    Path | None, typer.Option(help="Folder whose files the program finds where it runs; they are copied for each run.")
]
TimeFunction = Annotated[
    str,
    typer.Option(
        "--time-function",
        help=(
            "Function, mangled or demangled, whose calls alone are timed; it is neither inlined nor specialised, in -O3"
            " and in all candidates alike."
        ),
    ),
]
Tolerance = Annotated[
    float,
    typer.Option(
        help=(
            "Relax floating-point numbers, in -O3 and in all candidates alike, as -ffast-math does but for NaN and"
            " infinity; numbers of the output may be off by so much, relative, and integers by nothing. 0 relaxes"
            " nothing."
        )
    ),
]


@dataclass
class ProgramArguments:
    """How programs are named, built and run, as the command line says; plain data, which results keep.

    Attributes:
        sources: words that name them.
        directory: that these are meant in.
        without_main: whether what has no `main` is taken, too.
        num_calls: of a function; found out where it is None.
        the others: see the options.
    """

    sources: list[str] = field(default_factory=list)
    directory: str = ""
    define: list[str] = field(default_factory=list)
    include: list[str] = field(default_factory=list)
    arg: list[str] = field(default_factory=list)
    stdin: str | None = None
    lib: list[str] = field(default_factory=list)
    call: str = ""
    num_calls: int | None = None
    cflag: list[str] = field(default_factory=list)
    ldflag: list[str] = field(default_factory=list)
    main: str | None = None
    keep_separate: bool = False
    without_main: bool = False
    ignore: list[str] = field(default_factory=list)
    expect_exit: int | None = 0
    checks: list[list[Any]] = field(default_factory=list)
    file: list[list[str]] = field(default_factory=list)
    cwd: str | None = None
    check_define: list[str] = field(default_factory=list)
    time_function: str = ""
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        self.directory = self.directory or str(Path.cwd())

    @property
    def options(self) -> Any:
        """As `BuildOptions`."""
        from foretune.passes.llvm.execution.outcome import Input, RunOptions
        from foretune.passes.llvm.program import BuildOptions

        checks = tuple(Input(tuple(words), Path(stdin) if stdin else None) for words, stdin in self.checks)
        files = tuple((name, Path(path)) for name, path in self.file)
        cwd = Path(self.cwd) if self.cwd else None
        run = RunOptions(self.expect_exit, tuple(self.ignore), files, cwd, checks, self.tolerance)
        stdin = Path(self.stdin) if self.stdin else None
        return BuildOptions(
            tuple(self.define),
            tuple(map(Path, self.include)),
            ("m", *self.lib),
            tuple(self.arg),
            stdin,
            False,
            tuple(self.cflag),
            tuple(self.ldflag),
            run,
        )

    @contextmanager
    def programs(self, failed: dict[str, str] | None = None, sandbox: bool = False) -> Iterator[list]:
        """The programs, while their files are there; those of a folder that cannot be made get a reason in `failed`."""
        from foretune.passes.llvm.program import Selection, load

        with ScratchFolder("foretune-programs-") as scratch:
            if self.call:
                yield [self._function(scratch.path, sandbox)]
                return
            selection = Selection(self.keep_separate, Path(self.main) if self.main else None, self.without_main)
            found = load(self.sources, scratch.path, self.options, selection, Path(self.directory), failed)
            if self.check_define:
                defines = (*self.options.defines, *self.check_define)
                options, folder = replace(self.options, defines=defines), scratch.path / "checked"
                others = load(self.sources, folder, options, selection, Path(self.directory), failed)
                checked = {program.name: program for program in others}
                found = [replace(one, checked=checked[one.name]) for one in found if one.name in checked]
            yield self._timed(found, scratch.path, failed) if self.time_function else found

    def _timed(self, programs: list, folder: Path, failed: dict[str, str] | None) -> list:
        """The programs, of whose runs the calls of one function are timed; one without it gets a reason."""
        from foretune.passes.llvm.timing.instrument import time_function

        found = []
        for program in programs:
            try:
                found.append(time_function(program, self.time_function, folder))
            except ForetuneError as error:
                if failed is None or len(programs) == 1:
                    raise
                failed[program.name] = str(error)
        return found

    def _function(self, folder: Path, sandbox: bool) -> Any:
        """The one function that is called; how often is kept, so that it is called as often when it is replayed."""
        from foretune.passes.llvm.function import FunctionCall, load_function
        from foretune.passes.llvm.measure import PassMeasurer, PassMeasureSettings

        call, options = FunctionCall.parse(self.call), self.options
        if options.arguments or options.stdin:
            raise OptionError("--call goes without --arg and --stdin: a function has neither")
        if self.time_function:
            raise OptionError("--call goes without --time-function: of the function that it calls all is timed")
        if self.tolerance:
            raise OptionError("--call goes without --tolerance: a function's numbers are compared as bytes")
        if self.check_define:
            raise OptionError("--call goes without --check-define: what a function leaves is compared in any case")
        if len(self.sources) != 1:
            raise OptionError(f"--call goes with one source, but got {self.sources}")
        with PassMeasurer(PassMeasureSettings(sandbox=sandbox)) as measurer:
            program = load_function(
                Path(self.directory, self.sources[0]), folder, options, call, measurer, self.num_calls
            )
        self.num_calls = int(program.options.arguments[0])
        return program


def program_arguments(
    sources: Sequence[str] | None,
    define: Sequence[str] = (),
    include: Sequence[Path] = (),
    arg: Sequence[str] = (),
    stdin: Path | None = None,
    lib: Sequence[str] = (),
    call: str = "",
    check_arg: Sequence[str] = (),
    check_stdin: Sequence[Path] = (),
    file: Sequence[str] = (),
    cwd: Path | None = None,
    main: Path | None = None,
    **more: Any,
) -> ProgramArguments:
    """What the options say; files are named in full, because programs run in a folder of their own.

    Raises:
        OptionError: a file is missing.
    """
    rest: dict[str, Any] = {name: list(v) if isinstance(v, list) else v for name, v in more.items()}
    return ProgramArguments(
        list(sources or []),
        define=list(define),
        include=[str(path.resolve()) for path in include],
        arg=[_in_full(word) for word in arg],
        stdin=_existing(stdin, "the standard input"),
        lib=list(lib),
        call=call,
        main=_existing(main, "the main function"),
        checks=_checks(check_arg, check_stdin, arg, stdin),
        file=[_named_file(text) for text in file],
        cwd=str(cwd.resolve()) if cwd is not None else None,
        **rest,
    )


def _checks(
    check_arg: Sequence[str], check_stdin: Sequence[Path], arg: Sequence[str], stdin: Path | None
) -> list[list[Any]]:
    """Inputs of the check runs: what is not said of one is as in the run that is timed."""
    found = []
    for i in range(max(len(check_arg), len(check_stdin))):
        try:
            words = shlex.split(check_arg[i]) if i < len(check_arg) else list(arg)
        except ValueError as error:
            raise OptionError(f"--check-arg must be words as in a shell, but got {check_arg[i]!r}: {error}") from None
        given = check_stdin[i] if i < len(check_stdin) else stdin
        found.append([[_in_full(word) for word in words], _existing(given, "the standard input of a check")])
    return found


def _in_full(word: str) -> str:
    return str(Path(word).resolve()) if Path(word).is_file() else word


def _existing(path: Path | None, what: str) -> str | None:
    if path is not None and not path.is_file():
        raise OptionError(f"there is no file {path} for {what}")
    return str(path.resolve()) if path is not None else None


def _named_file(text: str) -> list[str]:
    name, equals, path = text.partition("=")
    path = path if equals and not Path(text).is_file() else text
    if not Path(path).is_file():
        raise OptionError(f"there is no file {path} for --file")
    return [name if path != text else Path(path).name, str(Path(path).resolve())]


def stored_results(path: Path, sandbox: bool = False) -> Iterator[tuple[dict[str, Any], Any, Any, Any]]:
    """(result, program, winner, how it was measured) of each result in a file; one with a step that has left the
    grammar is left out.

    Raises:
        DataError: the file is none of ours, or a program has changed since.
    """
    from foretune.passes.llvm.actions import parse_flag, parse_pass, parse_sequence
    from foretune.passes.llvm.measure import PassMeasureSettings

    try:
        rows = [{**row, "steps": _known_steps(row.get("steps", ()))} for row in json.loads(path.read_text())["results"]]
        fields = [(row, row["source"], row["program"], row["hash"], [*row["passes"]], [*row["flags"]]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no file of `foretune passes tune --out`: {error}") from error
    for row, source, name, known_hash, passes, flags in fields:
        try:
            for parse, texts in ((parse_pass, passes), (parse_flag, flags)):
                for text in texts:
                    parse(text)
        except LeftGrammarError as error:
            _log.warning("%s: the result of %s is left out: %s; tune it again", path, name, error)
            continue
        except ValueError:
            pass  # told below, as a refusal
        sequence, refused = parse_sequence(passes, flags)
        if refused:
            raise DataError(f"{path}: {refused[0]}")
        try:
            arguments = ProgramArguments(
                **_OLD_BUILD | {"sources": [source]} | row["build"] if "sources" not in row["build"] else row["build"]
            )
            build_timeout, run_timeout = row["timeouts"]
            settings = PassMeasureSettings(
                build_timeout_secs=float(build_timeout), run_timeout_secs=float(run_timeout), sandbox=sandbox
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} is no file of `foretune passes tune --out`: {error}") from error
        with arguments.programs({}, sandbox) as programs:
            program = next((p for p in programs if p.name == name), None)
            if program is None or program.hash != known_hash:
                raise DataError(f"{path}: the program {name} of {source} has changed since it was tuned; tune it again")
            yield row, program, sequence, settings


def _known_steps(texts: Any) -> tuple[str, ...]:
    """Steps as they print, without those that have left the grammar since."""
    from foretune.passes.llvm.actions import parse_step

    found = []
    for text in texts:
        try:
            found.append(str(parse_step(text)))
        except LeftGrammarError:
            continue
    return tuple(found)
