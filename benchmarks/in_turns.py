"""Engines in processes of their own that are timed in turns, as the benchmarks of whole models need them."""

from __future__ import annotations

import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from foretune.compiler.measure.quietness import Quietness
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


def compile_and_time(
    hellos: Mapping[str, CompileModels], child: str, model: str, rounds: int, burst_secs: float, quiet_secs: float
) -> tuple[dict[str, Any], dict[str, tuple[dict[str, Any], ...]]]:
    """A model compiled by each engine alone, none of which finds what others compiled; then timed in turns.

    Args:
        hellos: engine -> what its process is asked to compile.
        child: path of the processes' script.
        model: name of the model.
        rounds: bursts of each process.
        burst_secs: length of a burst.
        quiet_secs: how long to wait for other processes to end.

    Returns:
        (`engines`: what each took, or its `error`; `was_quiet`), and engine -> what Foretune's backend did there.
    """
    engines: dict[str, dict[str, Any]] = {}
    reports: dict[str, tuple[dict[str, Any], ...]] = {}
    with contextlib.ExitStack() as stack:
        processes: dict[str, WorkerProcess[Compiled]] = {}
        for engine, hello in hellos.items():
            try:
                with own_inductor_cache(stack):
                    processes[engine] = stack.enter_context(started(child, hello))
            except WorkerError as error:
                engines[engine] = {"error": str(error)}
                continue
            welcome = processes[engine].welcome
            engines[engine] = {**asdict(welcome.made[model]), "peak_bytes": welcome.peak_bytes}
            reports[engine] = welcome.reports
        quiet = Quietness([os.getpid(), *(process.pid for process in processes.values() if process.pid)])
        was_quiet = quiet.wait(quiet_secs)
        quiet.begin()
        times = time_in_turns(processes, model, rounds, burst_secs)
        was_quiet = was_quiet and not quiet.is_disturbed()
    for engine, values in times.items():
        engines[engine] |= {"ms": statistics.median(values), "min_ms": min(values)}
    return {"engines": engines, "was_quiet": was_quiet}, reports


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
