"""Workload, Task and Candidate: what is tuned, where, and one way to do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foretune.errors import DataError
from foretune.program import ProgramGraph
from foretune.target import Target
from foretune.trace import Trace


@dataclass(frozen=True)
class Workload:
    """A canonical program.

    Attributes:
        hash: the tool's structural hash of the program, as text; equal programs have equal hashes.
        program: the program in the tool's own serialised form, text.
        graph: its structure, for the cost model.
        name: for people; not part of the identity.
        family: operator family, for grouping in reports (`dense`, `conv2d`, ...).
    """

    hash: str
    program: str
    graph: ProgramGraph
    name: str = ""
    family: str = ""

    def to_json(self) -> dict[str, Any]:
        """The workload as JSON data."""
        return {"hash": self.hash, "program": self.program, "graph": self.graph.to_json(), "name": self.name, "family": self.family}

    @classmethod
    def from_json(cls, data: Any) -> Workload:
        """Reads what `to_json` wrote.

        Raises:
            DataError: the data has another shape.
        """
        try:
            return cls(str(data["hash"]), str(data["program"]), ProgramGraph.from_json(data["graph"]), str(data["name"]), str(data["family"]))
        except (KeyError, TypeError) as error:
            raise DataError(f"not a workload: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Task:
    """A workload to be tuned for a target.

    Attributes:
        workload: the program.
        target: where it runs.
        weight: how often one run of the model runs it.
        networks: (name, calls in one run) of each network that the task is a part of, where known.
    """

    workload: Workload
    target: Target
    weight: float = 1.0
    networks: tuple[tuple[str, float], ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        """(target key, workload hash): what databases are keyed by."""
        return (self.target.key, self.workload.hash)

    def to_json(self) -> dict[str, Any]:
        """The task as JSON data."""
        return {
            "workload": self.workload.to_json(), "target": self.target.to_json(), "weight": self.weight, "networks": [list(n) for n in self.networks],
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Any) -> Task:
        """Reads what `to_json` wrote.

        Raises:
            DataError: the data has another shape.
        """
        try:
            networks = tuple((str(name), float(calls)) for name, calls in data["networks"])
            return cls(Workload.from_json(data["workload"]), Target.from_json(data["target"]), float(data["weight"]), networks)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a task: {type(error).__name__}: {error}") from error


@dataclass(frozen=True)
class Candidate:
    """A task with one trace, not yet measured."""

    task: Task
    trace: Trace

    @property
    def key(self) -> tuple[str, str, str]:
        """(target key, workload hash, trace key)."""
        return (*self.task.key, self.trace.key)
