"""Which part of a log a data set already has: by the content of its files, the format asked for, and the version of the
readers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

READERS = (
    3  # raised when readers understand more, or otherwise: logs are then read again, and what is there stays as it is
)
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class LogFiles:
    """The files of a log.

    Attributes:
        records: one record a line.
        workloads: MetaSchedule's file of programs, if it is MetaSchedule's.
        lacks_workloads: whether it is MetaSchedule's, and that file is not there.
    """

    records: Path
    workloads: Path | None
    lacks_workloads: bool = False

    def __iter__(self) -> Iterator[Path]:
        yield self.records
        if self.workloads is not None:
            yield self.workloads


def identify(log: LogFiles, log_format: str, sources: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Key of a log's entry in a manifest's `sources`, and the entry.

    Where an earlier import read the same files, or what are now their first bytes, the entry says after how many lines
    to go on.

    Args:
        log: its files.
        log_format: one of `FORMATS`.
        sources: of the manifest.
    """
    wanted = [entry for entry in sources.values() if _is_of(entry, log, log_format)]
    sizes = {path: {entry["files"][i]["bytes"] for entry in wanted} for i, path in enumerate(log)}
    hashes = {path: _prefix_hashes(path, sizes[path]) for path in log}
    files = [{"bytes": max(hashes[path]), "sha256": hashes[path][max(hashes[path])]} for path in log]
    key = hashlib.sha256(repr((files, log_format, READERS)).encode()).hexdigest()
    entry = {
        "name": log.records.name,
        "format": log_format,
        "readers": READERS,
        "files": files,
        "lines": 0,
        "records": 0,
        "complete": False,
    }
    for earlier in wanted:
        begins = all(hashes[path].get(file["bytes"]) == file["sha256"] for path, file in zip(log, earlier["files"]))
        if begins and earlier["lines"] >= entry["lines"]:
            entry.update(lines=earlier["lines"], complete=earlier["complete"] and earlier["files"] == files)
    own = sources.get(key)
    if _is_of(own, log, log_format) and type(own.get("records")) is int:
        entry["records"] = own["records"]
    return key, entry


def _is_of(entry: Any, log: LogFiles, log_format: str) -> TypeGuard[dict[str, Any]]:
    """Whether an entry was written by these readers, for logs of so many files."""
    if not isinstance(entry, dict) or (entry.get("readers"), entry.get("format")) != (READERS, log_format):
        return False
    files, lines = entry.get("files"), entry.get("lines")
    if not isinstance(files, list) or type(lines) is not int or not isinstance(entry.get("complete"), bool):
        return False
    return len(files) == len([*log]) and all(
        isinstance(f, dict) and type(f.get("bytes")) is int and isinstance(f.get("sha256"), str) for f in files
    )


def _prefix_hashes(path: Path, sizes: set[int]) -> dict[int, str]:
    """Size of a prefix -> its SHA-256; for the sizes asked for that the file reaches, and for all of it."""
    digest, done, found = hashlib.sha256(), 0, {}
    with open(path, "rb") as file:
        for size in sorted(size for size in sizes if 0 < size <= path.stat().st_size):
            done += _update(digest, file, size - done)
            found[done] = digest.hexdigest()
        done += _update(digest, file, None)
    return {**found, done: digest.hexdigest()}


def _update(digest: Any, file: Any, num_bytes: int | None) -> int:
    """Reads and hashes so many bytes, or all that are left; how many they were."""
    done = 0
    while data := file.read(_CHUNK_BYTES if num_bytes is None else min(_CHUNK_BYTES, num_bytes - done)):
        digest.update(data)
        done += len(data)
    return done
