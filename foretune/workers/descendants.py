"""What a process has started, directly and through others, also after `setsid`: counted, measured and ended.

A subreaper inherits the orphans among its descendants, so that none gets away. Linux only; see prctl(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import time
from collections.abc import Sequence
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_PAUSE_SECS = 0.002


def become_subreaper() -> None:
    """Makes this process the parent of all its orphaned descendants.

    Raises:
        OSError: the system refuses.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def descendants() -> list[int]:
    """Ids of all processes that this one has started, directly and through others."""
    found, waiting = [], _children(os.getpid())
    while waiting:
        found += waiting
        waiting = [child for pid in waiting for child in _children(pid)]
    return found


def end_descendants(timeout_secs: float = 5.0) -> int:
    """Kills and reaps all descendants; this process must wait for none of them itself.

    They are stopped first, so that they start no others meanwhile.

    Returns:
        How many there were.
    """
    ended, deadline = 0, time.monotonic() + timeout_secs
    while time.monotonic() < deadline:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in descendants():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                ended += 1
        except ChildProcessError:
            return ended
        time.sleep(_PAUSE_SECS)
    return ended


def resident_bytes(pids: Sequence[int], limit: int) -> int:
    """Memory of some processes together; what they share is counted once where the plain sum exceeds `limit`."""
    total = sum(_statm(pid) for pid in pids)
    return total if total <= limit else sum(_proportional(pid) for pid in pids)


def _children(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    return found


def _statm(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _proportional(pid: int) -> int:
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(row.split()[1]) << 10 for row in rows if row.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0
