"""One process of a user measures on a machine at a time."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from foretune.errors import WorkerError
from foretune.support.once import warn_once

_log = logging.getLogger(__name__)
_MOST_DIGITS = 12  # of a process's number

Waiting = Callable[[str], AbstractContextManager[Any]]
"""Entered, with the reason, while something is waited for."""


@contextlib.contextmanager
def measuring_lock(waiting: Waiting = contextlib.nullcontext) -> Iterator[None]:
    """Holds this user's measuring lock of this machine; waits for it if another process has it, and says so.

    Args:
        waiting: entered meanwhile.

    Raises:
        WorkerError: there can be no such lock in the user's cache folder.
    """
    path = _lock_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)  # a link could lead to any file
    except OSError as error:
        raise WorkerError(
            f"{path} must be a file that this user can write to, for the lock of measuring processes, but"
            f" {error.strerror}; remove what is in its place, or have HOME name a folder of this user's"
        ) from error
    with open(number, "r+", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            reason = f"waiting for {_holder(file)}, which measures on this machine"
            warn_once(_log, "%s; one process measures at a time", reason)
            with waiting(reason):
                fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield


def _lock_path() -> Path:
    """In the user's cache folder, for this machine: several may share a home folder."""
    machine = re.sub(r"[^A-Za-z0-9.-]", "_", platform.node())
    return Path.home() / ".cache" / "foretune" / f"measuring-{machine}.lock"


def _holder(file: IO[str]) -> str:
    number = file.read(_MOST_DIGITS)
    return f"process {number}" if number.isascii() and number.isdigit() else "another process"
