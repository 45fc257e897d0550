"""What was measured, and what runs: conditions of a measurement for this process, and the winner of a comparison here.

A worker gives each thread of a kernel a core of its own (`measure/pinning.py`); a process that calls the kernel does
not, and may run it on another number of threads, so that schedules rank otherwise there. Either a call is made under
the conditions of the measurement (`as_measured`), or the best records are compared where they are used
(`fastest_in_use`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from foretune.compiler.measure.inputs import random_inputs, rel_error
from foretune.compiler.measure.pinning import ThreadPinning
from foretune.compiler.measure.timing import repeats
from foretune.compiler.tir._tvm import meta_schedule, set_num_threads, tvm
from foretune.errors import OptionError
from foretune.record import Status
from foretune.target import num_usable_cores
from foretune.tuning.paired import Comparison, ratio_of_medians
from foretune.tuning.trials import UNCERTAIN

_TURN_MS = 5.0
_TOLERANCE = 1e-2  # of the largest difference, relative to the largest output


@contextlib.contextmanager
def as_measured(num_threads: int | None = None) -> Iterator[None]:
    """Within the context TVM's kernels run as they do while Foretune measures them: on one pinned thread for each core.

    Other threads that this process starts meanwhile inherit the one core of the calling thread, so that it is for calls
    of kernels alone.

    Args:
        num_threads: of the kernels, as `Measurer` was told; all usable cores by default.
    """
    with _pinning(num_threads or num_usable_cores()).pinned():
        yield


@lru_cache(maxsize=1)
def _pinning(num_threads: int) -> ThreadPinning:
    return ThreadPinning(lambda: set_num_threads(num_threads))


@dataclass(frozen=True)
class InUse:
    """What to run.

    Attributes:
        executable: the fastest, compiled; its function is `main`.
        record: the tuning record that it is of; None if the default schedule stays.
        comparisons: of each record with the default schedule, the records fastest first as they were measured.
    """

    executable: Any
    record: meta_schedule.database.TuningRecord | None
    comparisons: tuple[Comparison, ...]


def fastest_in_use(
    mod: tvm.IRModule,
    target: tvm.target.Target,
    database: meta_schedule.database.Database,
    finalists: int = 3,
    turns: int = 15,
    conditions: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> InUse:
    """Compares the best records of a module with its default schedule in this process, as it runs kernels.

    All are run in turns on the same inputs. The default schedule stays unless a record gives the same outputs and is
    faster beyond a 95 % interval.

    Args:
        mod: with one function, `main`.
        target: of this machine.
        database: what `tune_tir` and the like returned.
        finalists: so many of its records.
        turns: runs of each.
        conditions: of each run, such as `as_measured`; by default those of this process.

    Raises:
        OptionError: a number is too small.
    """
    if finalists < 1 or turns < 3:
        raise OptionError(f"`finalists >= 1` and `turns >= 3` must hold, but got {finalists} and {turns}")
    records = database.get_top_k(database.commit_workload(mod), finalists) if database.has_workload(mod) else []
    executables = [tvm.compile(mod, target=target), *(_compiled(record, target) for record in records)]
    inputs = random_inputs(mod, seed=0)
    expected, *others = (_outputs(executable, inputs) for executable in executables)
    errors = [max(map(rel_error, expected, found), default=0.0) for found in others]
    with conditions():
        secs = _in_turns(executables, inputs, turns)
    comparisons = tuple(_compared(secs[0], own, error) for own, error in zip(secs[1:], errors))
    best, gain = 0, 1.0
    for i, found in enumerate(comparisons, 1):
        if found.status is Status.OK and found.interval[0] > UNCERTAIN and found.gain > gain:
            best, gain = i, found.gain
    return InUse(executables[best], records[best - 1] if best else None, comparisons)


def _compiled(record: meta_schedule.database.TuningRecord, target: tvm.target.Target) -> Any:
    schedule = tvm.s_tir.Schedule(record.workload.mod)
    record.trace.apply_to_schedule(schedule, remove_postproc=False)
    return tvm.compile(schedule.mod, target=target)


def _outputs(executable: Any, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    tensors = [tvm.runtime.tensor(a) for a in inputs]
    executable["main"](*tensors)
    return [tensor.numpy() for tensor in tensors]


def _in_turns(executables: Sequence[Any], inputs: Sequence[np.ndarray], turns: int) -> list[np.ndarray]:
    """Mean seconds of a run in each turn, for each executable."""
    tensors = [tvm.runtime.tensor(a) for a in inputs]
    functions = [executable["main"] for executable in executables]

    def milliseconds(function: Any, runs: int) -> float:
        start = time.perf_counter()
        for _ in range(runs):
            function(*tensors)
        return (time.perf_counter() - start) * 1e3 / runs

    numbers = [repeats(lambda runs, f=f: milliseconds(f, runs), 1, _TURN_MS)[0] for f in functions]
    rows = [[milliseconds(f, number) / 1e3 for f, number in zip(functions, numbers)] for _ in range(turns)]
    return list(np.array(rows).T)


def _compared(baseline: np.ndarray, own: np.ndarray, error: float) -> Comparison:
    if not error <= _TOLERANCE:
        return Comparison(Status.WRONG_OUTPUT, f"its output is off by {error:.2g} of the largest value")
    gain, interval = ratio_of_medians(baseline, own)
    return Comparison(
        Status.OK, "", gain, interval, float(np.median(baseline)), float(np.median(own)), float(own.min())
    )
