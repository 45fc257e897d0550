"""MeasureRecord: what hardware said of one candidate. Also its closed set of statuses."""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from foretune.errors import DataError, OptionError
from foretune.task import Candidate, Task
from foretune.trace import Trace


class Status(str, enum.Enum):
    """How the measurement of a candidate ended. There are no others."""

    OK = "ok"
    ILLEGAL = "illegal"
    BUILD_ERROR = "build_error"
    BUILD_TIMEOUT = "build_timeout"
    RUN_ERROR = "run_error"
    RUN_TIMEOUT = "run_timeout"
    WRONG_OUTPUT = "wrong_output"


@dataclass(frozen=True)
class MeasureSettings:
    """How run times are taken.

    Attributes:
        repeat: how many run times a record has, at most.
        min_repeat_ms: each of them is a mean over runs that last at least this long together.
        build_timeout_sec, run_timeout_sec: limits of one candidate. Good schedules build in about a second; LLVM
            can take half a minute over one that unrolls too much, and those are not the fast ones.
        memory_bytes: address space of a worker process.
    """

    repeat: int = 3
    min_repeat_ms: float = 8.0
    build_timeout_sec: float = 6.0
    run_timeout_sec: float = 10.0
    memory_bytes: int = 16 << 30

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value <= 0:
                raise OptionError(f"`{name} > 0` must hold, but got {name}={value}")


@dataclass(frozen=True)
class MeasureRecord:
    """The result of one candidate.

    Attributes:
        candidate: what was measured.
        status: how it ended.
        run_secs: mean seconds of one run, for each repeat; empty unless the status is ok or wrong_output.
        error: the tool's own words, if it failed.
        program_hash: structural hash of the final program, where it came so far.
        environment: (name, value) of tool versions and machine.
        settings: how it was measured; None where a foreign log does not say.
        timestamp: seconds since the epoch, at the end of the measurement.
    """

    candidate: Candidate
    status: Status
    run_secs: tuple[float, ...] = ()
    error: str = ""
    program_hash: str = ""
    environment: tuple[tuple[str, str], ...] = ()
    settings: MeasureSettings | None = MeasureSettings()
    timestamp: float = 0.0

    def __post_init__(self) -> None:
        if self.status is Status.OK and not self.run_secs:
            raise DataError("a record with status ok must have run times")
        if self.status not in (Status.OK, Status.WRONG_OUTPUT) and self.run_secs:
            raise DataError(
                f"a record with status {self.status.value} must not have run times, but got {self.run_secs}"
            )
        if any(not 0 < t < float("inf") for t in self.run_secs):
            raise DataError(f"run times must be positive seconds, but got {self.run_secs}")

    @property
    def trace(self) -> Trace:
        """The candidate's trace."""
        return self.candidate.trace

    @property
    def best_secs(self) -> float:
        """Smallest run time: the steadiest summary on a noisy machine. Lower is better."""
        if self.status is not Status.OK:
            raise DataError(f"a record with status {self.status.value} has no run time")
        return min(self.run_secs)

    @property
    def variation(self) -> float:
        """Coefficient of variation of the run times; 0 with fewer than two."""
        return statistics.stdev(self.run_secs) / statistics.fmean(self.run_secs) if len(self.run_secs) > 1 else 0.0

    def to_json(self) -> dict[str, Any]:
        """The record without its task, as JSON data; the task is stored once for many records."""
        return {
            "trace": self.trace.to_json(),
            "status": self.status.value,
            "run_secs": list(self.run_secs),
            "error": self.error,
            "program_hash": self.program_hash,
            "environment": dict(self.environment),
            "settings": asdict(self.settings) if self.settings else None,
            "timestamp": self.timestamp,
        }

    @classmethod
    def from_json(cls, task: Task, data: Any) -> MeasureRecord:
        """Reads what `to_json` wrote.

        Raises:
            DataError: the data has another shape, or values that no measurement gives.
        """
        try:
            settings, timestamp = data["settings"], float(data["timestamp"])
            if not math.isfinite(timestamp):
                raise DataError(f"the time of a measurement must be finite, but is {timestamp}")
            return cls(
                Candidate(task, Trace.from_json(data["trace"])),
                Status(data["status"]),
                tuple(float(secs) for secs in data["run_secs"]),
                str(data["error"]),
                str(data["program_hash"]),
                tuple(sorted((str(name), str(value)) for name, value in data["environment"].items())),
                MeasureSettings(**settings) if settings is not None else None,
                timestamp,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # OptionError and its like are ValueErrors
            raise DataError(f"not a record: {type(error).__name__}: {str(error)[:200]}") from error


@dataclass(frozen=True)
class Trajectory:
    """A trace with what was observed along it, ending in a record.

    Attributes:
        record: the measured end.
        initial: static features of the initial program, a row for each store; empty if unknown.
        final: the same of the final program; empty if it was never built.
    """

    record: MeasureRecord
    initial: tuple[tuple[float, ...], ...] = ()
    final: tuple[tuple[float, ...], ...] = ()


def fastest(records: Iterable[MeasureRecord], num: int | None = None) -> list[MeasureRecord]:
    """Records that worked, the fastest first; all, or so many at most."""
    return sorted((r for r in records if r.status is Status.OK), key=lambda r: r.best_secs)[:num]
