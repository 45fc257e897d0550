"""OnlineModel: a latent cost model and the records that it was adapted to; the records are what its file holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from foretune.compiler.metaschedule.records import task_of
from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.workload import module_hash
from foretune.costmodel.latent.model import LatentCostModel
from foretune.errors import ForetuneError, ModelError
from foretune.record import MeasureRecord, MeasureSettings, Status
from foretune.support.cache import RecentCache
from foretune.support.files import write_text_atomically
from foretune.target import HardwareFeatures
from foretune.task import Candidate, Task
from foretune.trace import Trace

SCHEMA = "foretune-online-1"
_CACHED_TASKS = 64


class OnlineModel:
    """What MetaSchedule's cost model and search strategy share, so that each measurement is learnt once.

    The file is JSON lines: a header with schema and checksum, then tasks and records. It holds no weights, so that it
    can be read on top of others.

    Args:
        model: ranks traces; the bundled weights, loaded when first needed, if None.
        hardware: of the device that candidates run on; by default this machine's where its code could run here.
    """

    def __init__(self, model: LatentCostModel | None = None, hardware: HardwareFeatures | None = None) -> None:
        self._given, self._hardware = model, hardware
        self._records: dict[tuple[str, str, str], MeasureRecord] = {}
        self._programs: set[tuple[tuple[str, str], str]] = set()
        self._tasks: RecentCache[Task] = RecentCache(_CACHED_TASKS)

    @cached_property
    def model(self) -> LatentCostModel:
        """The model.

        Raises:
            ModelError: it shall be the bundled one, and its file cannot be read.
        """
        return self._given if self._given is not None else LatentCostModel.bundled()

    @property
    def records(self) -> tuple[MeasureRecord, ...]:
        """What was learnt, in order."""
        return tuple(self._records.values())

    def task(self, mod: tvm.IRModule, target: tvm.target.Target, name: str) -> Task:
        """The task of a tuning context.

        Raises:
            UnsupportedError: the program's structure cannot be read.
        """
        return self._tasks.get((module_hash(mod), str(target)), lambda: task_of(mod, target, name, self._hardware))

    def knows(self, task: Task, program_hash: str) -> bool:
        """Whether a program of a task was learnt."""
        return (task.key, program_hash) in self._programs

    def learn(self, records: Sequence[MeasureRecord]) -> None:
        """Adapts the model to records; a candidate that it knows already is left out."""
        fresh = {r.candidate.key: r for r in records if r.candidate.key not in self._records}
        self.model.update(list(fresh.values()))
        self._remember(fresh)

    def save(self, path: Path) -> None:
        """Writes the records, whole or not at all."""
        positions: dict[tuple[str, str], int] = {}
        lines: list[dict[str, Any]] = []
        for record in self._records.values():
            task = record.candidate.task
            if task.key not in positions:
                positions[task.key] = len(positions)
                lines.append({"task": task.to_json()})
            lines.append({"record": record.to_json(), "of": positions[task.key]})
        body = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        header = json.dumps({"schema": SCHEMA, "num_records": len(self._records), "sha256": _digest(body)})
        write_text_atomically(path, f"{header}\n{body}")

    def load(self, path: Path) -> None:
        """Forgets what was learnt, and learns the records of a file that `save` wrote.

        Raises:
            ModelError: the file is missing, damaged, or of another schema; nothing is forgotten.
        """
        records = _read(path)
        model = type(self.model)(self.model.network, self.model.training_hash)
        try:
            model.update(records)
        except ForetuneError as error:
            raise ModelError(f"{path} does not fit the model: {error}") from error
        self.model = model
        self._records.clear()
        self._programs.clear()
        self._remember({r.candidate.key: r for r in records})

    def _remember(self, records: Mapping[tuple[str, str, str], MeasureRecord]) -> None:
        self._records.update(records)
        self._programs.update((r.candidate.task.key, r.program_hash) for r in records.values() if r.program_hash)


def _read(path: Path) -> list[MeasureRecord]:
    try:
        first, _, body = path.read_bytes().decode("ascii").partition("\n")
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is damaged, or not a file of learnt records: {error}") from error
    try:
        header = json.loads(first)
        schema, checksum = header["schema"], header["sha256"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ModelError(f"{path} is truncated, or not a file of learnt records") from error
    if schema != SCHEMA:
        raise ModelError(f"{path} has schema {schema!r}, but this release reads {SCHEMA!r}")
    if checksum != _digest(body):
        raise ModelError(f"{path} is damaged: its lines do not have the checksum that its header states")
    tasks: list[Task] = []
    records: list[MeasureRecord] = []
    try:
        for line in body.splitlines():
            row = json.loads(line)
            if "task" in row:
                tasks.append(Task.from_json(row["task"]))
            else:
                records.append(_record(tasks[row["of"]], row["record"]))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, ForetuneError) as error:
        raise ModelError(f"{path} is damaged: {type(error).__name__}: {error}") from error
    return records


def _record(task: Task, row: dict[str, Any]) -> MeasureRecord:
    settings = MeasureSettings(**row["settings"]) if row["settings"] else None
    return MeasureRecord(
        Candidate(task, Trace.from_json(row["trace"])),
        Status(row["status"]),
        tuple(float(s) for s in row["run_secs"]),
        str(row["error"]),
        str(row["program_hash"]),
        tuple(sorted(row["environment"].items())),
        settings,
        float(row["timestamp"]),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
