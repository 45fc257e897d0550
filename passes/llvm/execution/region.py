"""The time of one function's calls in a run, as the code that is linked in has written it (`timing/region.c`)."""

from __future__ import annotations

import os
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = ".foretune-region"
_LAYOUT = struct.Struct("<5Q")  # magic, calls, nanoseconds, jumps, nanoseconds of one look at the clock
_MAGIC = 0x31676E6F69676572
_CLOCK_SHARE = 0.05  # of the time, from which on looking at the clock is told


@dataclass(frozen=True)
class Region:
    """What was counted.

    Attributes:
        secs: processor time of all calls.
        num_calls: those inside other calls left out.
        num_jumps: calls that `longjmp` left, whose end nobody saw.
        clock_secs: what looking at the clock adds to each call.
    """

    secs: float
    num_calls: int
    num_jumps: int = 0
    clock_secs: float = 0.0

    @property
    def is_slowed(self) -> bool:
        """Whether calls are so short that the clock is much of them."""
        return self.num_calls * self.clock_secs > _CLOCK_SHARE * self.secs


def take_region(folder: Path) -> Region | None:
    """Reads what was counted in a run and removes its file, which is none of the program's own; None if there is none.

    Args:
        folder: that the program ran in.
    """
    path = folder / FILE_NAME
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # the program may have put anything there
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        content = os.read(handle, _LAYOUT.size)
    finally:
        os.close(handle)
    path.unlink()
    if len(content) < _LAYOUT.size:
        return None
    magic, calls, nanoseconds, jumps, clock = _LAYOUT.unpack(content)
    return Region(1e-9 * nanoseconds, calls, jumps, 1e-9 * clock) if magic == _MAGIC else None


def why_untimed(region: Region | None, name: str) -> str:
    """Why the calls of a function have no time; empty where they have one.

    Args:
        region: what was counted.
        name: of the function.
    """
    if region is None:
        return f"the calls of {name} were not counted: the program does not begin, or removes {FILE_NAME}"
    if not region.num_calls:
        return f"{name} is never called in this run: choose a function or an input that is reached"
    if region.num_jumps:
        return f"{name} is left by longjmp, so that nobody sees it end: time the function that calls setjmp"
    return ""
