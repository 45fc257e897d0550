"""What an import did, and which lines it could not read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

_KEPT = 1000  # bad lines with their reasons; all are counted


class LineError(Exception):
    """A line cannot be read; the message says why."""


def reason_of(error: Exception) -> str:
    """Why a line cannot be read, in one line."""
    if isinstance(error, LineError):
        return str(error)
    if isinstance(error, orjson.JSONDecodeError):
        return f"not JSON: {error}"
    return f"the line cannot be read: {type(error).__name__}: {' '.join(str(error).split())[:200]}"


@dataclass(frozen=True)
class BadLine:
    """A line that was left out."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass
class ImportReport:
    """Counts of an import.

    Attributes:
        num_files: files read, without those that the data set already has.
        num_lines: lines read, without empty ones and comments.
        num_records: records added.
        num_ok: records with a run time.
        num_workloads: distinct workloads met.
        num_duplicates: records that the data set has already, or that came twice: the same schedule with the same times
            at the same moment.
        num_bad: lines left out.
        bad: the first thousand of them.
        already_imported: files whose content the data set already has.
        secs: wall time.
    """

    num_files: int = 0
    num_lines: int = 0
    num_records: int = 0
    num_ok: int = 0
    num_workloads: int = 0
    num_duplicates: int = 0
    num_bad: int = 0
    bad: list[BadLine] = field(default_factory=list)
    already_imported: list[str] = field(default_factory=list)
    secs: float = 0.0

    @property
    def lines_per_sec(self) -> float:
        """Rate of the whole import."""
        return self.num_lines / self.secs if self.secs else 0.0

    def add_bad(self, file: str, line: int, reason: str) -> None:
        """Counts a bad line."""
        self.num_bad += 1
        if len(self.bad) < _KEPT:
            self.bad.append(BadLine(file, line, reason))

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {**asdict(self), "lines_per_sec": round(self.lines_per_sec, 1)}
