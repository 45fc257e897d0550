"""Small data sets to look at: known figures, awkward names, things that are missing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from foretune import Action, Candidate, MeasureRecord, Status, Target, Task, Trace, Trajectory, Workload
from foretune.datasets.records.store import RecordStore
from foretune.testing.synthetic import GRAPH, TASK

FEATURES = (tuple(1.0 for _ in range(164)), tuple(2.0 for _ in range(164)))
HOSTILE = "<script>alert('x')</script>[red]\x1b[31m"


def task(hash_: str, name: str, family: str, target: Target = TASK.target) -> Task:
    return Task(Workload(hash_, "", GRAPH, name, family), target)


DENSE = task("d0d0", "matmul", "dense")
TWIN = task("d0e1", "matmul", "dense")
POOL = task("a1a1", HOSTILE, "$pool_{x|y")


def trace(number: int) -> Trace:
    """The default for 0."""
    return Trace((Action("Annotate", ("b0", number), ("key",)),) if number else ())


def measured(
    of: Task, number: int, *secs: float, timestamp: float = 0.0, status: Status = Status.RUN_ERROR, error: str = ""
) -> Trajectory:
    record = MeasureRecord(
        Candidate(of, trace(number)),
        Status.OK if secs else status,
        secs,
        error,
        "",
        (("tvm", "0.27"), ("cpu", "one")),
        timestamp=timestamp,
    )
    return Trajectory(record, (), FEATURES if secs else ())


def write_collected(folder: Path) -> Path:
    """Two tasks, the default of both, two failures; shards hold records out of order."""
    with RecordStore(folder, writable=True) as store:
        store.append_workloads([DENSE, TWIN, POOL], {"d0d0": FEATURES[:1]})
        store.append(
            [measured(DENSE, 2, 1e-3, 1.1e-3, timestamp=30.0), measured(DENSE, 1, 8e-3, 8.8e-3, timestamp=20.0)]
        )
        store.append(
            [measured(DENSE, 0, 4e-3, 4e-3, timestamp=10.0), measured(DENSE, 3, timestamp=40.0, error="boom \x1b[2J")]
        )
        store.append([measured(POOL, 0, 2e-6, 2.2e-6, timestamp=11.0), measured(POOL, 4, 6e-6, 5e-6, timestamp=12.0)])
        store.append(
            [
                measured(POOL, 5, timestamp=13.0, error="limit", status=Status.BUILD_TIMEOUT),
                measured(TWIN, 6, 5e-3, timestamp=14.0),
            ]
        )
    return folder


def write_imported(folder: Path) -> Path:
    """As from a foreign log: one time each, no default, no features, no settings, no date, two targets."""
    other = task("d0d0", "matmul", "", Target("cuda"))
    with RecordStore(folder, writable=True) as store:
        store.append_workloads([other])
        for number, (of, secs) in enumerate([(other, 1e-3), (other, 3e-3), (task("d0d0", "matmul", ""), 7.0)], 1):
            record = dataclasses.replace(measured(of, number, secs).record, environment=(), settings=None)
            store.append([Trajectory(record)], "ansor")
    return folder
