"""Where parsed lines go: columns of the record table, and the workloads that they name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pyarrow as pa

from foretune.datasets.importers.report import LineError
from foretune.datasets.records.schema import RECORDS
from foretune.record import Status
from foretune.target import Target
from foretune.task import Task

_ENCODE = json.JSONEncoder(separators=(",", ":")).encode
_KEPT_STEPS = 1 << 17
_STORED = (
    "workload", "target", "space_id", "trace_key", "trace", "status", "run_secs", "error", "program_hash",
    "environment", "timestamp", "source",
)  # fmt: skip


def compact_json(data: Any) -> str:
    """JSON as traces are stored and hashed (`Trace.key`)."""
    return _ENCODE(data)


def digest(text: str | bytes) -> str:
    """The hash that keys are made of; 16 hex digits."""
    return hashlib.sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()[:16]


def target_text(target: Target) -> str:
    """A target as the record table holds it."""
    return json.dumps(target.to_json(), sort_keys=True)


class ActionTexts:
    """JSON of actions, made once for each distinct step of a log: most steps of a long log have been seen before.

    Args:
        make: turns a step into an action row `[op, inputs, attrs, outputs, decision]`.
    """

    def __init__(self, make: Callable[[Any], list[Any]]) -> None:
        self._make = make
        self._known: dict[bytes, tuple[str, str]] = {}  # JSON of the step -> (action, action without its decision)

    def trace(self, steps: list[Any]) -> tuple[str, str, str]:
        """Trace text, its key and its space's id.

        Raises:
            LineError: a step cannot be read.
        """
        known = self._known
        pairs = []
        for step in steps:
            key = orjson.dumps(step)
            pair = known.get(key)
            if pair is None:
                row = self._make(step)
                if len(known) >= _KEPT_STEPS:
                    known.clear()
                pair = known[key] = (compact_json(row), compact_json(row[:4]))
            pairs.append(pair)
        text = "[" + ",".join([pair[0] for pair in pairs]) + "]"
        return text, digest(text), digest("[" + ",".join([pair[1] for pair in pairs]) + "]")


@dataclass
class Sink:
    """Collects rows until they are taken.

    Attributes:
        known: hashes of the workloads that need not be added again.
        seen: digests of the records that need not be added again; see `record_digest`.
        num_duplicates: records that were left out because of that.
        tasks: workloads met since the last `take`.
    """

    known: set[str] = field(default_factory=set)
    seen: set[bytes] = field(default_factory=set)
    num_duplicates: int = 0
    tasks: list[Task] = field(default_factory=list)
    _rows: list[tuple] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self._rows)

    def workload(self, key: str, make: Callable[[], Task]) -> None:
        """Adds a workload unless it is known."""
        if key not in self.known:
            self.tasks.append(make())
            self.known.add(key)

    def add(
        self,
        source: str,
        workload: str,
        target: str,
        space_id: str,
        trace_key: str,
        trace: str,
        status: Status,
        run_secs: Sequence[float],
        error: str = "",
        environment: str = "{}",
        timestamp: float = 0.0,
    ) -> None:
        """Adds one record unless it was seen; `source` is the tuner, the texts are as in the record table."""
        key = record_digest(source, workload, target, trace_key, status.value, run_secs, error, timestamp)
        if key in self.seen:
            self.num_duplicates += 1
            return
        self.seen.add(key)
        row = (
            workload,
            target,
            space_id,
            trace_key,
            trace,
            status.value,
            run_secs,
            error,
            "",
            environment,
            timestamp,
            source,
        )
        self._rows.append(row)

    def take(self) -> tuple[list[Task], pa.Table]:
        """The new workloads and all rows so far, which are forgotten here."""
        count = len(self)
        columns: dict[str, Any] = dict(zip(_STORED, zip(*self._rows) if count else [()] * len(_STORED)))
        columns.update(settings=[""] * count, num_stores=[0] * count, store_features=[[]] * count)
        table = pa.Table.from_arrays([pa.array(columns[f.name], f.type) for f in RECORDS], schema=RECORDS)
        tasks, self.tasks, self._rows = self.tasks, [], []
        return tasks, table


def record_digest(
    source: str,
    workload: str,
    target: str,
    trace_key: str,
    status: str,
    run_secs: Sequence[float],
    error: str,
    timestamp: float,
) -> bytes:
    """Equal for two records only if they are the same measurement."""
    return hashlib.blake2b(
        repr((source, workload, target, trace_key, status, list(run_secs), error, timestamp)).encode(), digest_size=12
    ).digest()


def environment_text(known: dict[Any, str], tool: str, version: Any) -> str:
    """A tool's version as the record table holds it; `known` keeps what was asked before."""
    if not isinstance(version, str):
        return "{}"
    if version not in known:
        known[version] = compact_json({tool: version})
    return known[version]


def positive_secs(values: Any) -> list[float]:
    """Run times of a successful record.

    Raises:
        LineError: they are not positive, finite numbers.
    """
    if not isinstance(values, list) or not values:
        raise LineError(f"run times must be a non-empty list, but got {str(values)[:60]}")
    for value in values:
        if type(value) not in (float, int) or not 0 < value < float("inf"):
            raise LineError(f"run times must be positive seconds, but got {str(values)[:60]}")
    return [float(value) for value in values]


def number(value: Any, what: str) -> float:
    """A number of a line.

    Raises:
        LineError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise LineError(f"{what} must be a number, but got {str(value)[:60]}")
    try:
        return float(value)
    except OverflowError as error:
        raise LineError(f"{what} is too large: {str(value)[:60]}") from error
