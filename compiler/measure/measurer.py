"""Measurer: builds and runs candidates in worker processes; each ends in a MeasureRecord.

Candidates of a batch are built in parallel, one worker for each core, and then run one at a time,
so that nothing disturbs the clock. A file lock keeps other measuring processes of this user on this
machine out of the running phase too. Remote devices are as many as there are: each worker times what it
has built on the next free one.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import platform
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foretune.compiler.measure.lock import Waiting, measuring_lock
from foretune.compiler.measure.messages import (
    Build,
    Check,
    Checked,
    Connect,
    Connected,
    Disconnect,
    Drop,
    Run,
    RunRemotely,
    Start,
    Started,
)
from foretune.compiler.measure.quietness import Quietness
from foretune.compiler.measure.remote import Device
from foretune.errors import WorkerError
from foretune.record import MeasureRecord, MeasureSettings, Status
from foretune.support.scratch import ScratchFolder
from foretune.target import num_usable_cores
from foretune.task import Candidate
from foretune.trace import Trace
from foretune.workers.messages import R, Reply, Request, reply_type
from foretune.workers.pool import WorkerPool
from foretune.workers.process import Death, Silence, WorkerProcess

_REPLAY_SEED = 1
_SESSION_GRACE_SECS = 5.0
_QUIET_ATTEMPTS = 3
_SECS_BETWEEN_NOTICES = 300.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measurement:
    """A record with the static observations made on the way.

    Attributes:
        record: the outcome.
        store_features: MetaSchedule's features of the final program, a row for each store; empty if not asked for.
        build_secs: seconds of compiling alone.
    """

    record: MeasureRecord
    store_features: tuple[tuple[float, ...], ...] = ()
    build_secs: float = 0.0


class Measurer:
    """Builds candidates on this machine, and runs them here or on remote devices.

    Args:
        settings: repeats and limits.
        num_threads: threads of the measured kernels; all usable cores by default.
        num_workers: processes that build in parallel; one for each usable core by default.
        store_features: whether to extract static features of each final program.
        device: where candidates run; this machine, if None.
        device_wait_secs: how long to wait for a device that is free.
        quiet_wait_secs: if other processes disturbed a batch, how long to wait for quiet before it is timed again; 0
            takes times as they come.
        waiting: entered, with the reason, while another process measures on this machine.
    """

    def __init__(
        self,
        settings: MeasureSettings = MeasureSettings(),
        num_threads: int | None = None,
        num_workers: int | None = None,
        store_features: bool = False,
        device: Device | None = None,
        device_wait_secs: float = 60.0,
        quiet_wait_secs: float = 0.0,
        waiting: Waiting = contextlib.nullcontext,
    ) -> None:
        self.settings, self._waiting = settings, waiting
        self._store_features = store_features
        self._device, self._device_wait_secs = device, device_wait_secs
        self._library_folder = ScratchFolder("foretune-libraries-") if device is not None else None
        self._interrupted = False
        threads = num_threads or num_usable_cores()
        alarm_secs = 30 + int(2 * (settings.build_timeout_sec + settings.run_timeout_sec) + device_wait_secs)
        hello = Start(threads, settings.memory_bytes, alarm_secs)
        self._workers = WorkerPool(
            lambda: WorkerProcess("foretune.compiler.measure.worker", hello), num_workers or num_usable_cores()
        )
        self._quiet_wait_secs, self._next_notice = quiet_wait_secs, 0.0
        self._ids = itertools.count()
        self._environment: tuple[tuple[str, str], ...] = ()

    def __enter__(self) -> Measurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the worker processes."""
        self._workers.close()
        if self._library_folder is not None:
            self._library_folder.close()

    def interrupt(self) -> None:
        """Makes what other threads measure end in a WorkerError, soon and for good."""
        self._interrupted = True
        self._workers.kill()

    def num_device_threads(self) -> int:
        """Threads that a kernel gets on the remote device.

        Raises:
            WorkerError: no device is free in time.
        """
        threads = self._connect(self._workers[0])
        self._quietly(self._workers[0], Disconnect())
        return threads

    def measure(self, candidates: Sequence[Candidate]) -> list[MeasureRecord]:
        """Measures candidates; one record for each, in order."""
        return [m.record for m in self.measure_all(candidates)]

    def measure_all(self, candidates: Sequence[Candidate]) -> list[Measurement]:
        """Measures candidates, with static observations; one result for each, in order."""
        jobs = [_Job(next(self._ids), candidate, self._workers[0]) for candidate in candidates]
        self._workers.map(self._build_in, jobs)
        if self._device is None:
            with measuring_lock(self._waiting):
                self._run_quietly(jobs)
        else:
            self._workers.each(lambda worker: self._run_built([job for job in jobs if job.worker is worker]))
        for worker in self._workers:
            if ids := tuple(job.id for job in jobs if job.worker is worker):
                self._quietly(worker, Drop(ids))
        for job in jobs:
            if job.library:
                Path(job.library).unlink(missing_ok=True)
        return [self._finish(job) for job in jobs]

    def max_rel_error(self, candidate: Candidate, seed: int = 0) -> float:
        """Largest difference from the unscheduled program, relative to its largest output; infinite if it fails.

        Raises:
            WorkerError: no remote device is free in time, or two were lost.
        """
        job = _Job(next(self._ids), candidate, self._workers[0])
        self._build(job)
        if job.status is not Status.OK:
            return float("inf")
        task = candidate.task
        request = Check(job.id, task.workload.program, task.target.to_dict(), seed, job.library)
        timeout_secs = self.settings.build_timeout_sec + self.settings.run_timeout_sec
        try:
            reply = (
                job.worker.request(request, timeout_secs)
                if self._device is None
                else self._check_on_device(job, request, timeout_secs)
            )
        except (Silence, Death):
            return float("inf")
        finally:
            if job.library:
                Path(job.library).unlink(missing_ok=True)
        self._quietly(job.worker, Drop((job.id,)))
        return reply.max_rel_error

    def _check_on_device(self, job: _Job, request: Check, timeout_secs: float) -> Checked:
        """Checks an exported candidate; if the device is lost on the way, once more on the next one that is free."""
        reply = Checked()
        for _ in range(2):
            self._connect(job.worker)
            reply = job.worker.request(request, timeout_secs)
            if reply.status != "lost":
                return reply
        raise WorkerError(f"two devices {self._device} were lost while a schedule was checked ({reply.error})")

    def _build_in(self, worker: WorkerProcess[Started], job: _Job) -> None:
        job.worker = worker
        self._check_interrupted()
        self._build(job)

    def _build(self, job: _Job) -> None:
        task = job.candidate.task
        library = f"{self._library_folder.path}/{uuid.uuid4().hex}" if self._library_folder is not None else ""
        request = Build(
            job.id,
            task.workload.hash,
            task.workload.program,
            task.target.to_dict(),
            job.candidate.trace.to_json(),
            _REPLAY_SEED,
            self._store_features,
            library,
        )
        reply = self._ask(job, request, self.settings.build_timeout_sec, Status.BUILD_TIMEOUT, Status.BUILD_ERROR)
        job.generation = job.worker.generation
        job.program_hash, job.library = reply.program_hash, reply.library
        job.features, job.build_secs = reply.features, reply.build_secs
        if reply.trace is not None:
            job.trace = Trace.from_json(reply.trace)

    def _run_quietly(self, jobs: Sequence[_Job]) -> None:
        """Times a batch, and again what others disturbed; of several times of a candidate the fastest stay."""
        for _ in range(_QUIET_ATTEMPTS if self._quiet_wait_secs else 1):
            quietness = Quietness([os.getpid(), *(worker.pid for worker in self._workers if worker.pid is not None)])
            earlier = [job.run_secs for job in jobs]
            self._run_built(jobs)
            for job, before in zip(jobs, earlier):
                if before and (not job.run_secs or min(before) < min(job.run_secs)):
                    job.status, job.error, job.run_secs = Status.OK, "", before
            if not self._quiet_wait_secs or not quietness.is_disturbed():
                return
            self._say_that_it_waits(len(jobs))
            quietness.wait(self._quiet_wait_secs)

    def _say_that_it_waits(self, num_candidates: int) -> None:
        if time.monotonic() >= self._next_notice:
            self._next_notice = time.monotonic() + _SECS_BETWEEN_NOTICES
            limit = f"up to {self._quiet_wait_secs:g} s"
            _log.warning(
                "other processes use the processor: %d candidates are timed again when it is quiet, waiting %s each"
                " time",
                num_candidates,
                limit,
            )

    def _run_built(self, jobs: Sequence[_Job]) -> None:
        for job in jobs:
            if job.status is Status.OK:
                self._check_interrupted()
                self._run_here(job) if self._device is None else self._run_on_device(job)

    def _run_here(self, job: _Job) -> None:
        if job.generation != job.worker.generation:  # a neighbour took the process down with it
            self._build(job)
            if job.status is not Status.OK:
                return
        workload = job.candidate.task.workload
        request = Run(job.id, workload.hash, workload.program, self.settings.repeat, self.settings.min_repeat_ms)
        reply = self._ask(job, request, self.settings.run_timeout_sec, Status.RUN_TIMEOUT, Status.RUN_ERROR)
        job.run_secs = reply.run_secs

    def _run_on_device(self, job: _Job) -> None:
        """Runs an exported candidate; if the device is lost on the way, once more on the next one that is free."""
        workload = job.candidate.task.workload
        request = RunRemotely(
            job.library, workload.hash, workload.program, self.settings.repeat, self.settings.min_repeat_ms
        )
        timeout_secs = self.settings.run_timeout_sec + 2 * _SESSION_GRACE_SECS
        for _ in range(2):
            self._connect(job.worker)
            reply = self._ask(job, request, timeout_secs, Status.RUN_TIMEOUT, Status.RUN_ERROR)
            job.run_secs = reply.run_secs
            if reply.status != "lost":
                break

    def _connect(self, worker: WorkerProcess[Started]) -> int:
        device = self._device
        if device is None:
            raise WorkerError("this measurer has no remote device to connect to")
        request = Connect(device.host, device.port, device.key, self.settings.run_timeout_sec + _SESSION_GRACE_SECS)
        try:
            reply = worker.request(request, self._device_wait_secs)
        except (Silence, Death) as error:
            reply = Connected("error", str(error))
        self._check_interrupted()
        if reply.status != "ok":
            raise WorkerError(
                f"no device {device} could be used ({reply.error}); start one with `python -m"
                f" tvm.exec.rpc_server --tracker {device.host}:{device.port} --key {device.key}`"
            )
        return reply.num_threads

    def _check_interrupted(self) -> None:
        if self._interrupted:
            raise WorkerError("measuring was interrupted")

    def _ask(self, job: _Job, request: Request[R], timeout_secs: float, on_silence: Status, on_death: Status) -> R:
        kind = reply_type(type(request))
        try:
            reply = job.worker.request(request, timeout_secs)
        except Silence as error:
            reply = kind(on_silence.value, str(error))
        except Death as error:
            reply = kind(on_death.value, str(error))
        job.status = on_death if reply.status in ("error", "lost") else Status(reply.status)
        job.error = reply.error
        return reply

    def _quietly(self, worker: WorkerProcess[Started], request: Request[Reply]) -> None:
        with contextlib.suppress(Silence, Death):
            worker.request(request, self.settings.run_timeout_sec)

    def _finish(self, job: _Job) -> Measurement:
        if not self._environment:
            machine = ("cpu", cpu_name()) if self._device is None else ("device", self._device.key)
            self._environment = (
                machine,
                ("python", platform.python_version()),
                ("tvm", self._workers[0].welcome.tvm),
            )
        candidate = Candidate(job.candidate.task, job.trace or job.candidate.trace)
        record = MeasureRecord(
            candidate,
            job.status,
            job.run_secs,
            job.error,
            job.program_hash,
            self._environment,
            self.settings,
            time.time(),
        )
        return Measurement(record, job.features, job.build_secs)


@dataclass
class _Job:
    id: int
    candidate: Candidate
    worker: WorkerProcess[Started]
    status: Status = Status.OK
    error: str = ""
    trace: Trace | None = None
    library: str = ""
    program_hash: str = ""
    run_secs: tuple[float, ...] = ()
    features: tuple[tuple[float, ...], ...] = ()
    build_secs: float = 0.0
    generation: int = 0


def cpu_name() -> str:
    """The processor's name as the system states it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        return (
            f"{found.get('model name', platform.processor())} family {found.get('cpu family', '?')} model"
            f" {found.get('model', '?')}"
        )
    except OSError:
        return platform.processor()
