"""A process that appends without end, to be killed: `python -m tests.appending FOLDER LOG GENERATION`.

It prints what it is about to do, and logs the keys of a batch once the store has taken it.
"""

from __future__ import annotations

import itertools
import os
import sys

from foretune import Candidate, MeasureRecord, Status, Trajectory
from foretune.datasets.records.store import RecordStore
from foretune.testing.synthetic import TASK, TEMPLATE

BATCH = 6


def trajectory(number: int) -> Trajectory:
    trace = TEMPLATE.with_decisions([(7, number)])
    return Trajectory(MeasureRecord(Candidate(TASK, trace), Status.OK, (1e-3,)), (), ((1.0,) * 164,) * 4)


def main(folder: str, log: str, generation: int) -> None:
    with RecordStore(folder, writable=True) as store, open(log, "a") as taken:
        store.append_workloads([TASK])
        for turn in itertools.count():
            first = (generation * 100_000 + turn) * BATCH
            batch = [trajectory(first + i) for i in range(BATCH)]
            print("append", flush=True)
            store.append(batch)
            taken.write("".join(f"{t.record.trace.key}\n" for t in batch))
            taken.flush()
            os.fsync(taken.fileno())
            if turn % 4 == 3:
                print("compact", flush=True)
                store.compact(rows_per_shard=200)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
