"""What a run of a program leaves: its exit code, what it printed, and the files that it wrote. Two runs are alike if
all of it is.

A program runs in a folder of its own, with the files that it was given. Lines that differ from run to run, such as
times and addresses, can be left out by patterns; where they are not, the message names them and a pattern that would
do.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from foretune.errors import DataError, OptionError

_STDOUT = "what it prints"
_MAX_TEXT_BYTES, _MAX_TEXTS = 1 << 20, 16  # of what is kept for messages
_MAX_GIVEN_BYTES, _MAX_GIVEN_FILES = 1 << 30, 10_000
_TOLD_LINES, _TOLD_CHARS = 3, 120
_KEY = re.compile(r"\(?[A-Za-z]\w*\)?[:=]")  # a word that names the one behind it


@dataclass(frozen=True)
class Input:
    """What a program is run on.

    Attributes:
        arguments: of its command line.
        stdin: a file for its standard input.
    """

    arguments: tuple[str, ...] = ()
    stdin: Path | None = None


@dataclass(frozen=True)
class RunOptions:
    """How a program is run, and what of a run is compared.

    Attributes:
        expect_exit: its exit code when all is well; None for any.
        ignore: regular expressions; lines of texts that one of them is found in are not compared.
        files: (name in the folder that it runs in, the file) of what it reads there.
        cwd: a folder, whose files it finds where it runs; they are copied for each run.
        checks: further inputs, on which finalists must do what the unoptimised program does.
        tolerance: that numbers of the output may be off by, relative; 0 compares all byte for byte.
    """

    expect_exit: int | None = 0
    ignore: tuple[str, ...] = ()
    files: tuple[tuple[str, Path], ...] = ()
    cwd: Path | None = None
    checks: tuple[Input, ...] = ()
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if self.expect_exit is not None and not 0 <= self.expect_exit <= 255:
            raise OptionError(f"`0 <= expect_exit <= 255` must hold, but got {self.expect_exit}")
        if not 0 <= self.tolerance < 1:
            raise OptionError(f"`0 <= tolerance < 1` must hold, but got {self.tolerance}")
        for pattern in self.ignore:
            try:
                re.compile(pattern.encode())
            except re.error as error:
                raise OptionError(
                    f"a pattern of lines to ignore must be a regular expression, but got {pattern!r}: {error}"
                ) from None
        for name, path in self.files:
            if Path(name).is_absolute() or ".." in Path(name).parts or not path.is_file():
                raise OptionError(
                    "a file that a program reads is FILE or NAME=FILE, with a name inside its folder, but got"
                    f" {name}={path}"
                )
        if self.cwd is not None and not self.cwd.is_dir():
            raise OptionError(f"there is no folder {self.cwd} to run in")

    @property
    def given(self) -> dict[str, Path]:
        """Name in the folder -> the file, of all that a program finds there.

        Raises:
            DataError: the folder is too large to be copied for each run.
        """
        found: dict[str, Path] = {}
        size = 0
        cwd = self.cwd
        for path in _files(cwd) if cwd is not None else ():
            found[path.relative_to(cast("Path", cwd)).as_posix()] = path
            size += path.stat().st_size
            if len(found) > _MAX_GIVEN_FILES or size > _MAX_GIVEN_BYTES:
                raise DataError(
                    f"{self.cwd} is copied for each run, and has more than {_MAX_GIVEN_FILES} files or"
                    f" {_MAX_GIVEN_BYTES} bytes; bring what is read with --file"
                )
        return {**found, **dict(self.files)}

    def update_hash(self, digest: hashlib._Hash) -> None:
        """Adds what changes what a program does; nothing where there is nothing."""
        for name, path in sorted(self.given.items()):
            digest.update(name.encode() + b"\0" + path.read_bytes())


@dataclass(frozen=True)
class Outcome:
    """What a run left.

    Attributes:
        digest: SHA-256 of what it printed and wrote, without the lines that are ignored.
        is_silent: whether it printed and wrote nothing.
        texts: name -> the beginning of it, for messages; all of it, where numbers are compared within a tolerance.
    """

    digest: str
    is_silent: bool
    texts: dict[str, bytes] = field(default_factory=dict)

    @property
    def last_line(self) -> str:
        """The last line that it printed, shortened."""
        lines = self.texts.get(_STDOUT, b"").decode(errors="replace").strip().splitlines()
        return lines[-1][:_TOLD_CHARS] if lines else ""


def make_folder(folder: Path, options: RunOptions) -> None:
    """Makes the folder that a program runs in: what one run left there, the next one must not see."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, path in options.given.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, folder / name)


def read_outcome(stdout: Path, folder: Path, options: RunOptions) -> Outcome:
    """What a run left.

    Args:
        stdout: file of what it printed.
        folder: that it ran in.
        options: what it was given, and what is ignored.
    """
    printed = _compared(stdout, options.ignore)
    most_bytes, most_texts = (None, None) if options.tolerance else (_MAX_TEXT_BYTES, _MAX_TEXTS)
    texts = {_STDOUT: printed[:most_bytes]}
    digest = hashlib.sha256(printed)
    given, wrote = options.given, False
    for path in sorted(_files(folder)):
        name = path.relative_to(folder).as_posix()
        if name in given and _is_untouched(path, given[name]):
            continue
        content = _compared(path, options.ignore)
        digest.update(b"\0" + name.encode(errors="surrogateescape") + b"\0" + hashlib.sha256(content).digest())
        wrote = True
        if most_texts is None or len(texts) < most_texts:
            texts[name] = content[:most_bytes]
    return Outcome(digest.hexdigest(), not printed and not wrote, texts)


def _files(folder: Path) -> Iterator[Path]:
    for here, _, names in os.walk(folder):
        for name in names:
            path = Path(here, name)
            if path.is_file() and not path.is_symlink():
                yield path


def _is_untouched(path: Path, source: Path) -> bool:
    own, other = path.stat(), source.stat()
    return (own.st_size, own.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def _compared(path: Path, ignore: tuple[str, ...]) -> bytes:
    content = path.read_bytes()
    patterns = [re.compile(pattern.encode()) for pattern in ignore]
    if not patterns:
        return content
    return b"".join(
        line for line in content.splitlines(keepends=True) if not any(pattern.search(line) for pattern in patterns)
    )


def describe_difference(one: Outcome, other: Outcome) -> str:
    """Where two runs differ, in words: lines of both, and a pattern that leaves them out."""
    for name in sorted({*one.texts, *other.texts}, key=lambda name: (name != _STDOUT, name)):
        if name not in one.texts or name not in other.texts:
            return f"only one of the runs writes the file {name}"
        if one.texts[name] != other.texts[name]:
            return _describe_lines(name, one.texts[name], other.texts[name])
    return "the runs differ behind what is kept of them"


def _describe_lines(name: str, one: bytes, other: bytes) -> str:
    pairs = list(
        _different_lines(one.decode(errors="replace").splitlines(), other.decode(errors="replace").splitlines())
    )
    shown = "; ".join(
        f"{before[:_TOLD_CHARS]!r}, then {after[:_TOLD_CHARS]!r}" for before, after in pairs[:_TOLD_LINES]
    )
    more = f" and {len(pairs) - _TOLD_LINES} more" if len(pairs) > _TOLD_LINES else ""
    patterns = list(dict.fromkeys(_pattern(before, after) for before, after in pairs))
    hint = " ".join(f"--ignore '{pattern}'" for pattern in patterns[:_TOLD_LINES])
    where = "" if name == _STDOUT else f" of the file {name}"
    return f"lines{where} that differ: {shown}{more}; where these are times or addresses, leave them out with {hint}"


def _different_lines(one: list[str], other: list[str]) -> Iterator[tuple[str, str]]:
    for kind, start, end, other_start, other_end in difflib.SequenceMatcher(
        None, one[:4000], other[:4000], autojunk=False
    ).get_opcodes():
        if kind != "equal":
            before, after = one[start:end], other[other_start:other_end]
            for i in range(max(len(before), len(after))):
                yield before[i] if i < len(before) else "", after[i] if i < len(after) else ""


def _pattern(one: str, other: str) -> str:
    """A pattern that both lines fit: their common words, with anything in place of the others."""
    words, others = one.split(), other.split()
    if len(words) != len(others):
        first = next((word for word in words or others), "")
        return f"^{re.escape(first)}" if first else "^$"
    differ = [i for i, (word, its) in enumerate(zip(words, others)) if word != its]
    if len(differ) == 1 and differ[0] and _KEY.fullmatch(key := words[differ[0] - 1]):
        return rf"{re.escape(key)}\s+\S+"  # of all lines that tell it
    parts = [re.escape(word) if word == its else r"\S+" for word, its in zip(words, others)]
    return "^" + r"\s*" * one.startswith((" ", "\t")) + r"\s+".join(parts) + "$"
