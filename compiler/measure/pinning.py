"""Pinning: while a kernel is timed, each of its threads has a core of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence


class ThreadPinning:
    """Pins the calling thread and a pool of threads, for as long as something is timed.

    Nothing is pinned if there are fewer usable cores than threads, or the system cannot pin.

    Args:
        start_pool: starts the pool's threads; those that the process has more of afterwards are taken to be the pool.
    """

    def __init__(self, start_pool: Callable[[], None]) -> None:
        before = _thread_ids()
        start_pool()
        self._threads = (os.getpid(), *sorted(_thread_ids() - before))  # the main thread has the process's id
        self._cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []

    @property
    def possible(self) -> bool:
        """Whether there is a core for each thread."""
        return len(self._threads) <= len(self._cores)

    @contextlib.contextmanager
    def pinned(self) -> Iterator[None]:
        """Pins the threads within the context, which the main thread must enter."""
        if not self.possible:
            yield
            return
        try:
            self._pin([[core] for core in self._cores])
            yield
        finally:
            self._pin([self._cores] * len(self._threads))

    def _pin(self, cores: Sequence[Sequence[int]]) -> None:
        with contextlib.suppress(OSError):  # the process's own cores were changed from outside
            for thread, allowed in zip(self._threads, cores):
                os.sched_setaffinity(thread, allowed)


def _thread_ids() -> set[int]:
    try:
        return {int(name) for name in os.listdir("/proc/self/task")}
    except OSError:
        return set()
