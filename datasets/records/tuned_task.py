"""All that a database knows of one task, as a value that travels between databases, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from foretune.errors import DataError, ForetuneError
from foretune.record import MeasureRecord
from foretune.task import Task

SCHEMA = "foretune-tuned-task-1"


@dataclass(frozen=True)
class TunedTask:
    """All that a database knows of a task.

    Attributes:
        task: the task.
        records: what was measured.
        errors: key of a trace -> the error found when it was checked against the reference output.
        promise: what was expected of measuring more; see `Database.set_promise`.
    """

    task: Task
    records: tuple[MeasureRecord, ...]
    errors: Mapping[str, float]
    promise: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The value as JSON data."""
        return {
            "schema": SCHEMA,
            "task": self.task.to_json(),
            "records": [record.to_json() for record in self.records],
            "errors": dict(self.errors),
            "promise": self.promise,
        }

    @classmethod
    def from_json(cls, data: Any) -> TunedTask:
        """Reads what `to_json` wrote, and checks each value as if it came from a stranger.

        Raises:
            DataError: the data is of another schema or shape, or has values that no measurement gives.
        """
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise DataError(f"it has another schema than {SCHEMA}")
        try:
            task = Task.from_json(data["task"])
            records = tuple(MeasureRecord.from_json(task, record) for record in data["records"])
            keys = {record.trace.key for record in records}
            errors = {key: _finite(error, "the error of an output") for key, error in data["errors"].items()}
            promise = data["promise"]
        except DataError:
            raise
        except (KeyError, TypeError, AttributeError, RecursionError, ForetuneError) as error:
            raise DataError(f"not a tuned task: {type(error).__name__}: {str(error)[:200]}") from error
        if unknown := sorted(errors.keys() - keys):
            raise DataError(f"errors of traces that were not measured: {unknown[:3]}")
        if promise is not None:
            _finite(promise, "what more measurements would gain")
        return cls(task, records, errors, promise)


def _finite(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value >= 0):
        raise DataError(f"{what} must be a finite number that is not negative, but is {str(value)[:40]}")
    return float(value)
