"""Engines in processes of their own that are timed in turns, as the benchmarks of whole models need them."""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping

from foretune.compiler.workloads.engine import Compiled, CompileModels, TimeCalls
from foretune.errors import WorkerError
from foretune.workers.process import WorkerProcess

ENGINE = "foretune.compiler.workloads.engine"
TIMEOUT_SECS = 3600.0
PAUSE_SECS = 0.05
_CACHE = "TORCHINDUCTOR_CACHE_DIR"


@contextlib.contextmanager
def started(module: str, hello: CompileModels) -> Iterator[WorkerProcess[Compiled]]:
    """A process that has compiled its models.

    Args:
        module: of the process, or the path of a script.
        hello: what to compile.

    Raises:
        WorkerError: it failed.
    """
    process = WorkerProcess(module, hello, TIMEOUT_SECS)
    try:
        process.start()
        yield process
    finally:
        process.close()


def time_in_turns(
    processes: Mapping[str, WorkerProcess[Compiled]], model: str, rounds: int, burst_secs: float
) -> dict[str, list[float]]:
    """Name of a process -> median milliseconds of a call in each of its bursts.

    Args:
        processes: which have compiled the model.
        model: name of it.
        rounds: bursts of each process.
        burst_secs: length of a burst.

    Raises:
        WorkerError: a call failed.
    """
    times: dict[str, list[float]] = {name: [] for name in processes}
    for _ in range(rounds):
        for name, process in processes.items():
            time.sleep(PAUSE_SECS)
            reply = process.request(TimeCalls(model, burst_secs), TIMEOUT_SECS)
            if reply.status != "ok":
                raise WorkerError(f"{model} cannot be timed with {name}: {reply.error}")
            times[name].append(statistics.median(reply.run_ms))
    return times


@contextlib.contextmanager
def own_inductor_cache(stack: contextlib.ExitStack) -> Iterator[None]:
    """Processes that start meanwhile have an empty cache of Inductor's, which the stack removes."""
    kept = os.environ.get(_CACHE)
    os.environ[_CACHE] = stack.enter_context(tempfile.TemporaryDirectory())
    try:
        yield
    finally:
        os.environ.pop(_CACHE)
        if kept is not None:
            os.environ[_CACHE] = kept
