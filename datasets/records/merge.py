"""Merging data sets that were collected apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from foretune.datasets.records import schema
from foretune.datasets.records.split import Split
from foretune.datasets.records.store import RecordStore, target_from_text
from foretune.errors import DataError

_ROWS_AT_ONCE = 4096


def merge(folders: Sequence[Path], out: Path) -> int:
    """Writes one data set of several; records that two of them have are kept once.

    Args:
        folders: of the data sets; their splits are joined.
        out: the folder of the whole, which must be new.

    Returns:
        How many records it has.

    Raises:
        DataError: `out` holds a data set already, or splits disagree on a workload.
    """
    if out.is_dir() and any(out.glob("*.parquet")):
        raise DataError(f"{out} holds a data set already: name a new folder")
    split: Split | None = None
    seen: set[tuple] = set()
    with RecordStore(out, writable=True) as whole:
        for folder in folders:
            with RecordStore(folder) as part:
                entries = part.entries()
                own = part.split()
                split = own if split is None or own is None else split | own
                fresh, targets = [], {}
                for row in part.rows():
                    if row["workload"] not in entries:
                        if row["workload"] in part.manifest.lost:
                            continue
                        raise DataError(
                            f"{folder} has records of workload {row['workload']}, whose program is missing; `foretune"
                            " data repair` sets that right"
                        )
                    key = (row["workload"], row["target"], row["trace_key"], row["timestamp"], *row["run_secs"])
                    if key not in seen:
                        seen.add(key)
                        fresh.append(row)
                        targets.setdefault(row["workload"], row["target"])
                tasks = [entries[key].task(target_from_text(text)) for key, text in targets.items()]
                whole.append_workloads(tasks, {key: entries[key].initial for key in targets})
                for start in range(0, len(fresh), _ROWS_AT_ONCE):
                    whole.append_table(pa.Table.from_pylist(fresh[start : start + _ROWS_AT_ONCE], schema.RECORDS))
        whole.compact()
        if split is not None:
            split.save(out)
        return whole.manifest.num_records
