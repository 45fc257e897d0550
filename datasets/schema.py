"""The record schema of the Parquet store, and rows <-> nouns."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from foretune.errors import DataError
from foretune.program import ProgramGraph
from foretune.record import MeasureRecord, MeasureSettings, Status, Trajectory
from foretune.target import Target
from foretune.task import Candidate, Task, Workload
from foretune.trace import Trace

SCHEMA_VERSION = 1

RECORDS = pa.schema(
    [
        ("workload", pa.string()),  # hash; the program is in the workload table
        ("target", pa.string()),  # JSON of Target.to_json
        ("space_id", pa.string()),
        ("trace_key", pa.string()),
        ("trace", pa.string()),  # JSON rows [op, inputs, attrs, outputs, decision]
        ("status", pa.string()),
        ("run_secs", pa.list_(pa.float64())),
        ("error", pa.string()),
        ("program_hash", pa.string()),
        ("environment", pa.string()),  # JSON
        ("settings", pa.string()),  # JSON of MeasureSettings
        ("timestamp", pa.float64()),
        ("source", pa.string()),  # foretune, metaschedule, ansor, autotvm
        ("num_stores", pa.int32()),
        ("store_features", pa.list_(pa.float32())),  # [num_stores * features] of the final program, row by row
    ],
    metadata={"foretune_schema": str(SCHEMA_VERSION)},
)

WORKLOADS = pa.schema(
    [
        ("hash", pa.string()),
        ("name", pa.string()),
        ("family", pa.string()),
        ("weight", pa.float64()),
        ("program", pa.string()),
        ("graph", pa.string()),  # JSON of ProgramGraph.to_json
    ],
    metadata={"foretune_schema": str(SCHEMA_VERSION)},
)


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
        "settings": json.dumps(asdict(record.settings), sort_keys=True),
        "timestamp": record.timestamp,
        "source": source,
        "num_stores": len(trajectory.final),
        "store_features": [value for row in trajectory.final for value in row],
    }


def workload_row(task: Task) -> dict[str, Any]:
    """One row of the workload table."""
    workload = task.workload
    return {
        "hash": workload.hash, "name": workload.name, "family": workload.family, "weight": task.weight,
        "program": workload.program, "graph": json.dumps(workload.graph.to_json(), separators=(",", ":")),
    }  # fmt: skip


def workload_from_row(row: dict[str, Any]) -> Workload:
    """Reads what `workload_row` wrote."""
    return Workload(row["hash"], row["program"], ProgramGraph.from_json(json.loads(row["graph"])), row["name"], row["family"])


def trajectory_from_row(row: dict[str, Any], workload: Workload, target: Target, weight: float = 1.0) -> Trajectory:
    """Reads what `record_row` wrote.

    Raises:
        DataError: a column does not hold what the schema says.
    """
    try:
        stores = int(row["num_stores"] or 0)
        flat = row["store_features"] or []
        width = len(flat) // stores if stores else 0
        final = tuple(tuple(flat[i * width : (i + 1) * width]) for i in range(stores))
        record = MeasureRecord(
            Candidate(Task(workload, target, weight), Trace.from_json(json.loads(row["trace"]))),
            Status(row["status"]), tuple(row["run_secs"]), row["error"], row["program_hash"],
            tuple(sorted(json.loads(row["environment"]).items())), MeasureSettings(**json.loads(row["settings"])), row["timestamp"],
        )  # fmt: skip
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"record {row.get('trace_key')} of workload {row.get('workload')} is damaged: {error}") from error
    return Trajectory(record, (), final)
