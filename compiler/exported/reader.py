"""Reads exported programs from files (`.pt2`) without executing anything that they say.

`torch.export.load` unpickles sample inputs and weights, has sympy evaluate sizes, makes Python source of names and
compiles guards. So the archive is taken apart first: each part is checked or read as data, and an archive of our own
making, of the checked parts alone, is what PyTorch reads.
"""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import torch

from foretune.compiler.exported.archive import members_of
from foretune.compiler.exported.payloads import check_config, is_named_tensors, is_sample, is_tensor, repickled
from foretune.compiler.exported.program_text import cleaned_program
from foretune.errors import DataError
from foretune.support.scratch import step_folder
from foretune.support.text import telling_line

_PROGRAM, _SAMPLE = "models/model.json", "data/sample_inputs/model.pt"
_FOLDERS = {"weights": "data/weights/", "constants": "data/constants/"}
_MOST_JSON_BYTES, _MOST_SAMPLE_BYTES = 1 << 29, 1 << 34
_MARKS = {"archive_format": b"pt2", "archive_version": b"0", "byteorder": sys.byteorder.encode()}
_IGNORED = ("extra/", "data/extra/", ".data/", "version", "archive_format", "archive_version", "byteorder")
_CHUNK = 1 << 22


def load_exported(path: Path, name: str | Path = "", namespaces: Collection[str] = ()) -> torch.export.ExportedProgram:
    """Reads an exported program.

    Args:
        path: file that `torch.export.save` wrote.
        name: how messages call it; by default its path.
        namespaces: of custom operators that it may call.

    Raises:
        DataError: the file is damaged, or reading it would execute something that it says. It is refused before
            anything is loaded.
    """
    with step_folder() as folder:
        clean = folder / "program.pt2"
        _clean(path, clean, name or path, namespaces)
        try:
            return torch.export.load(clean)
        except Exception as error:  # PyTorch raises errors of many kinds
            raise DataError(
                f"{name or path}: PyTorch {torch.__version__} cannot read the program: {type(error).__name__}:"
                f" {telling_line(error)}"
            ) from error


def check_exported(path: Path, namespaces: Collection[str] = (), name: str | Path = "") -> None:
    """Checks that `load_exported` would accept a file.

    Raises:
        DataError: it would not.
    """
    with step_folder() as folder:
        _clean(path, folder / "program.pt2", name or path, namespaces)


def _clean(path: Path, clean: Path, name: str | Path, namespaces: Collection[str]) -> None:
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(clean, "w") as made:
            _Copy(archive, made).copy(namespaces)
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        raise DataError(f"{name} is no exported program, or is damaged: {error}") from error
    except DataError as error:
        raise DataError(f"{name} is refused: {error}") from None


class _Copy:
    """Copies the parts of an archive, checked, into another one."""

    def __init__(self, archive: zipfile.ZipFile, made: zipfile.ZipFile) -> None:
        self._archive, self._made = archive, made
        members = members_of(archive)
        roots = {name.partition("/")[0] for name in members}
        if len(roots) != 1 or not all("/" in name for name in members):
            raise DataError("it is no archive of PyTorch's: its members are not all in one folder")
        self._members = {name.partition("/")[2]: info for name, info in members.items()}

    def copy(self, namespaces: Collection[str]) -> None:
        """Copies what belongs to a program with one model.

        Raises:
            DataError: a part is missing, damaged, unknown, or would be executed.
        """
        self._check_marks()
        known = {_PROGRAM, _SAMPLE}
        program = cleaned_program(self._read(_PROGRAM, _MOST_JSON_BYTES), namespaces)
        for what in _FOLDERS:
            known |= self._copy_tensors(what)
        unknown = sorted(name for name in self._members.keys() - known if not name.startswith(_IGNORED))
        if unknown:
            raise DataError(
                f"it has the part {unknown[0]!r}, which is not read: only exported programs are, and no compiled code"
            )
        sample = self._read(_SAMPLE, _MOST_SAMPLE_BYTES)
        self._write(_PROGRAM, program)
        self._write(_SAMPLE, repickled(sample, "its sample inputs", is_sample) if sample else b"")
        for name, text in (*_MARKS.items(), (".data/version", b"3\n")):
            self._write(name, text)

    def _check_marks(self) -> None:
        for name, text in _MARKS.items():
            if (found := self._read(name, 100).strip()) != text:
                raise DataError(f"its {name} is {found!r}, but {text!r} is read")

    def _copy_tensors(self, what: str) -> set[str]:
        """Copies the weights or constants; names of the parts."""
        folder = _FOLDERS[what]
        legacy, config = f"{folder}model.pt", f"{folder}model_{what}_config.json"
        if legacy in self._members:
            self._write(legacy, repickled(self._read(legacy, _MOST_SAMPLE_BYTES), f"its {what}", is_named_tensors))
            return {legacy}
        data = self._read(config, _MOST_JSON_BYTES)
        sizes = {
            name.removeprefix(folder): info.file_size for name, info in self._members.items() if name.startswith(folder)
        }
        files = check_config(data, what, sizes.get)
        for file, pickled in files.items():
            if pickled:
                self._write(
                    folder + file, repickled(self._read(folder + file, _MOST_SAMPLE_BYTES), f"its {what}", is_tensor)
                )
            else:
                self._copy_member(folder + file)
        self._write(config, data)
        return {config, *(folder + file for file in files)}

    def _read(self, name: str, most_bytes: int) -> bytes:
        if (info := self._members.get(name)) is None:
            raise DataError(f"it has no part {name!r}")
        if info.file_size > most_bytes:
            raise DataError(
                f"its part {name!r} is {info.file_size} bytes long, more than the {most_bytes} that are read"
            )
        return self._archive.read(info)

    def _copy_member(self, name: str) -> None:
        with (
            self._archive.open(self._members[name]) as source,
            self._made.open(f"program/{name}", "w", force_zip64=True) as target,
        ):
            while chunk := source.read(_CHUNK):
                target.write(chunk)

    def _write(self, name: str, data: bytes) -> None:
        self._made.writestr(f"program/{name}", data)
