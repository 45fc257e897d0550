"""RecordStore: an append-only folder of Parquet shards.

    DIR/manifest.json            schema version, shards with counts and hashes, tool versions
    DIR/batch-*.parquet          what one append wrote
    DIR/shard-*.parquet          what compaction merged
    DIR/workloads-*.parquet      programs, each once
    DIR/split.json               workloads of the train, validation and test splits

Every file is written under another name, synced and renamed, so a kill at any moment leaves whole
files only. A batch that the manifest does not list yet is complete and is adopted when the store is
opened for writing; merged shards count only once the manifest lists them. Each file's SHA-256 is in the
manifest and is compared before it is read, so that no damage goes unseen.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from foretune.datasets.records import schema
from foretune.datasets.records.manifest import Manifest, ManifestChangedError, read_manifest, write_manifest
from foretune.datasets.records.split import Split
from foretune.errors import DataError
from foretune.record import Trajectory
from foretune.support.files import remove_half_written, sha256_of, write_atomically
from foretune.target import Target
from foretune.task import Task, Workload

pc: Any = pyarrow.compute  # its functions are made when it is imported, where type checkers see none

BUNDLED = Path(__file__).parents[1] / "bundled" / "cpu"
BUNDLED_SETS = (BUNDLED, BUNDLED.with_name("cpu_two_threads"))
"""The data set that comes with Foretune."""

_ROWS_PER_READ, _ROWS_PER_GROUP = 1024, 1 << 13
_APPEND_LEVEL, _COMPACT_LEVEL = 3, 15  # of zstd
_log = logging.getLogger(__name__)


class RecordStore:
    """A folder of measured records.

    Args:
        path: the folder.
        writable: open for appending; makes the folder if missing and takes its lock.
        skip_damaged: read what is whole, and list what is not in `damaged`, instead of raising.

    Attributes:
        manifest: what the folder holds.
        damaged: a message for each damaged file that was met, with its name.

    Raises:
        DataError: the folder is missing (for reading), a file is damaged or has another schema version, or another
            process is writing.
    """

    def __init__(self, path: Path | str, writable: bool = False, skip_damaged: bool = False) -> None:
        self.path = Path(path)
        self.damaged: list[str] = []
        self._skip_damaged = skip_damaged
        self._lock = None
        self._known: set[str] | None = None
        if writable:
            self._take_lock()
        elif not self.path.is_dir():
            raise DataError(f"there is no data folder {self.path}")
        try:
            self.manifest = self._open_manifest(writable)
            if writable and not self.damaged:
                self._recover()
        except DataError:
            self.close()
            raise

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

    def append_workloads(self, tasks: Iterable[Task], initial: Mapping[str, schema.Rows] | None = None) -> None:
        """Adds the programs that the store does not have yet.

        Args:
            tasks: whose programs to add.
            initial: workload hash -> static features of the unscheduled program, where known.
        """
        if self._known is None:
            self._known = set(self.entries())
        rows = []
        for task in tasks:
            if task.workload.hash not in self._known:
                self._known.add(task.workload.hash)
                rows.append(schema.workload_row(task, (initial or {}).get(task.workload.hash, ())))
        if rows:
            name = f"workloads-{uuid.uuid4().hex}.parquet"
            table = pa.Table.from_pylist(rows, schema.WORKLOADS)
            self._write(name, table, _COMPACT_LEVEL)
            self._list(name, table)
            write_manifest(self.path, self.manifest)

    def append(self, trajectories: Iterable[Trajectory], source: str = "foretune") -> None:
        """Adds records; they are on disk when this returns."""
        rows = [schema.record_row(t, source) for t in trajectories]
        if rows:
            self.append_table(pa.Table.from_pylist(rows, schema.RECORDS))

    def append_table(self, table: pa.Table, name: str = "", note: tuple[str, Any] | None = None) -> None:
        """Adds a table of the record schema; it is on disk when this returns.

        Args:
            table: the rows.
            name: of the file; a file of that name that is there already stays as it is, and nothing is added.
            note: an entry for the manifest's `sources`, written together with the rows.
        """
        name = name or f"batch-{time.time_ns():016x}-{uuid.uuid4().hex[:8]}.parquet"
        if name not in self.manifest.shards and table.num_rows:
            self._write(name, table, _APPEND_LEVEL)
            self._list(name, table)
        if note is not None:
            self.manifest.sources[note[0]] = note[1]
        write_manifest(self.path, self.manifest)

    def compact(self, rows_per_shard: int = 1 << 16) -> None:
        """Merges small batches into shards of at most `rows_per_shard` rows, sorted for compression.

        Memory holds one shard at a time.
        """
        small = sorted(
            n for n, e in self.manifest.shards.items() if n.startswith("batch-") and e["rows"] <= rows_per_shard // 2
        )
        while len(small) > 1:
            group, rows = [], 0
            while small and rows + self.manifest.shards[small[0]]["rows"] <= rows_per_shard:
                rows += self.manifest.shards[small[0]]["rows"]
                group.append(small.pop(0))
            self._merge(group)

    def _merge(self, names: list[str]) -> None:
        merged = pa.concat_tables([self._read_table(n) for n in names])
        merged = merged.sort_by([("workload", "ascending"), ("space_id", "ascending"), ("timestamp", "ascending")])
        shard = f"shard-{uuid.uuid4().hex}.parquet"
        # a reader that has lost the manifest learns from the shard which batches it stands for
        merged = merged.replace_schema_metadata(
            {**schema.RECORDS.metadata, b"foretune_merged": json.dumps(names).encode()}
        )
        self._write(shard, merged, _COMPACT_LEVEL)
        entry = self._describe(shard, merged)
        for name in names:
            del self.manifest.shards[name]
        self.manifest.shards[shard] = entry
        self.manifest.replaced = names
        write_manifest(self.path, self.manifest)
        self._delete_replaced()

    def repair(self) -> list[str]:
        """Sets damaged files aside, in the subfolder `damaged`, and lists what is whole anew.

        Records whose programs went with them stay, and are passed over until another collection or import adds the
        programs again. Needs a store that was opened with `writable` and `skip_damaged`.

        Returns:
            Names of the files that were set aside.
        """
        names = [p.name for p in sorted(self.path.glob("*.parquet"))]
        bad = [name for name in names if not self._is_whole(name)]
        for name in bad:
            (self.path / "damaged").mkdir(exist_ok=True)
            (self.path / name).rename(self.path / "damaged" / name)
        self.manifest = self._rebuilt_manifest()
        self.manifest.lost = sorted(self.counts().keys() - self.entries().keys())
        write_manifest(self.path, self.manifest)
        return bad

    # -- reading ---------------------------------------------------------------------------------

    def entries(self) -> dict[str, schema.WorkloadEntry]:
        """The workload table, by hash."""
        found: dict[str, schema.WorkloadEntry] = {}
        for name in sorted(self.manifest.workloads):
            with self._guard():
                for row in self._read_table(name).to_pylist():
                    if row["hash"] not in found:
                        found[row["hash"]] = schema.workload_entry_from_row(row)
        return found

    def workloads(self) -> dict[str, Workload]:
        """All programs, by hash."""
        return {key: entry.workload for key, entry in self.entries().items()}

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Streams record batches, shard after shard, in constant memory.

        Args:
            columns: names of the columns to read; all by default.
        """
        for name in sorted(self.manifest.shards):
            with self._guard(), self._open(name) as file:
                yield from self._damage_named(name, file.iter_batches(_ROWS_PER_READ, columns=columns))

    def rows(self, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
        """Streams rows as dicts; see `batches`."""
        for batch in self.batches(columns):
            yield from batch.to_pylist()

    def trajectories(self, only: Iterable[str] | None = None) -> Iterator[Trajectory]:
        """Streams trajectories.

        Args:
            only: hashes of the workloads to read; all by default.
        """
        wanted = None if only is None else pa.array(sorted(only), pa.string())
        entries = self.entries()
        lost = set(self.manifest.lost) - entries.keys()
        if lost:
            _log.warning(
                "records of %d workloads in %s are passed over: their programs were lost, and can be collected or"
                " imported again",
                len(lost),
                self.path,
            )
        tasks: dict[tuple[str, str], Task] = {}
        for batch in self.batches():
            if wanted is not None:
                batch = batch.filter(pc.is_in(batch["workload"], wanted))
            for row in batch.to_pylist():
                entry = entries.get(row["workload"])
                if row["workload"] in lost:
                    continue
                with self._guard():
                    if entry is None:
                        raise DataError(
                            f"{self.path} has records of workload {row['workload']}, whose program is missing;"
                            " `foretune data repair` sets that right"
                        )
                    key = (row["workload"], row["target"])
                    if key not in tasks:
                        tasks[key] = entry.task(target_from_text(row["target"]))
                    yield schema.trajectory_from_row(row, tasks[key], entry.initial)

    def counts(self) -> Counter[str]:
        """Workload hash -> number of records."""
        counts: Counter[str] = Counter()
        for batch in self.batches(["workload"]):
            counts.update(batch["workload"].to_pylist())
        return counts

    def split(self) -> Split | None:
        """The split beside the data, if there is one."""
        return Split.load(self.path)

    # -- files -----------------------------------------------------------------------------------

    def _take_lock(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.path / ".lock", "a")  # noqa: SIM115 - held until close
        except OSError as error:
            raise DataError(f"cannot write to the data folder {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise DataError(f"{self.path} is being written by another process") from error

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        """With `skip_damaged`, notes damage and goes on after it."""
        try:
            yield
        except DataError as error:
            if not self._skip_damaged:
                raise
            if str(error) not in self.damaged:
                self.damaged.append(str(error))
                _log.warning("%s; skipped", error)

    def _write(self, name: str, table: pa.Table, level: int) -> None:
        def write(path: Path) -> None:
            pq.write_table(
                table,
                path,
                compression="zstd",
                compression_level=level,
                use_dictionary=True,
                row_group_size=_ROWS_PER_GROUP,
            )

        write_atomically(self.path / name, write)

    @contextlib.contextmanager
    def _open(self, name: str) -> Iterator[pq.ParquetFile]:
        path = self.path / name
        entry = self.manifest.shards.get(name) or self.manifest.workloads.get(name)
        try:
            if entry is not None and sha256_of(path) != entry["sha256"]:
                raise DataError(f"{path} is damaged: its content does not have the SHA-256 that manifest.json states")
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} is not a readable Parquet file: {error}") from error
        with file:
            version = (file.schema_arrow.metadata or {}).get(b"foretune_schema", b"").decode(errors="replace")
            if version != str(schema.SCHEMA_VERSION):
                raise DataError(
                    f"{path} has schema version {version or 'none'}, but this release reads version"
                    f" {schema.SCHEMA_VERSION}"
                )
            expected = schema.WORKLOADS if name.startswith("workloads-") else schema.RECORDS
            if not file.schema_arrow.equals(expected):
                raise DataError(f"{path} does not have the columns of schema version {version}")
            yield file

    def _damage_named(self, name: str, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{self.path / name} is damaged: {error}") from error
            yield batch

    def _read_table(self, name: str) -> pa.Table:
        with self._open(name) as file:
            batches = list(self._damage_named(name, file.iter_batches()))
            return pa.Table.from_batches(batches, file.schema_arrow)

    def _is_whole(self, name: str) -> bool:
        try:
            self._read_table(name)
        except DataError as error:
            self.damaged.append(str(error))
            return False
        return True

    def _describe(self, name: str, table: pa.Table) -> dict[str, Any]:
        entry: dict[str, Any] = {"rows": table.num_rows, "sha256": sha256_of(self.path / name)}
        if "status" in table.column_names:
            entry["statuses"] = dict(Counter(table["status"].to_pylist()))
        return entry

    def _list(self, name: str, table: pa.Table) -> None:
        if name.startswith("workloads-"):
            self.manifest.workloads[name] = self._describe(name, table)
            return
        self.manifest.shards[name] = self._describe(name, table)
        for text, count in Counter(table["target"].to_pylist()).items():
            target = json.dumps(json.loads(text)["target"], sort_keys=True)
            self.manifest.targets[target] = self.manifest.targets.get(target, 0) + count
        for text in set(table["environment"].to_pylist()):
            for tool, version in json.loads(text).items():
                if tool in schema.OF_ONE_RECORD:
                    continue
                versions = self.manifest.tools.setdefault(tool, [])
                if version not in versions:
                    versions.append(version)

    def _open_manifest(self, writable: bool) -> Manifest:
        try:
            manifest = read_manifest(self.path)
        except DataError as error:
            if writable and isinstance(error, ManifestChangedError):  # what the files hold is not in doubt
                _log.warning("%s; they were listed anew", error)
                write_manifest(self.path, self._rebuilt_manifest())
                return self.manifest
            if not self._skip_damaged:
                raise
            self.damaged.append(str(error))
            return self._rebuilt_manifest()
        if manifest is not None:
            return manifest
        if not writable:
            raise DataError(f"{self.path} has no manifest.json; it is not a data folder")
        return Manifest()

    def _rebuilt_manifest(self) -> Manifest:
        self.manifest = Manifest()
        merged: set[str] = set()
        for kind in ("shard", "workloads", "batch"):
            for path in sorted(self.path.glob(f"{kind}-*.parquet")):
                if path.name in merged:
                    continue
                with self._guard():
                    table = self._read_table(path.name)
                    merged.update(json.loads((table.schema.metadata or {}).get(b"foretune_merged", b"[]")))
                    self._list(path.name, table)
        return self.manifest

    def _recover(self) -> None:
        self._delete_replaced()
        remove_half_written(self.path)
        for path in self.path.glob("shard-*.parquet"):
            if path.name not in self.manifest.shards:
                path.unlink()  # merged, but the kill came before the manifest listed it; its batches are still here
        known = {*self.manifest.shards, *self.manifest.workloads}
        orphans = [
            p.name
            for kind in ("batch", "workloads")
            for p in sorted(self.path.glob(f"{kind}-*.parquet"))
            if p.name not in known
        ]
        for name in orphans:
            with self._guard():
                self._list(name, self._read_table(name))
        if orphans:
            write_manifest(self.path, self.manifest)

    def _delete_replaced(self) -> None:
        for name in self.manifest.replaced:
            with contextlib.suppress(FileNotFoundError):
                (self.path / name).unlink()
        if self.manifest.replaced:
            self.manifest.replaced = []
            write_manifest(self.path, self.manifest)


def was_never_listed(names: Iterable[str]) -> bool:
    """Whether a folder with files of these names is a store whose first write was killed before there was a manifest;
    opened for writing, it has what was written whole.
    """
    return all(re.fullmatch(r"\..*|(batch|workloads)-.*\.parquet", name) for name in names)


def target_from_text(text: str) -> Target:
    """The target of a record.

    Raises:
        DataError: it is damaged.
    """
    try:
        return Target.from_json(json.loads(text))
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"a record's target is damaged: {error}") from error
