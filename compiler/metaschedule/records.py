"""MetaSchedule's programs, traces and results as Foretune's tasks, traces and records."""

from __future__ import annotations

import math
import time

from foretune.compiler.tir import traces
from foretune.compiler.tir._tvm import meta_schedule, tvm
from foretune.compiler.tir.target import target_from_tvm
from foretune.compiler.tir.workload import task_from_module
from foretune.datasets.records.families import family_of
from foretune.record import MeasureRecord, Status
from foretune.target import HardwareFeatures
from foretune.task import Candidate, Task
from foretune.trace import Trace

_LOOK_UPS = frozenset({"GetSBlock", "GetLoops", "GetChildBlocks", "GetProducers", "GetConsumers", "GetOutputBlocks"})


def task_of(mod: tvm.IRModule, target: tvm.target.Target, name: str, hardware: HardwareFeatures | None = None) -> Task:
    """The task of a tuning context.

    Args:
        mod, target, name: of the context.
        hardware: of the device; see `target_from_tvm`.

    Raises:
        UnsupportedError: the program's structure cannot be read.
    """
    return task_from_module(mod, target_from_tvm(target, hardware), name, family_of(name))


def trace_of(trace: tvm.s_tir.schedule.Trace) -> Trace:
    """A TVM trace without its post-processing; one that only looks things up is the default schedule, the empty trace.

    Raises:
        IllegalActionError: an action has arguments that are not plain data.
    """
    found = traces.from_tvm(trace)
    return Trace(()) if all(action.op in _LOOK_UPS for action in found.actions) else found


def default_schedule(mod: tvm.IRModule) -> tvm.s_tir.Schedule:
    """The unscheduled program as a schedule.

    It looks up the root block, because TVM's databases drop records whose traces have no instruction at all.
    """
    schedule = traces.unscheduled(mod)
    name, function = traces.function_of(mod)
    schedule.get_sblock(traces.root_block(function).name_hint, func_name=name.name_hint)
    return schedule


def record_of(candidate: Candidate, result: meta_schedule.runner.RunnerResult, program_hash: str = "") -> MeasureRecord:
    """The record of a candidate that MetaSchedule has built and run."""
    error = str(result.error_msg) if result.error_msg is not None else ""
    secs = tuple(float(s) for s in result.run_secs or ())
    if not error and not (secs and all(0 < s < math.inf for s in secs)):
        error = f"the runner gave no usable run times: {secs}"
    status, secs = (status_of(error), ()) if error else (Status.OK, secs)
    return MeasureRecord(candidate, status, secs, error, program_hash, settings=None, timestamp=time.time())


def status_of(error: str) -> Status:
    """How a candidate failed, by the words of TVM's builders and runners, or of Foretune's."""
    for status in Status:
        if error.startswith(f"{status.value}: "):
            return status
    who, _, what = error.partition(": ")
    timeout = what.startswith("Timeout")
    if who.endswith("Builder"):
        return Status.BUILD_TIMEOUT if timeout else Status.BUILD_ERROR
    return Status.RUN_TIMEOUT if timeout else Status.RUN_ERROR
