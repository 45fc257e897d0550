"""Reads logs into a data set, in chunks, once each."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import orjson

from foretune.datasets.importers import ansor, autotvm, metaschedule
from foretune.datasets.importers.known import LogFiles, identify
from foretune.datasets.importers.lines import LineCount, read_lines
from foretune.datasets.importers.nesting import check_integers, check_nesting
from foretune.datasets.importers.report import ImportReport, LineError, reason_of
from foretune.datasets.importers.sink import Sink, record_digest
from foretune.datasets.records.store import RecordStore
from foretune.errors import DataError, OptionError

FORMATS = ("auto", "metaschedule", "ansor", "autotvm")
_SOURCES = {ansor.SOURCE, autotvm.SOURCE, metaschedule.SOURCE}
_ROWS_PER_SHARD = 1 << 14
_log = logging.getLogger(__name__)


class _Reader(Protocol):
    def read(self, data: Any, line: bytes, sink: Sink) -> None: ...


def import_logs(
    paths: Iterable[Path | str],
    store: RecordStore,
    log_format: str = "auto",
    strict: bool = False,
    workloads: Path | str | None = None,
    force: bool = False,
) -> ImportReport:
    """Adds logs of other tuners to a data set.

    A log is read line by line. One that was imported before, under whatever name, is not read again; one that has grown
    since, or whose import was interrupted, goes on where it ended. A record that the data set has, or that comes twice,
    is left out and counted.

    Args:
        paths: files, plain or compressed with gzip or xz, and folders of them.
        store: open for writing.
        log_format: one of `FORMATS`; `auto` looks at each line.
        strict: check every line of all files first, and add nothing if one is bad.
        workloads: MetaSchedule's file of workloads, if its name does not tell which it is.
        force: read logs that were imported before, too.

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
    sink = Sink(set(store.entries()), _records_of(store))
    met: set[str] = set()
    for log in logs:
        _import(log, log_format, store, sink, met, report, force)
    report.num_workloads = len(met)
    report.secs = time.perf_counter() - start
    return report


def _records_of(store: RecordStore) -> set[bytes]:
    """What a data set has of imported records."""
    columns = ["source", "workload", "target", "trace_key", "status", "run_secs", "error", "timestamp"]
    return {record_digest(**row) for row in store.rows(columns) if row["source"] in _SOURCES}


def _import(
    log: LogFiles, log_format: str, store: RecordStore, sink: Sink, met: set[str], report: ImportReport, force: bool
) -> None:
    key, entry = identify(log, log_format, store.manifest.sources)
    if entry["complete"] and not force:
        report.already_imported.append(str(log.records))
        return
    report.num_files += 1
    if log.lacks_workloads:
        report.add_bad(
            str(log.records),
            1,
            "records of MetaSchedule, but their file of workloads is not there; name it with --workload-file",
        )
        return
    skip = 0 if force else entry["lines"]
    count, duplicates, found_any = LineCount(), sink.num_duplicates, skip > 0

    def flush(complete: bool) -> None:
        nonlocal found_any
        tasks, table = sink.take()
        met.update(table["workload"].to_pylist())
        found_any = found_any or bool(table.num_rows) or sink.num_duplicates > duplicates
        entry.update(lines=count.whole, records=entry["records"] + table.num_rows, complete=complete)
        store.append_workloads(tasks)
        if found_any:  # else it may be a log of another kind than it was said to be
            store.append_table(table, f"batch-{key[:16]}-{uuid.uuid4().hex[:16]}.parquet", (key, dict(entry)))
        report.num_records += table.num_rows
        report.num_ok += sum(status == "ok" for status in table["status"].to_pylist())

    for _ in _read(log, log_format, sink, report, skip, count):
        if len(sink) >= _ROWS_PER_SHARD:
            flush(False)
    flush(True)
    report.num_duplicates += sink.num_duplicates - duplicates


def _check(log: LogFiles, log_format: str) -> None:
    report, sink = ImportReport(), Sink()
    if log.lacks_workloads:
        raise DataError(
            f"{log.records} has records of MetaSchedule, but their file of workloads is not there; name it with"
            " --workload-file (strict)"
        )
    for _ in _read(log, log_format, sink, report):
        if report.bad:
            break
        if len(sink) >= _ROWS_PER_SHARD:
            sink.take()
    if report.bad:
        raise DataError(f"{report.bad[0]}; nothing was imported (strict)")


def _read(
    log: LogFiles, log_format: str, sink: Sink, report: ImportReport, skip: int = 0, count: LineCount | None = None
) -> Iterator[None]:
    """Parses a log into a sink, with a stop after each line; `skip` lines are left out, and `count` follows."""
    readers: dict[str, _Reader] = {"ansor": ansor.AnsorReader(), "autotvm": autotvm.AutoTvmReader()}
    tables: metaschedule.MetaScheduleReader | None = None
    if log.workloads is not None:
        tables = readers["metaschedule"] = metaschedule.MetaScheduleReader(
            metaschedule.read_workloads(log.workloads, report)
        )
    name = str(log.records)
    for number, line in read_lines(log.records, skip, count):
        report.num_lines += 1
        try:
            if isinstance(line, LineError):
                raise line
            data = tables.parse(line) if tables is not None and line.startswith(b"[") else orjson.loads(line)
            check_nesting(line, data)
            check_integers(line)
            kind = _kind(data)
            if log_format not in ("auto", kind):
                raise LineError(f"not a line of a log of {log_format}")
            if kind not in readers:
                raise LineError(
                    "a MetaSchedule record, but its file of workloads is not there; name it with --workload-file"
                )
            readers[kind].read(data, line, sink)
        except Exception as error:  # the boundary to a foreign file: whatever a reader stumbles over is a bad line
            report.add_bad(name, number, reason_of(error))
        yield


def _kind(data: Any) -> str:
    for kind, module in (("ansor", ansor), ("autotvm", autotvm), ("metaschedule", metaschedule)):
        if module.matches(data):
            return kind
    raise LineError(
        "not a line of any known log: expected Ansor's 'i' and 'r', AutoTVM's 'input' and 'result', or MetaSchedule's"
        " [workload, record]"
    )


# -- files -----------------------------------------------------------------------------------------


def _find_logs(paths: list[Path], workloads: Path | None) -> list[LogFiles]:
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
        logs.append(LogFiles(path, beside, kind == "metaschedule" and beside is None))
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
            except (orjson.JSONDecodeError, LineError, RecursionError):
                continue
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return "unknown"


def _workload_file(records: Path, tables: list[Path]) -> Path | None:
    """The file of workloads that belongs to a file of records: by name, or the only one there is."""
    for old, new in (
        ("tuning_record", "workload"),
        ("tuning_records", "workloads"),
        ("records", "workloads"),
        ("record", "workload"),
    ):
        beside = records.with_name(records.name.replace(old, new))
        if beside != records and beside.is_file():
            return beside
    same = [path for path in tables if path.parent == records.parent]
    return same[0] if len(same) == 1 else tables[0] if len(tables) == 1 else None
