"""RecordStore: an append-only folder of Parquet shards.

    DIR/manifest.json            schema version, shards with counts and hashes, tool versions
    DIR/batch-*.parquet          what one append wrote
    DIR/shard-*.parquet          what compaction merged
    DIR/workloads-*.parquet      programs, each once
    DIR/split.json               workloads of the train, validation and test splits

Every file is written under another name, synced and renamed, so a kill at any moment leaves whole
files only. A batch that the manifest does not list yet is complete and is adopted when the store is
opened for writing; merged shards count only once the manifest lists them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from foretune.datasets import schema
from foretune.errors import DataError
from foretune.files import write_atomically, write_text_atomically
from foretune.record import Trajectory
from foretune.target import Target
from foretune.task import Task, Workload

_SHARD_NAME = re.compile(r"(batch|shard|workloads)-[0-9a-f-]+\.parquet")
_ROWS_PER_READ = 1024


@dataclass
class Manifest:
    """What a store holds.

    Attributes:
        shards: file name -> {"rows", "statuses", "sha256"}.
        replaced: files that compaction has merged and that may still lie about.
        tools: versions seen in records.
        targets: target text -> number of records.
    """

    shards: dict[str, dict[str, Any]] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    tools: dict[str, list[str]] = field(default_factory=dict)
    targets: dict[str, int] = field(default_factory=dict)

    @property
    def num_records(self) -> int:
        """Rows of all shards."""
        return sum(entry["rows"] for entry in self.shards.values())

    @property
    def content_hash(self) -> str:
        """A hash over the shards' hashes: equal data, written in the same shards, has equal hashes."""
        return hashlib.sha256("".join(sorted(e["sha256"] for e in self.shards.values())).encode()).hexdigest()


class RecordStore:
    """A folder of measured records.

    Args:
        path: the folder.
        writable: open for appending; makes the folder if missing and takes its lock.

    Raises:
        DataError: the folder is missing (for reading), has another schema version, or another process is writing.
    """

    def __init__(self, path: Path | str, writable: bool = False) -> None:
        self.path = Path(path)
        self._lock = None
        if writable:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "a")  # noqa: SIM115 - held until close
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._lock.close()
                raise DataError(f"{self.path} is being written by another process") from error
        elif not self.path.is_dir():
            raise DataError(f"there is no data folder {self.path}")
        self.manifest = self._read_manifest(writable)
        if writable:
            self._recover()

    def __enter__(self) -> RecordStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Releases the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # -- writing ---------------------------------------------------------------------------------

    def append_workloads(self, tasks: Iterable[Task]) -> None:
        """Adds the programs that the store does not have yet."""
        known = {w.hash for w in self.workloads().values()}
        rows = [schema.workload_row(task) for task in tasks if task.workload.hash not in known]
        if rows:
            self._write(f"workloads-{uuid.uuid4().hex}.parquet", pa.Table.from_pylist(rows, schema.WORKLOADS))

    def append(self, trajectories: Iterable[Trajectory], source: str = "foretune") -> None:
        """Adds records; they are on disk when this returns."""
        self.append_rows([schema.record_row(t, source) for t in trajectories])

    def append_rows(self, rows: list[dict[str, Any]]) -> None:
        """Adds rows of the record schema; they are on disk when this returns."""
        if not rows:
            return
        name = f"batch-{time.time_ns():016x}-{uuid.uuid4().hex[:8]}.parquet"
        self._write(name, pa.Table.from_pylist(rows, schema.RECORDS))
        self._list(name)
        self._write_manifest()

    def compact(self, rows_per_shard: int = 1 << 16) -> None:
        """Merges all batches into shards of at most `rows_per_shard` rows, sorted for compression."""
        batches = sorted(n for n, e in self.manifest.shards.items() if n.startswith("batch-"))
        if len(batches) < 2:
            return
        merged = pa.concat_tables([self._read_table(n) for n in batches])
        merged = merged.sort_by([("workload", "ascending"), ("space_id", "ascending"), ("timestamp", "ascending")])
        entries = {}
        for start in range(0, merged.num_rows, rows_per_shard):
            name = f"shard-{uuid.uuid4().hex}.parquet"
            part = merged.slice(start, rows_per_shard)
            self._write(name, part)
            entries[name] = self._describe(name, part)
        for name in batches:
            del self.manifest.shards[name]
        self.manifest.shards.update(entries)
        self.manifest.replaced = batches
        self._write_manifest()
        self._delete_replaced()

    # -- reading ---------------------------------------------------------------------------------

    def workloads(self) -> dict[str, Workload]:
        """All programs, by hash."""
        found: dict[str, Workload] = {}
        for path in sorted(self.path.glob("workloads-*.parquet")):
            for row in self._read_table(path.name).to_pylist():
                found.setdefault(row["hash"], schema.workload_from_row(row))
        return found

    def weights(self) -> dict[str, float]:
        """Workload hash -> calls in one run of the model that it came from."""
        found: dict[str, float] = {}
        for path in sorted(self.path.glob("workloads-*.parquet")):
            for row in self._read_table(path.name).select(["hash", "weight"]).to_pylist():
                found.setdefault(row["hash"], row["weight"])
        return found

    def rows(self, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
        """Streams rows, shard after shard, in constant memory.

        Args:
            columns: names of the columns to read; all by default.
        """
        for name in sorted(self.manifest.shards):
            with self._open(name) as file:
                try:
                    for batch in file.iter_batches(_ROWS_PER_READ, columns=columns):
                        yield from batch.to_pylist()
                except (OSError, pa.ArrowException) as error:
                    raise DataError(f"{self.path / name} is damaged: {error}") from error

    def trajectories(self, only: set[str] | None = None) -> Iterator[Trajectory]:
        """Streams trajectories.

        Args:
            only: hashes of the workloads to read; all by default.
        """
        workloads, weights = self.workloads(), self.weights()
        targets: dict[str, Target] = {}
        for row in self.rows():
            if only is not None and row["workload"] not in only:
                continue
            workload = workloads.get(row["workload"])
            if workload is None:
                raise DataError(f"{self.path} has a record of workload {row['workload']}, whose program is missing")
            target = targets.setdefault(row["target"], Target.from_json(json.loads(row["target"])))
            yield schema.trajectory_from_row(row, workload, target, weights[workload.hash])

    def counts(self) -> Counter[str]:
        """Workload hash -> number of records."""
        return Counter(row["workload"] for row in self.rows(["workload"]))

    # -- files -----------------------------------------------------------------------------------

    def _write(self, name: str, table: pa.Table) -> None:
        def write(path: Path) -> None:
            pq.write_table(table, path, compression="zstd", compression_level=15, use_dictionary=True)

        write_atomically(self.path / name, write)

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[pq.ParquetFile]:
        path = self.path / name
        try:
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} is not a readable Parquet file: {error}") from error
        with file:
            version = (file.schema_arrow.metadata or {}).get(b"foretune_schema", b"").decode()
            if version != str(schema.SCHEMA_VERSION):
                raise DataError(f"{path} has schema version {version or 'none'}, but this release reads version {schema.SCHEMA_VERSION}")
            yield file

    def _read_table(self, name: str) -> pa.Table:
        with self._open(name) as file:
            try:
                return file.read()
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{self.path / name} is damaged: {error}") from error

    def _describe(self, name: str, table: pa.Table) -> dict[str, Any]:
        digest = hashlib.sha256((self.path / name).read_bytes()).hexdigest()
        return {"rows": table.num_rows, "statuses": dict(Counter(table["status"].to_pylist())), "sha256": digest}

    def _list(self, name: str) -> None:
        table = self._read_table(name)
        self.manifest.shards[name] = self._describe(name, table)
        for row in table.select(["environment", "target"]).to_pylist():
            text = json.dumps(json.loads(row["target"])["target"], sort_keys=True)
            self.manifest.targets[text] = self.manifest.targets.get(text, 0) + 1
            for tool, version in json.loads(row["environment"]).items():
                if version not in self.manifest.tools.setdefault(tool, []):
                    self.manifest.tools[tool].append(version)

    def _read_manifest(self, writable: bool) -> Manifest:
        path = self.path / "manifest.json"
        try:
            data = json.loads(path.read_text())
            version = data["schema"]
            manifest = Manifest(data["shards"], data["replaced"], data["tools"], data["targets"])
        except FileNotFoundError:
            if writable:
                return Manifest()
            raise DataError(f"{self.path} has no manifest.json; it is not a data folder") from None
        except (json.JSONDecodeError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise DataError(f"{path} is damaged: {error}") from error
        if version != schema.SCHEMA_VERSION:
            raise DataError(f"{path} has schema version {version}, but this release reads version {schema.SCHEMA_VERSION}")
        bad = [n for n in [*manifest.shards, *manifest.replaced] if not _SHARD_NAME.fullmatch(n)]
        if bad:
            raise DataError(f"{path} names a file that is not a shard of this folder: {bad[0]!r}")
        return manifest

    def _write_manifest(self) -> None:
        m = self.manifest
        data = {
            "schema": schema.SCHEMA_VERSION, "num_records": m.num_records, "content_hash": m.content_hash, "targets": m.targets,
            "tools": m.tools, "shards": m.shards, "replaced": m.replaced,
        }  # fmt: skip
        write_text_atomically(self.path / "manifest.json", json.dumps(data, indent=1) + "\n")

    def _recover(self) -> None:
        self._delete_replaced()
        for path in self.path.glob(".*.tmp"):
            path.unlink()
        for path in self.path.glob("shard-*.parquet"):
            if path.name not in self.manifest.shards:
                path.unlink()  # merged, but the kill came before the manifest listed it; its batches are still here
        orphans = [p.name for p in sorted(self.path.glob("batch-*.parquet")) if p.name not in self.manifest.shards]
        for name in orphans:
            self._list(name)
        if orphans:
            self._write_manifest()

    def _delete_replaced(self) -> None:
        for name in self.manifest.replaced:
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).unlink()
        if self.manifest.replaced:
            self.manifest.replaced = []
            self._write_manifest()
