"""Work that a thread does while the caller does something else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from foretune.compiler.pytorch.background import Switch, keep_on
from foretune.errors import UnsupportedError

_FEWEST_SECS, _SHARE = 20.0, 2.0  # that are waited for it, and of the time that the caller's work took


class Beside:
    """Makes something that is called later, with its slow parts in a thread.

    The caller's own part runs first, and puts off what may be done in the thread; then the thread starts.

    Args:
        make: the caller's part; it is given this object, to put something off.

    Raises:
        Exception: whatever `make` raises.
    """

    def __init__(self, make: Callable[[Beside], Callable]) -> None:
        self._jobs: list[tuple[Switch, Callable[[], Callable]]] = []
        self._error: Exception | None = None
        self._is_over = threading.Event()
        self._is_open = True
        self._made = make(self)
        self._is_open = False
        self._begin()

    def _begin(self) -> None:
        self._start = time.perf_counter()
        self._thread = threading.Thread(target=self._work, name="foretune-beside", daemon=True)
        self._thread.start()

    def __call__(self, job: Callable[[], Callable]) -> Callable:
        """What calls the result of a job, once the thread has done it; what comes late is done at once."""
        if not self._is_open:
            return job()
        switch = Switch(_too_early)
        self._jobs.append((switch, job))
        return switch

    def go_on(self) -> None:
        """To be called between the steps of a job.

        Raises:
            UnsupportedError: nobody waits any more.
        """
        if self._is_over.is_set():
            raise UnsupportedError("it took too long")

    def _work(self) -> None:
        try:
            for switch, job in self._jobs:
                switch.run = job()
        except Exception as error:  # raised again where the result is wanted
            self._error = error
        self._jobs.clear()

    def result(self) -> Callable:
        """What was made, when the thread is done.

        Raises:
            UnsupportedError: it takes much longer than the caller's own work since the thread started.
            Exception: whatever a job raised.
        """
        most_secs = max(_FEWEST_SECS, _SHARE * (time.perf_counter() - self._start))
        self._thread.join(most_secs)
        if self._thread.is_alive():
            self._is_over.set()
            self._thread.join()
            secs = time.perf_counter() - self._start
            raise UnsupportedError(f"it was not done in {secs:.0f} s; with `trials` there is no such limit")
        if self._error is not None:
            raise self._error
        return self._made


class PutOff(Beside):
    """The same without a thread: the slow parts are done where the result is asked for, however long they take."""

    def _begin(self) -> None:
        """Nothing is begun."""

    def go_on(self) -> None:
        """To be called between the steps of a job; raises an exception when the process ends."""
        keep_on()

    def result(self) -> Callable:
        """What was made, with all jobs done.

        Raises:
            Exception: whatever a job raised.
        """
        self._work()
        if self._error is not None:
            raise self._error
        return self._made


def _too_early(*_: object) -> object:
    raise RuntimeError("it is called before it was made")
