"""Reads logs into a data set, in chunks, once each."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import orjson

from foretune.datasets.importers import ansor, autotvm, metaschedule
from foretune.datasets.importers.lines import read_lines
from foretune.datasets.importers.report import ImportReport, LineError
from foretune.datasets.importers.sink import Sink
from foretune.datasets.records.store import RecordStore
from foretune.errors import DataError, OptionError

FORMATS = ("auto", "metaschedule", "ansor", "autotvm")
_ROWS_PER_SHARD = 1 << 14
_log = logging.getLogger(__name__)


class _Reader(Protocol):
    def read(self, data: Any, line: bytes, sink: Sink) -> None: ...


@dataclass(frozen=True)
class _Log:
    """A file of records, with its file of workloads if it is MetaSchedule's."""

    path: Path
    workloads: Path | None
    digest: str


def import_logs(
    paths: Iterable[Path | str], store: RecordStore, log_format: str = "auto", strict: bool = False, workloads: Path | str | None = None
) -> ImportReport:
    """Adds logs of other tuners to a data set.

    A log is read line by line, in constant memory. One that was imported before, under whatever name, adds nothing; one
    whose import was interrupted goes on where it stopped.

    Args:
        paths: files, plain or compressed with gzip or xz, and folders of them.
        store: open for writing.
        log_format: one of `FORMATS`; `auto` looks at each line.
        strict: check every line of all files first, and add nothing if one is bad.
        workloads: MetaSchedule's file of workloads, if its name does not tell which it is.

    Raises:
        OptionError: the format is unknown.
        DataError: a file is missing or of no known format; with `strict`, the first bad line.
    """
    if log_format not in FORMATS:
        raise OptionError(f"unknown log format {log_format!r}; known are {list(FORMATS)}")
    report = ImportReport()
    start = time.perf_counter()
    logs = _find_logs([Path(p) for p in paths], Path(workloads) if workloads else None)
    if strict:
        for log in logs:
            _check(log, log_format)
    known = set(store.entries())
    met: set[str] = set()
    for log in logs:
        _import(log, log_format, store, known, met, report)
    report.num_workloads = len(met)
    report.secs = time.perf_counter() - start
    return report


def _import(log: _Log, log_format: str, store: RecordStore, known: set[str], met: set[str], report: ImportReport) -> None:
    entry = dict(store.manifest.sources.get(log.digest, {"name": log.path.name, "shards": 0, "records": 0, "complete": False}))
    if entry["complete"]:
        report.already_imported.append(str(log.path))
        return
    report.num_files += 1
    done, shard = entry["shards"], 0
    sink = Sink(known)

    def flush(complete: bool) -> None:
        nonlocal shard
        tasks, table = sink.take()
        met.update(table["workload"].to_pylist())
        shard += 1
        if shard > done:  # the shards before are there since an import that was interrupted
            store.append_workloads(tasks)
            entry.update(shards=shard, records=entry["records"] + table.num_rows, complete=complete)
            store.append_table(table, f"batch-{log.digest[:16]}-{shard:08x}.parquet", (log.digest, dict(entry)))
            report.num_records += table.num_rows
            report.num_ok += sum(status == "ok" for status in table["status"].to_pylist())

    for _ in _read(log, log_format, sink, report):
        if len(sink) >= _ROWS_PER_SHARD:
            flush(False)
    flush(True)


def _check(log: _Log, log_format: str) -> None:
    report, sink = ImportReport(), Sink()
    for _ in _read(log, log_format, sink, report):
        if report.bad:
            break
        if len(sink) >= _ROWS_PER_SHARD:
            sink.take()
    if report.bad:
        raise DataError(f"{report.bad[0]}; nothing was imported (strict)")


def _read(log: _Log, log_format: str, sink: Sink, report: ImportReport) -> Iterator[None]:
    """Parses a log into a sink, with a stop after each line."""
    readers: dict[str, _Reader] = {"ansor": ansor.AnsorReader(), "autotvm": autotvm.AutoTvmReader()}
    tables: metaschedule.MetaScheduleReader | None = None
    if log.workloads is not None:
        tables = readers["metaschedule"] = metaschedule.MetaScheduleReader(metaschedule.read_workloads(log.workloads, report))
    name = str(log.path)
    for number, line in read_lines(log.path):
        report.num_lines += 1
        try:
            if isinstance(line, LineError):
                raise line
            data = tables.parse(line) if tables is not None and line.startswith(b"[") else orjson.loads(line)
            kind = _kind(data)
            if log_format not in ("auto", kind):
                raise LineError(f"not a line of a log of {log_format}")
            if kind not in readers:
                raise LineError("a MetaSchedule record, but its file of workloads is not there; name it with --workload-file")
            readers[kind].read(data, line, sink)
        except orjson.JSONDecodeError as error:
            report.add_bad(name, number, f"not JSON: {error}")
        except LineError as error:
            report.add_bad(name, number, str(error))
        yield


def _kind(data: Any) -> str:
    for kind, module in (("ansor", ansor), ("autotvm", autotvm), ("metaschedule", metaschedule)):
        if module.matches(data):
            return kind
    raise LineError("not a line of any known log: expected Ansor's 'i' and 'r', AutoTVM's 'input' and 'result', or MetaSchedule's [workload, record]")


# -- files -----------------------------------------------------------------------------------------


def _find_logs(paths: list[Path], workloads: Path | None) -> list[_Log]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
            if not inside:
                raise DataError(f"the folder {path} has no files to import")
            files.extend(inside)
        elif path.is_file():
            files.append(path)
        else:
            raise DataError(f"there is no file {path}")
    if workloads is not None and not workloads.is_file():
        raise DataError(f"there is no file {workloads}")
    kinds = {path: _first_kind(path) for path in dict.fromkeys(files)}
    for path in [p for p, kind in kinds.items() if kind == "unknown" and p not in paths]:
        _log.warning("%s is not a log of any known format; left out", path)
        del kinds[path]
    tables = [path for path, kind in kinds.items() if kind == "workloads"]
    logs = []
    for path, kind in kinds.items():
        if kind == "workloads":
            continue
        beside = (workloads or _workload_file(path, tables)) if kind == "metaschedule" else None
        logs.append(_Log(path, beside, _digest(path, beside)))
    used = {log.workloads for log in logs}
    for path in tables:
        if path not in used and path != workloads:
            _log.warning("%s is a file of workloads without records; left out", path)
    return logs


def _first_kind(path: Path) -> str:
    """Kind of the first line that can be read."""
    try:
        for _, line in read_lines(path):
            try:
                data = orjson.loads(line) if isinstance(line, bytes) else None
                return "workloads" if metaschedule.matches_workload(data) else _kind(data)
            except (orjson.JSONDecodeError, LineError):
                continue
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return "unknown"


def _workload_file(records: Path, tables: list[Path]) -> Path | None:
    """The file of workloads that belongs to a file of records: by name, or the only one there is."""
    for old, new in (("tuning_record", "workload"), ("tuning_records", "workloads"), ("records", "workloads"), ("record", "workload")):
        beside = records.with_name(records.name.replace(old, new))
        if beside != records and beside.is_file():
            return beside
    same = [path for path in tables if path.parent == records.parent]
    return same[0] if len(same) == 1 else tables[0] if len(tables) == 1 else None


def _digest(*paths: Path | None) -> str:
    digest = hashlib.sha256()
    for path in paths:
        if path is not None:
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
