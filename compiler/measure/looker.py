"""Looker: compiles candidates in worker processes and reads their machine code; nothing is run.

A look costs about a sixth of a second of one core and needs neither quiet nor the machine that the code is for. It is
the rung between a model that ranks and a clock that measures.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from queue import Empty, SimpleQueue

import numpy as np

from foretune.compiler.measure.messages import Look, Looked, Start, Started
from foretune.errors import OptionError
from foretune.record import MeasureSettings, Status
from foretune.target import num_usable_cores
from foretune.task import Candidate
from foretune.workers.pool import WorkerPool
from foretune.workers.process import Death, Silence, WorkerProcess

_REPLAY_SEED = 1
_ALARM_GRACE_SECS = 30
_IDLE_SECS = 30.0


@dataclass(frozen=True)
class LookSettings:
    """Limits of a look.

    Attributes:
        timeout_secs: of one candidate; what takes longer unrolls too much, and is not fast.
        memory_bytes: address space of a worker process.
        mca: path of llvm-mca, if its cycles are wanted, too.
    """

    timeout_secs: float = MeasureSettings.build_timeout_sec
    memory_bytes: int = MeasureSettings.memory_bytes
    mca: str = ""

    def __post_init__(self) -> None:
        if self.timeout_secs <= 0 or self.memory_bytes <= 0:
            raise OptionError(
                f"`timeout_secs > 0` and `memory_bytes > 0` must hold, but got {self.timeout_secs} and"
                f" {self.memory_bytes}"
            )


@dataclass(frozen=True)
class CodeLook:
    """What the machine code of a candidate looks like.

    Attributes:
        status: ok, or how the compilation failed.
        error: the tool's own words, if it did.
        counters: [C] float32, by `foretune.costmodel.machine_code.counters.NAMES`; None if it failed.
        program_hash: of the scheduled program, where it came so far.
        mca_cycles: llvm-mca's, for each element that arithmetic is done on; None where it was not asked.
        build_secs: seconds of compiling alone.
    """

    status: Status
    error: str = ""
    counters: np.ndarray | None = None
    program_hash: str = ""
    mca_cycles: float | None = None
    build_secs: float = 0.0


class Looker:
    """Looks at candidates in the order in which they are given, in some worker processes.

    Args:
        settings: limits.
        num_workers: processes; one for each usable core by default.
        idle_secs: the processes end when nothing was asked for so long, and start again when something is; None keeps
            them.
    """

    def __init__(
        self,
        settings: LookSettings = LookSettings(),
        num_workers: int | None = None,
        idle_secs: float | None = None,
    ) -> None:
        self._settings, self._idle_secs = settings, idle_secs
        self._idle_timer: threading.Timer | None = None
        self._lock, self._pid = threading.Lock(), os.getpid()
        count = num_workers or num_usable_cores()
        hello = Start(1, settings.memory_bytes, int(settings.timeout_secs) + _ALARM_GRACE_SECS)
        self._workers: WorkerPool[Started] = WorkerPool(
            lambda: WorkerProcess("foretune.compiler.measure.worker", hello), count
        )
        self._idle: SimpleQueue[WorkerProcess[Started]] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="look")

    def __enter__(self) -> Looker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Has the processes start, which takes a second or two, while the caller does something else."""
        for _ in self._workers:
            self._threads.submit(self._start_one)

    def submit(self, candidate: Candidate) -> Future[CodeLook]:
        """Looks at a candidate as soon as a process is free. The future raises `WorkerError` where no process can be
        started.
        """
        return self._threads.submit(self._look, candidate)

    def look(self, candidates: Sequence[Candidate]) -> list[CodeLook]:
        """Looks at candidates; one result for each, in order.

        Raises:
            WorkerError: no process can be started.
        """
        return [future.result() for future in [self.submit(candidate) for candidate in candidates]]

    def close(self) -> None:
        """Ends the processes; what was not looked at by then is cancelled. Safe to call twice."""
        if os.getpid() != self._pid:  # a forked child, whose parent still needs them
            return
        self._idle_secs = None
        self._put_off_end()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._workers.kill()
        self._threads.shutdown()
        self._workers.close()

    def _put_off_end(self) -> None:
        """Winds the clock that ends idle processes up again."""
        with self._lock:
            if self._idle_timer is not None:
                self._idle_timer.cancel()
                self._idle_timer = None
            if self._idle_secs is not None:
                self._idle_timer = threading.Timer(self._idle_secs, self._end_idle)
                self._idle_timer.daemon = True
                self._idle_timer.start()

    def _end_idle(self) -> None:
        """Ends the processes that have nothing to do; those that have wind the clock up when they are done."""
        with contextlib.suppress(Empty):
            for _ in self._workers:
                worker = self._idle.get_nowait()
                worker.close()
                self._idle.put(worker)

    def _start_one(self) -> None:
        worker = self._idle.get()
        try:
            worker.start()
        finally:
            self._idle.put(worker)
            self._put_off_end()

    def _look(self, candidate: Candidate) -> CodeLook:
        task = candidate.task
        request = Look(
            task.workload.hash,
            task.workload.program,
            task.target.to_dict(),
            candidate.trace.to_json(),
            _REPLAY_SEED,
            self._settings.mca,
        )
        worker = self._idle.get()
        try:
            reply = worker.request(request, self._settings.timeout_secs)
        except Silence as error:
            reply = Looked(Status.BUILD_TIMEOUT.value, str(error))
        except Death as error:
            reply = Looked(Status.BUILD_ERROR.value, str(error))
        finally:
            self._idle.put(worker)
            self._put_off_end()
        status = Status.BUILD_ERROR if reply.status == "error" else Status(reply.status)
        found = np.array(reply.counters, np.float32) if status is Status.OK else None
        return CodeLook(status, reply.error, found, reply.program_hash, reply.mca_cycles, reply.build_secs)


def shared_looker() -> Looker:
    """The one of this process, whose workers serve all graphs and end by themselves when they are idle."""
    return _looker_of(os.getpid())


@cache
def _looker_of(pid: int) -> Looker:
    """A process that was forked has none of its parent's threads, and gets a looker of its own."""
    looker = Looker(idle_secs=_IDLE_SECS)
    atexit.register(looker.close)
    return looker
