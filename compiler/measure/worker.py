"""The process that builds and runs candidates: `python -m foretune.compiler.measure.worker`.

It answers the requests of `messages.py`. Whatever a candidate does to it (crash, hang, exhaust memory), only this
process is lost; the parent (`measurer.py`) starts another, and turns silence into a timeout and death into an error.

PyTorch is kept out of the process on purpose: it triples the start-up time and its thread pool would
compete with the kernels that are timed.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import replace
from typing import Any

sys.modules["torch"] = None  # type: ignore[assignment]  # tvm_ffi imports torch if it can

import numpy as np  # noqa: E402

from foretune.compiler.measure import machine_code, remote  # noqa: E402
from foretune.compiler.measure.inputs import random_inputs, rel_error  # noqa: E402
from foretune.compiler.measure.messages import (  # noqa: E402
    Build,
    Built,
    Check,
    Checked,
    Connect,
    Connected,
    Disconnect,
    Drop,
    Look,
    Looked,
    Run,
    RunRemotely,
    Start,
    Started,
    Timed,
)
from foretune.compiler.measure.pinning import ThreadPinning  # noqa: E402
from foretune.compiler.measure.timing import repeats  # noqa: E402
from foretune.compiler.tir import traces  # noqa: E402
from foretune.compiler.tir._tvm import set_num_threads, tvm  # noqa: E402
from foretune.compiler.tir.space import ScheduleContext  # noqa: E402
from foretune.compiler.tir.target import architecture, tvm_target  # noqa: E402
from foretune.compiler.tir.workload import module_from_program, module_hash  # noqa: E402
from foretune.costmodel.machine_code.counters import counters  # noqa: E402
from foretune.errors import IllegalActionError, WorkerError  # noqa: E402
from foretune.support.cache import RecentCache  # noqa: E402
from foretune.support.text import telling_line  # noqa: E402
from foretune.target import Target  # noqa: E402
from foretune.trace import Trace  # noqa: E402
from foretune.workers.messages import Reply  # noqa: E402
from foretune.workers.serve import Handlers, Service, serve  # noqa: E402

_CACHED_PROGRAMS = 8


class _Rejected(IllegalActionError):
    def __init__(self, canonical: Trace) -> None:
        super().__init__("a post-processor rejects the schedule")
        self.canonical = canonical


class _Worker:
    def __init__(self, pinning: ThreadPinning) -> None:
        self.pinning = pinning
        self.session: remote.Session | None = None
        self.contexts: RecentCache[ScheduleContext] = RecentCache(_CACHED_PROGRAMS)
        self.inputs: RecentCache[list[np.ndarray]] = RecentCache(_CACHED_PROGRAMS)
        self.built: dict[int, Any] = {}

    @property
    def handlers(self) -> Handlers:
        """What answers each kind of request."""
        return {
            Build: self.build, Run: self.run, Check: self.check, Drop: self.drop, Look: self.look,
            Connect: self.connect, Disconnect: self.disconnect, RunRemotely: self.run_remotely,
        }  # fmt: skip

    def build(self, request: Build) -> Built:
        """Replays, post-processes and compiles one candidate and keeps it under its id."""
        target = Target.from_dict(request.target)
        try:
            context, schedule, canonical = self._scheduled(request)
        except _Rejected as error:
            return Built("illegal", str(error), error.canonical.to_json())
        except IllegalActionError as error:
            return Built("illegal", str(error))
        reply = Built(trace=canonical.to_json(), program_hash=module_hash(schedule.mod))
        if request.features:
            reply = replace(reply, features=context.store_features(schedule))
        start = time.perf_counter()
        try:
            executable = tvm.compile(schedule.mod, target=tvm_target(target))
            if request.library:  # a foreign device links for itself
                suffix = ".so" if architecture(target) == architecture() else ".tar"
                reply = replace(reply, library=request.library + suffix)
                executable.export_library(reply.library)
            else:
                self.built[request.id] = (executable, executable["main"])  # the look-up generates the machine code
        except Exception as error:  # the worker boundary: any compiler failure is the candidate's status
            return replace(reply, status="build_error", error=f"{type(error).__name__}: {telling_line(error)}")
        return replace(reply, build_secs=time.perf_counter() - start)

    def look(self, request: Look) -> Looked:
        """Compiles one candidate and reads its machine code; nothing is kept, loaded or run."""
        target = Target.from_dict(request.target)
        try:
            _, schedule, _ = self._scheduled(request)
        except IllegalActionError as error:
            return Looked("illegal", str(error))
        reply = Looked(program_hash=module_hash(schedule.mod))
        start = time.perf_counter()
        try:
            text = machine_code.listing(schedule.mod, target)
            reply = replace(reply, build_secs=time.perf_counter() - start)
            found = tuple(counters(text).tolist())
            cycles = machine_code.mca_cycles(text, request.mca, target) if request.mca else None
        except Exception as error:  # the worker boundary: any compiler failure is the candidate's status
            return replace(reply, status="build_error", error=f"{type(error).__name__}: {telling_line(error)}")
        return replace(reply, counters=found, mca_cycles=cycles)

    def run(self, request: Run) -> Timed:
        """Times a built candidate here."""
        executable, function = self.built[request.id]
        arguments = [tvm.runtime.tensor(a) for a in self._inputs(request.workload, request.program)]
        try:
            with self.pinning.pinned():
                secs = _time(executable, function, arguments, request.repeat, request.min_repeat_ms)
        except Exception as error:  # the worker boundary
            return Timed("run_error", f"{type(error).__name__}: {telling_line(error)}")
        return Timed(run_secs=tuple(secs))

    def connect(self, request: Connect) -> Connected:
        """Waits for a remote device that is free, for the next candidate."""
        self.session = None
        device = remote.Device(request.host, request.port, request.key)
        self.session = remote.Session(device, request.session_secs)
        return Connected(num_threads=self.session.num_threads)

    def disconnect(self, request: Disconnect) -> Reply:
        """Gives the remote device back."""
        self.session = None
        return Reply()

    def run_remotely(self, request: RunRemotely) -> Timed:
        """Times an exported library on the connected device."""
        try:
            inputs = self._inputs(request.workload, request.program)
            return self._connected().time(request.library, inputs, request.repeat, request.min_repeat_ms)
        finally:
            self.session = None

    def check(self, request: Check) -> Checked:
        """Compares a built candidate with the unscheduled program on the same random inputs; an exported one runs on
        the connected device.
        """
        mod = module_from_program(request.program)
        inputs = random_inputs(mod, seed=request.seed)

        def run(function: Any) -> list[np.ndarray]:
            arrays = [tvm.runtime.tensor(a) for a in inputs]
            function(*arrays)
            return [a.numpy() for a in arrays]

        if request.library:
            session, self.session = self._connected(), None
            done = session.run(request.library, inputs)
            if done.status != "ok":
                return Checked(done.status, done.error)
            actual = done.arrays
            expected = run(
                tvm.compile(mod, target=tvm.target.Target({"kind": "llvm"}))["main"]
            )  # the device's code cannot run here
        else:
            actual = run(self.built[request.id][1])
            expected = run(tvm.compile(mod, target=tvm_target(Target.from_dict(request.target)))["main"])
        return Checked(max_rel_error=max((rel_error(e, a) for e, a in zip(expected, actual)), default=0.0))

    def drop(self, request: Drop) -> Reply:
        """Forgets built candidates."""
        for key in request.ids:
            self.built.pop(key, None)
        return Reply()

    def _connected(self) -> remote.Session:
        if self.session is None:
            raise WorkerError("no device is connected: a `Connect` must come first")
        return self.session

    def _scheduled(self, request: Build | Look) -> tuple[ScheduleContext, tvm.s_tir.Schedule, Trace]:
        """Replays and post-processes a trace; the last is the trace as TVM understood it.

        Raises:
            IllegalActionError: TVM refuses an action; a `_Rejected` where a post-processor rejects the schedule.
        """
        context = self._context(request.workload, request.program, Target.from_dict(request.target))
        trace = Trace.from_json(request.trace)
        schedule = traces.replay(context.mod, trace, request.seed)
        canonical = traces.from_tvm(traces.tvm_trace(schedule))
        if len(trace) and not context.post_process(schedule):
            raise _Rejected(canonical)
        return context, schedule, canonical

    def _context(self, workload: str, program: str, target: Target) -> ScheduleContext:
        return self.contexts.get((workload, target.key), lambda: ScheduleContext(module_from_program(program), target))

    def _inputs(self, workload: str, program: str) -> list[np.ndarray]:
        return self.inputs.get(workload, lambda: random_inputs(module_from_program(program), 0))


def _time(executable, function, arguments, repeat: int, min_repeat_ms: float) -> list[float]:
    """Mean seconds of one run for each repeat."""

    def milliseconds(runs: int) -> float:
        start = time.perf_counter()
        for _ in range(runs):
            function(*arguments)
        return (time.perf_counter() - start) * 1e3 / runs

    number, repeat = repeats(milliseconds, repeat, min_repeat_ms)
    module = getattr(executable, "mod", executable)
    timer = module.time_evaluator("main", tvm.cpu(), number=number, repeat=repeat)
    return [float(t) for t in timer(*arguments).results]


def start(hello: Start) -> Service:
    """The worker, within its limits."""
    resource.setrlimit(resource.RLIMIT_AS, (hello.memory_bytes, hello.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    worker = _Worker(ThreadPinning(lambda: set_num_threads(hello.num_threads)))
    return Service(Started(tvm=tvm.__version__), worker.handlers, hello.alarm_secs)


if __name__ == "__main__":
    serve({Start: start})
