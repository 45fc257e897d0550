"""Quietness: whether other processes used the processor while something was timed.

What runs on the other core shares caches and memory, and on many machines the execution units too: the times of
kernels then differ by tens of percent, however often they are repeated.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

import psutil

_QUIET_CORES = 0.1  # that others may use
_CLOCK_TICKS_SECS = 0.05  # the kernel's counters move in steps of 10 ms
_POLL_SECS = 0.5


class Quietness:
    """Compares the processor time of the whole machine with that of some processes.

    Args:
        own: ids of processes that are meant to run.
    """

    def __init__(self, own: Sequence[int]) -> None:
        self._own = own
        self.begin()

    def begin(self) -> None:
        """Begins a span of time."""
        self._before = self._now()

    def is_disturbed(self) -> bool:
        """Whether others used the processor since `begin`."""
        (wall, busy, own), (wall0, busy0, own0) = self._now(), self._before
        others = (busy - busy0) - (own - own0)
        return others > _CLOCK_TICKS_SECS + _QUIET_CORES * (wall - wall0)

    def wait(self, limit_secs: float) -> bool:
        """Waits until others hardly use the processor; False if they still do after `limit_secs`."""
        deadline = time.monotonic() + limit_secs
        while time.monotonic() < deadline:
            self.begin()
            time.sleep(_POLL_SECS)
            if not self.is_disturbed():
                return True
        return False

    def _now(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user time already
        own = 0.0
        for pid in self._own:
            with contextlib.suppress(psutil.Error):
                spent = psutil.Process(pid).cpu_times()
                own += spent.user + spent.system
        return time.monotonic(), sum(times) - idle - guest, own
