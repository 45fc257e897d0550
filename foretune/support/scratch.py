"""Folders for a process's working files, which are gone at the latest when the next one is made: also after `kill
-9`.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
import shutil
import signal
import tempfile
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_OWNER = ".owner"
_STEP = "foretune-step-"
_ENDING_SECS = 5.0  # killed processes are gone within milliseconds
_MAKER = re.compile(r"(\d+)-[a-z0-9_]{8}(\.tmp)?$")  # the process, in a folder's name
_LONE_SECS = 3600.0  # a folder without an owner's file is being made, or is of another release


class ScratchFolder:
    """A new folder, removed by `close`, or when nothing refers to it any more.

    It holds a lock on a file in it. A folder of the same prefix and user whose lock nobody holds was left by a process
    that was killed: it is removed when another is made, and what still runs from it is ended.

    Args:
        prefix, suffix: of its name.
        where: the folder that it is made in; by default the system's one for temporary files.
    """

    def __init__(self, prefix: str, suffix: str = "", where: Path | None = None) -> None:
        where = Path(tempfile.gettempdir()) if where is None else where
        sweep(prefix, suffix, where)
        self.path = Path(tempfile.mkdtemp(suffix, f"{prefix}{os.getpid()}-", where))
        made = self.path / f"{_OWNER}.new"
        self._lock = open(made, "w")  # noqa: SIM115 - held until close
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        made.rename(self.path / _OWNER)  # nobody finds it without its lock
        self._removal = weakref.finalize(self, _remove, self.path, self._lock)

    def close(self) -> None:
        """Removes the folder; safe to call twice."""
        self._removal()

    def __enter__(self) -> ScratchFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _remove(folder: Path, lock: IO[str]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.close()


@contextlib.contextmanager
def step_folder() -> Iterator[Path]:
    """A folder for the files of one step of a larger work."""
    with ScratchFolder(_STEP) as scratch:
        yield scratch.path


def sweep(prefix: str, suffix: str, where: Path) -> None:
    """Removes the folders of such names that processes of this user have left, and ends what runs from them."""
    for folder in where.glob(f"{glob.escape(prefix)}*{glob.escape(suffix)}"):
        with contextlib.suppress(OSError):
            if folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid() and _is_left(folder):
                _end_those_in(folder.resolve())
                shutil.rmtree(folder, ignore_errors=True)


def _is_left(folder: Path) -> bool:
    try:
        with open(folder / _OWNER) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:  # killed before it had a lock, or not there yet
        maker = _MAKER.search(folder.name)
        if maker and not Path("/proc", maker[1]).exists():
            return True
        return time.time() - folder.stat().st_mtime > _LONE_SECS
    except BlockingIOError:
        return False


def _end_those_in(folder: Path) -> None:
    """Ends the processes whose program or working folder lies in a folder, and waits until they are gone."""
    deadline = time.monotonic() + _ENDING_SECS
    while (running := _those_in(folder)) and time.monotonic() < deadline:
        for process in running:
            with contextlib.suppress(OSError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)


def _those_in(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            places = [os.readlink(process / link).removesuffix(" (deleted)") for link in ("exe", "cwd")]
            if any(Path(place).is_relative_to(folder) for place in places):
                found.append(int(process.name))
    return found
