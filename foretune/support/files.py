"""Files that are either written whole or not at all, and their hashes."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from foretune.errors import DataError
from foretune.support.scratch import ScratchFolder, sweep

_TEMPORARY = ".tmp"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls `write` with a path in a temporary folder beside `path`, syncs the result and renames it into place.

    What processes that were killed meanwhile have left of such folders is removed.

    Args:
        path: where the file shall be; its folder is made if missing.
        write: writes the whole content to the path that it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with ScratchFolder(f".{path.name}.", _TEMPORARY, path.parent) as scratch:
            temporary = scratch.path / path.name
            write(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
    except BaseException as error:
        if not isinstance(error, OSError) and os.strerror(errno.ENOSPC) in str(error):  # libraries wrap it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


def remove_half_written(folder: Path) -> None:
    """Removes what processes that were killed have half written into a folder, whatever it was to become."""
    sweep(".", _TEMPORARY, folder)
    for path in folder.glob(f".*{_TEMPORARY}"):
        if path.is_file():  # of releases that wrote files without a folder
            path.unlink()


def check_writable(path: Path, is_folder: bool = False) -> None:
    """Checks, before any work, that its result can be written.

    Args:
        path: file that will be written, with its folder if missing; or, with `is_folder`, a folder for files.

    Raises:
        DataError: it cannot.
    """
    path = path.expanduser()
    if path.is_dir() != is_folder and path.exists():
        raise DataError(
            f"{path} is a {'file, but a folder' if is_folder else 'folder, but a file'} is to be written there; choose"
            " another name"
        )
    place = path if is_folder else path.parent
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise DataError(f"cannot write {path}: {place} is not a folder; choose another one")
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise DataError(f"cannot write {path}: {place}: {error.strerror}; choose another folder") from error


def write_text_atomically(path: Path, text: str) -> None:
    """Writes text to a file, whole or not at all."""
    write_atomically(path, lambda temporary: temporary.write_text(text))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
