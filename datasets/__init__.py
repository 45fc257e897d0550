"""Measured records: stores of them, databases of the best, and logs of other tuners.

All names here are stable, and so are the files: what this release writes, later ones read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foretune.support.faces import lazy_names

if TYPE_CHECKING:
    from foretune.datasets.importers.report import BadLine, ImportReport
    from foretune.datasets.importers.run import import_logs
    from foretune.datasets.records.database import Database
    from foretune.datasets.records.merge import merge
    from foretune.datasets.records.split import Split, make_split
    from foretune.datasets.records.store import BUNDLED, RecordStore
    from foretune.datasets.reports.summary import Summary, summarize

__all__ = [
    "BUNDLED",
    "BadLine",
    "Database",
    "ImportReport",
    "RecordStore",
    "Split",
    "Summary",
    "import_logs",
    "make_split",
    "merge",
    "summarize",
]

EXPERIMENTAL: frozenset[str] = frozenset()
"""Names that may change in any release; the others stay, or are told a release ahead."""

_HERE = "foretune.datasets"
_HOMES = {
    "BUNDLED": f"{_HERE}.records.store",
    "BadLine": f"{_HERE}.importers.report",
    "Database": f"{_HERE}.records.database",
    "ImportReport": f"{_HERE}.importers.report",
    "RecordStore": f"{_HERE}.records.store",
    "Split": f"{_HERE}.records.split",
    "Summary": f"{_HERE}.reports.summary",
    "import_logs": f"{_HERE}.importers.run",
    "make_split": f"{_HERE}.records.split",
    "merge": f"{_HERE}.records.merge",
    "summarize": f"{_HERE}.reports.summary",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
