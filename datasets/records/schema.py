"""The schema of the Parquet store, and rows <-> nouns."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from foretune.errors import DataError, ForetuneError
from foretune.program import ProgramGraph
from foretune.record import MeasureRecord, MeasureSettings, Status, Trajectory
from foretune.target import Target
from foretune.task import Candidate, Task, Workload
from foretune.trace import Trace

SCHEMA_VERSION = 2
OF_ONE_RECORD = (
    "baseline_secs",
    "objective",
)  # keys of an environment that are about one measurement, and no tool's version

RECORDS = pa.schema(
    [
        ("workload", pa.string()),  # hash; the program is in the workload table
        ("target", pa.string()),  # JSON of Target.to_json
        ("space_id", pa.string()),  # of the design space: the trace without its decisions
        ("trace_key", pa.string()),
        ("trace", pa.string()),  # JSON rows [op, inputs, attrs, outputs, decision]
        ("status", pa.string()),
        ("run_secs", pa.list_(pa.float64())),
        ("error", pa.string()),
        ("program_hash", pa.string()),  # of the final program
        ("environment", pa.string()),  # JSON
        ("settings", pa.string()),  # JSON of MeasureSettings; empty where unknown
        ("timestamp", pa.float64()),
        ("source", pa.string()),  # foretune, metaschedule, ansor, autotvm
        ("num_stores", pa.int32()),
        ("store_features", pa.list_(pa.float32())),  # [num_stores * F] of the final program, row by row
    ],
    metadata={"foretune_schema": str(SCHEMA_VERSION)},
)

WORKLOADS = pa.schema(
    [
        ("hash", pa.string()),
        ("name", pa.string()),
        ("family", pa.string()),
        ("weight", pa.float64()),
        ("networks", pa.string()),  # JSON rows [name, calls in one run]
        ("program", pa.string()),
        ("graph", pa.string()),  # JSON of ProgramGraph.to_json
        ("num_stores", pa.int32()),
        ("store_features", pa.list_(pa.float32())),  # [num_stores * F] of the initial program, row by row
    ],
    metadata={"foretune_schema": str(SCHEMA_VERSION)},
)

Rows = tuple[tuple[float, ...], ...]


def record_row(trajectory: Trajectory, source: str = "foretune") -> dict[str, Any]:
    """One row of the record table."""
    record = trajectory.record
    task = record.candidate.task
    return {
        "workload": task.workload.hash,
        "target": json.dumps(task.target.to_json(), sort_keys=True),
        "space_id": record.trace.space_id,
        "trace_key": record.trace.key,
        "trace": json.dumps(record.trace.to_json(), separators=(",", ":")),
        "status": record.status.value,
        "run_secs": list(record.run_secs),
        "error": record.error,
        "program_hash": record.program_hash,
        "environment": json.dumps(dict(record.environment), sort_keys=True),
        "settings": json.dumps(asdict(record.settings), sort_keys=True) if record.settings else "",
        "timestamp": record.timestamp,
        "source": source,
        **_pack(trajectory.final),
    }


def workload_row(task: Task, initial: Rows = ()) -> dict[str, Any]:
    """One row of the workload table.

    Args:
        task: its target is not stored here.
        initial: static features of the unscheduled program, a row for each store.
    """
    workload = task.workload
    return {
        "hash": workload.hash, "name": workload.name, "family": workload.family, "weight": task.weight,
        "networks": json.dumps(task.networks), "program": workload.program,
        "graph": json.dumps(workload.graph.to_json(), separators=(",", ":")), **_pack(initial),
    }  # fmt: skip


@dataclass(frozen=True)
class WorkloadEntry:
    """What the workload table says of one workload.

    Attributes:
        workload: the program.
        weight: calls in one run of the model that it came from.
        networks: (name, calls in one run) of each network that it is a part of.
        initial: static features of the unscheduled program, a row for each store.
    """

    workload: Workload
    weight: float
    networks: tuple[tuple[str, float], ...]
    initial: Rows

    def task(self, target: Target) -> Task:
        """The workload as a task for a target."""
        return Task(self.workload, target, self.weight, self.networks)


def workload_entry_from_row(row: dict[str, Any]) -> WorkloadEntry:
    """Reads what `workload_row` wrote.

    Raises:
        DataError: a column does not hold what the schema says.
    """
    try:
        workload = Workload(
            row["hash"], row["program"], ProgramGraph.from_json(json.loads(row["graph"])), row["name"], row["family"]
        )
        networks = tuple((str(name), float(calls)) for name, calls in json.loads(row["networks"]))
        return WorkloadEntry(workload, float(row["weight"]), networks, _unpack(row))
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"workload {row.get('hash')} is damaged: {error}") from error


def trajectory_from_row(row: dict[str, Any], task: Task, initial: Rows = ()) -> Trajectory:
    """Reads what `record_row` wrote.

    Raises:
        DataError: a column does not hold what the schema says.
    """
    try:
        settings = MeasureSettings(**json.loads(row["settings"])) if row["settings"] else None
        record = MeasureRecord(
            Candidate(task, Trace.from_json(json.loads(row["trace"]))),
            Status(row["status"]),
            tuple(row["run_secs"]),
            row["error"],
            row["program_hash"],
            tuple(sorted(json.loads(row["environment"]).items())),
            settings,
            row["timestamp"],
        )
        return Trajectory(record, initial, _unpack(row))
    except (ValueError, TypeError, KeyError, ForetuneError) as error:
        raise DataError(
            f"record {row.get('trace_key')} of workload {row.get('workload')} is damaged: {error}"
        ) from error


def _pack(rows: Rows) -> dict[str, Any]:
    return {"num_stores": len(rows), "store_features": [value for row in rows for value in row]}


def _unpack(row: dict[str, Any]) -> Rows:
    stores = int(row["num_stores"] or 0)
    flat = row["store_features"] or []
    width = len(flat) // stores if stores else 0
    return tuple(tuple(flat[i * width : (i + 1) * width]) for i in range(stores))
