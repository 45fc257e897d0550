"""Labelled MLIR modules in Parquet: what was compiled, and what it cost.

    DIR/part-*.parquet   rows of one sitting, each file written whole
    DIR/machine.json     vector width and caches of the machine that all of them are of

A row is one program after one schedule, compiled for one processor. A program is named by its family and seed, from
which the generator makes it again; `module` has the text after the schedule where that is not empty.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from foretune.errors import DataError, ForetuneError
from foretune.support.files import write_atomically, write_text_atomically
from foretune.target import HardwareFeatures

VERSION = 1
_MACHINE = "machine.json"
LABELS = (
    "instructions",
    "registers",
    "gpr_registers",
    "vector_registers",
    "spills",
    "reloads",
    "memory_operands",
    "vector_share",
    "dynamic_instructions",
    "dynamic_vector_share",
    "bytes_read",
    "bytes_written",
    "mca_cycles",
    "mca_throughput",
    "secs",
)
"""Names of the labels; `foretune.passes.mlir.costs.labels` says what they mean."""

SCHEMA = pa.schema(
    [
        ("family", pa.string()), ("seed", pa.int64()),
        ("schedule", pa.string()),  # JSON list of actions' texts
        ("cpu", pa.string()),  # processor that was compiled for; empty for the machine's own
        ("status", pa.string()), ("error", pa.string()),
        ("module", pa.string()),  # text after the schedule; empty where the schedule is
        *((name, pa.float64()) for name in LABELS),
    ],
    metadata={"foretune_mlir_samples": str(VERSION)},
)  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One row.

    Attributes:
        family, seed: of the program.
        schedule: texts of actions.
        cpu: processor that was compiled for.
        status: a value of `foretune.record.Status`.
        error: the tool's words, where it failed.
        module: text after the schedule.
        labels: name -> value; empty where it failed.
    """

    family: str
    seed: int
    schedule: tuple[str, ...] = ()
    cpu: str = ""
    status: str = "ok"
    error: str = ""
    module: str = ""
    labels: dict[str, float] | None = None

    @property
    def key(self) -> tuple[str, int, tuple[str, ...], str]:
        """What was done to which program."""
        return self.family, self.seed, self.schedule, self.cpu

    def to_row(self) -> dict[str, Any]:
        """It as a row of the table."""
        row = {
            "family": self.family,
            "seed": self.seed,
            "schedule": json.dumps(self.schedule),
            "cpu": self.cpu,
            "status": self.status,
            "error": self.error,
            "module": self.module,
        }
        return {**row, **{name: (self.labels or {}).get(name) for name in LABELS}}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Sample:
        """Reads what `to_row` made.

        Raises:
            DataError: a column does not hold what the schema says.
        """
        try:
            labels = {name: float(row[name]) for name in LABELS if row.get(name) is not None}
            return cls(
                row["family"],
                int(row["seed"]),
                tuple(json.loads(row["schedule"])),
                row["cpu"],
                row["status"],
                row.get("error") or "",
                row.get("module") or "",
                labels,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"a row of MLIR samples is damaged: {type(error).__name__}: {error}") from error


def claim(folder: Path, hardware: HardwareFeatures) -> None:
    """Says that a folder's samples are of a machine.

    Raises:
        DataError: they are of another one.
    """
    lasting = HardwareFeatures(
        vector_bits=hardware.vector_bits,
        l1_bytes=hardware.l1_bytes,
        l2_bytes=hardware.l2_bytes,
        l3_bytes=hardware.l3_bytes,
    )
    known = machine_of(folder)
    if known is None and not any(folder.glob("part-*.parquet")):
        write_text_atomically(folder / _MACHINE, json.dumps({k: v for k, v in lasting.to_json().items() if v}) + "\n")
    elif known not in (None, lasting):
        raise DataError(f"the samples of {folder} are of another machine; name another folder")


def machine_of(folder: Path) -> HardwareFeatures | None:
    """The machine that a folder's samples are of; None if nobody said.

    Raises:
        DataError: the file is damaged.
    """
    try:
        return HardwareFeatures.from_json(json.loads((folder / _MACHINE).read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, ForetuneError) as error:
        raise DataError(f"{folder / _MACHINE} is damaged: {error}") from error


def append(folder: Path, samples: Iterable[Sample], level: int = 9) -> str:
    """Adds samples; they are on disk when this returns. The name of their file."""
    table = pa.Table.from_pylist([s.to_row() for s in samples], SCHEMA)
    path = folder / f"part-{time.time_ns():016x}-{uuid.uuid4().hex[:8]}.parquet"
    write_atomically(
        path, lambda temporary: pq.write_table(table, temporary, compression="zstd", compression_level=level)
    )
    return path.name


def read(folder: Path, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """Streams rows.

    Raises:
        DataError: there is no such folder, or a file in it is damaged or of another version.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder} of MLIR samples; `foretune mlir collect` makes one")
    for path in sorted(folder.glob("part-*.parquet")):
        yield from _rows(path, columns)


def _rows(path: Path, columns: list[str] | None = None) -> list[dict[str, Any]]:
    try:
        table = pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error
    if (table.schema.metadata or {}).get(b"foretune_mlir_samples") != str(VERSION).encode():
        raise DataError(f"{path} is not of version {VERSION} of MLIR samples")
    return table.to_pylist()


def samples_of(path: Path) -> list[Sample]:
    """The samples of one file; see `read`."""
    return [Sample.from_row(row) for row in _rows(path)]


def samples(folder: Path) -> Iterator[Sample]:
    """Streams samples; see `read`."""
    return map(Sample.from_row, read(folder))
