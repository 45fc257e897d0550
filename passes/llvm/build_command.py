"""Build commands, read and never run: which sources they name, and with which of their words each is compiled and
linked.

`cc -O2 -Iinclude a.c b.c -lm -o program`, or `compile_commands.json`. Foretune calls its own clang with the words
that say what a program means (definitions, folders of headers, the language) and leaves out those that say how it is
optimised, where it goes and what is warned about.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from foretune.errors import DataError, OptionError
from foretune.passes.llvm.sources import ASSEMBLY_SUFFIXES, SOURCE_SUFFIXES, Unit

COMMANDS_FILE = "compile_commands.json"
_COMPILER = re.compile(r"(?:[\w.+-]*-)?(?:cc|c\+\+|gcc|g\+\+|clang|clang\+\+|c89|c99|icx|icpx)(?:-[\d.]+)?")
_OBJECT_SUFFIXES = (".o", ".a", ".so", ".lo")
_DROPPED = re.compile(
    r"-(?:c|S|E|v|w|pipe|O.*|g.*|W(?!l,).*|pedantic.*|save-temps.*|M[DMPGV]*|flto.*|fuse-ld=.*|fdiagnostics.*|fcolor-diagnostics|print-.*)"
)
_DROPPED_WITH_VALUE = ("-o", "-MF", "-MT", "-MQ", "-MJ")
_COMPILE_WITH_VALUE = (
    "-I",
    "-D",
    "-U",
    "-isystem",
    "-include",
    "-iquote",
    "-idirafter",
    "-x",
    "-imacros",
    "-isysroot",
    "--sysroot",
    "-Xpreprocessor",
    "-std",
)
_LINK_WITH_VALUE = ("-l", "-L", "-T", "-Xlinker", "-u", "-z", "-rpath")
_LINK = re.compile(r"-(?:l.+|L.+|Wl,.*|T.+|rdynamic|static.*|shared.*|nostdlib.*|nostartfiles|no-pie|pie|s)")
_PATHS = ("-I", "-isystem", "-include", "-iquote", "-idirafter", "-imacros", "-L")


@dataclass
class BuildCommand:
    """What a command says.

    Attributes:
        units: the sources.
        objects: files that are linked as they are.
        ldflags: words for the linker.
        name: of the program; empty if it says none.
    """

    units: list[Unit] = field(default_factory=list)
    objects: list[Path] = field(default_factory=list)
    ldflags: list[str] = field(default_factory=list)
    name: str = ""


def is_build_command(words: list[str]) -> bool:
    """Whether words begin with the name of a compiler."""
    return (
        len(words) > 1
        and bool(_COMPILER.fullmatch(Path(words[0]).name))
        and Path(words[0]).suffix not in SOURCE_SUFFIXES
    )


def read_command(words: list[str], directory: Path) -> BuildCommand:
    """Reads one call of a compiler.

    Args:
        words: its name, and what follows.
        directory: that relative paths are meant in.

    Raises:
        OptionError: it has something that cannot be done, or a source is missing.
    """
    found, flags, sources = BuildCommand(), [], []
    rest = list(words[1:])
    while rest:
        word = rest.pop(0)
        if word.startswith("@") or word in ("-mllvm", "-Xclang") or word.startswith("-mllvm="):
            raise OptionError(
                f"a build command may not have {word!r}: LLVM's own flags are what is searched, and files of further"
                " words are not read"
            )
        if word in _DROPPED_WITH_VALUE:
            value = _value(word, rest)
            found.name = Path(value).stem if word == "-o" else found.name
        elif word in _LINK_WITH_VALUE:
            found.ldflags += _with_path(word, _value(word, rest), directory)
        elif _LINK.fullmatch(word):
            found.ldflags += [f"-L{directory / word[2:]}"] if word.startswith("-L") else [word]
        elif word == "-pthread":
            flags.append(word)
            found.ldflags.append(word)
        elif word in _COMPILE_WITH_VALUE:
            flags += _with_path(word, _value(word, rest), directory)
        elif word.startswith("-I"):
            flags.append(f"-I{directory / word[2:]}")
        elif word.startswith("-"):
            flags += [] if _DROPPED.fullmatch(word) else [word]
        elif Path(word).suffix in _OBJECT_SUFFIXES or ".so." in word:
            found.objects.append(_existing(directory / word))
        elif Path(word).suffix in (*SOURCE_SUFFIXES, *ASSEMBLY_SUFFIXES):
            sources.append(_existing(directory / word))
        else:
            raise OptionError(
                f"a build command names sources ({', '.join(SOURCE_SUFFIXES)}), objects and options, but got {word!r}"
            )
    found.units = [Unit(path, tuple(flags), directory) for path in dict.fromkeys(sources)]
    return found


def read_commands_file(path: Path) -> BuildCommand:
    """Reads a `compile_commands.json`.

    Raises:
        DataError: it is damaged.
        OptionError: a command of it has something that cannot be done.
    """
    try:
        rows = json.loads(path.read_text())
        entries = [(Path(row["directory"]), row.get("arguments") or shlex.split(row["command"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is no compilation database: {type(error).__name__}: {error}") from error
    found = BuildCommand()
    for directory, words in entries:
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise DataError(f"{path} is no compilation database: the arguments of a command must be a list of texts")
        one = read_command(words, path.parent / directory)
        found.units += one.units
        found.ldflags += [word for word in one.ldflags if word not in found.ldflags]
    found.units = list({unit.path: unit for unit in found.units}.values())
    return found


def _value(word: str, rest: list[str]) -> str:
    if not rest:
        raise OptionError(f"{word} of a build command needs a value")
    return rest.pop(0)


def _with_path(word: str, value: str, directory: Path) -> Iterable[str]:
    """The option with its value; one that is a path is written in full."""
    return (word, str(directory / value)) if word in _PATHS and (directory / value).exists() else (word, value)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise OptionError(f"there is no file {path}")
    return path.resolve()
