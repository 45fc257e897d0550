"""How traces of one domain become arrays for the latent network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from foretune.costmodel.latent.encoding import EncodedTask, Vocabulary, encode_graph, encode_hardware, encode_space, observed_space
from foretune.costmodel.schedules import loopnest
from foretune.program import ProgramGraph
from foretune.task import Task
from foretune.trace import Trace


class TraceEncoder(Protocol):
    """Reads the traces of one domain."""

    def vocabulary(self, traces: Iterable[tuple[Trace, ProgramGraph]]) -> Vocabulary:
        """All symbols that occur in some traces and in the programs that they are of."""
        ...

    def state_width(self, vocabulary: Vocabulary) -> int:
        """Width of the symbolic state."""
        ...

    def encode(self, task: Task, traces: Sequence[Trace], vocabulary: Vocabulary) -> tuple[EncodedTask, list[int]]:
        """Traces of one task as arrays, in an order of the encoder's choice, and which trace each row is."""
        ...


class ScheduleTraces:
    """Schedules of tensor programs: decisions are rolled, and the symbolic state is the loop nest that they make."""

    def vocabulary(self, traces: Iterable[tuple[Trace, ProgramGraph]]) -> Vocabulary:
        """All symbols; traces of one design space and program have the same ones."""
        representative = {(id(graph), trace.space_id): (trace, graph) for trace, graph in traces}
        return Vocabulary.of([graph for _, graph in representative.values()], representative.values())

    def state_width(self, vocabulary: Vocabulary) -> int:
        """That of the loop nest's features."""
        return loopnest.NUM_FEATURES

    def encode(self, task: Task, traces: Sequence[Trace], vocabulary: Vocabulary) -> tuple[EncodedTask, list[int]]:
        """Traces by design space."""
        rows_of: dict[str, list[int]] = defaultdict(list)
        for i, trace in enumerate(traces):
            rows_of[trace.space_id].append(i)
        tables, ids, nests = [], [], []
        for rows in rows_of.values():
            space, points = observed_space([traces[i] for i in rows])
            encoded = encode_space(space, task.workload.graph, vocabulary)
            tables.append(encoded.table)
            ids.append(encoded.ids(points))
            nests.append(encoded.nest.features(points))
        graph = encode_graph(task.workload.graph, vocabulary)
        hardware = encode_hardware(task.target.hardware)
        return EncodedTask(graph, hardware, tuple(tables), tuple(ids), tuple(nests)), [i for rows in rows_of.values() for i in rows]
