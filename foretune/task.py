"""Workload, Task and Candidate: what is tuned, where, and one way to do it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foretune.errors import DataError
from foretune.program import ProgramGraph
from foretune.target import Target
from foretune.trace import Trace


@dataclass(frozen=True)
class Rewrite:
    """What a program becomes by the first actions of some of its traces.

    Attributes:
        prefix: these actions.
        graph: structure of the program after them; what a cost model reads the rest of such a trace on.
    """

    prefix: Trace
    graph: ProgramGraph

    def begins(self, trace: Trace) -> bool:
        """Whether a trace begins with these actions."""
        return trace.actions[: len(self.prefix)] == self.prefix.actions


@dataclass(frozen=True)
class Workload:
    """A canonical program.

    Attributes:
        hash: the tool's structural hash of the program, as text; equal programs have equal hashes.
        program: the program in the tool's own serialised form, text.
        graph: its structure, for the cost model.
        name: for people; not part of the identity.
        family: operator family, for grouping in reports (`dense`, `conv2d`, ...).
        rewrites: other forms of the program that are worth scheduling; they follow from it, and are no part of the
            identity.
    """

    hash: str
    program: str
    graph: ProgramGraph
    name: str = ""
    family: str = ""
    rewrites: tuple[Rewrite, ...] = ()

    def rewrite_of(self, trace: Trace) -> Rewrite | None:
        """The rewrite that a trace begins with; None if it schedules the program as it is."""
        return next((r for r in self.rewrites if r.begins(trace)), None)

    def graph_after(self, rewrite: Rewrite | None) -> ProgramGraph:
        """The structure of the program after a rewrite of it, or as it is."""
        return self.graph if rewrite is None else rewrite.graph

    def to_json(self) -> dict[str, Any]:
        """The workload as JSON data."""
        rewrites = [{"prefix": r.prefix.to_json(), "graph": r.graph.to_json()} for r in self.rewrites]
        return {
            "hash": self.hash,
            "program": self.program,
            "graph": self.graph.to_json(),
            "name": self.name,
            "family": self.family,
            "rewrites": rewrites,
        }

    @classmethod
    def from_json(cls, data: Any) -> Workload:
        """Reads what `to_json` wrote.

        Raises:
            DataError: the data has another shape.
        """
        try:
            rewrites = tuple(
                Rewrite(Trace.from_json(r["prefix"]), ProgramGraph.from_json(r["graph"]))
                for r in data.get("rewrites", ())
            )
            graph = ProgramGraph.from_json(data["graph"])
            return cls(str(data["hash"]), str(data["program"]), graph, str(data["name"]), str(data["family"]), rewrites)
        except (KeyError, TypeError, AttributeError) as error:
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
            "workload": self.workload.to_json(),
            "target": self.target.to_json(),
            "weight": self.weight,
            "networks": [list(n) for n in self.networks],
        }

    @classmethod
    def from_json(cls, data: Any) -> Task:
        """Reads what `to_json` wrote.

        Raises:
            DataError: the data has another shape.
        """
        try:
            networks = tuple((str(name), float(calls)) for name, calls in data["networks"])
            return cls(
                Workload.from_json(data["workload"]), Target.from_json(data["target"]), float(data["weight"]), networks
            )
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
