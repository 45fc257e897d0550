"""How traces of one domain become arrays for the latent network."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Protocol

from foretune.costmodel.latent.encoding import (
    EncodedTask,
    Vocabulary,
    encode_graph,
    encode_hardware,
    encode_space,
    observed_space,
)
from foretune.costmodel.schedules import loopnest
from foretune.costmodel.schedules.actions import read_steps
from foretune.errors import IllegalActionError
from foretune.program import ProgramGraph
from foretune.task import Task
from foretune.trace import Trace

_log = logging.getLogger(__name__)


class TraceEncoder(Protocol):
    """Reads the traces of one domain."""

    def vocabulary(self, traces: Iterable[tuple[Trace, ProgramGraph]]) -> Vocabulary:
        """All symbols that occur in some traces and in the programs that they are of."""
        ...

    def state_width(self, vocabulary: Vocabulary) -> int:
        """Width of the symbolic state."""
        ...

    def encode(self, task: Task, traces: Sequence[Trace], vocabulary: Vocabulary) -> tuple[EncodedTask, list[int]]:
        """Traces of one task as arrays, in an order of the encoder's choice, and which trace each row is.

        Raises:
            IllegalActionError: no trace can be read.
        """
        ...


class ScheduleTraces:
    """Schedules of tensor programs: decisions are rolled, and the symbolic state is the loop nest that they make."""

    def vocabulary(self, traces: Iterable[tuple[Trace, ProgramGraph]]) -> Vocabulary:
        """All symbols; traces of one design space and program have the same ones."""
        representative = {(id(graph), trace.space_id): (trace, graph) for trace, graph in traces}
        readable = [(trace, graph) for trace, graph in representative.values() if _is_readable(trace, graph)]
        return Vocabulary.of([graph for _, graph in readable], readable)

    def state_width(self, vocabulary: Vocabulary) -> int:
        """That of the loop nest's features, and for GPUs those of threads and shared memory."""
        return loopnest.state_width(vocabulary.has_bindings)

    def encode(self, task: Task, traces: Sequence[Trace], vocabulary: Vocabulary) -> tuple[EncodedTask, list[int]]:
        """Traces by design space; a space that cannot be read is left out, with a warning.

        Raises:
            IllegalActionError: no trace can be read.
        """
        rows_of: dict[str, list[int]] = defaultdict(list)
        for i, trace in enumerate(traces):
            rows_of[trace.space_id].append(i)
        tables, ids, nests, order = [], [], [], []
        for rows in rows_of.values():
            space, points = observed_space([traces[i] for i in rows])
            try:
                encoded = encode_space(space, task.workload.graph, vocabulary)
            except IllegalActionError as error:
                _log.warning("%d schedules of %s are left out: %s", len(rows), task.workload.name, error)
                continue
            tables.append(encoded.table)
            ids.append(encoded.ids(points))
            nests.append(encoded.state(points))
            order += rows
        if not order:
            raise IllegalActionError(f"none of the {len(traces)} schedules of {task.workload.name} can be read")
        graph = encode_graph(task.workload.graph, vocabulary)
        hardware = encode_hardware(task.target.hardware)
        return EncodedTask(graph, hardware, tuple(tables), tuple(ids), tuple(nests)), order


def _is_readable(trace: Trace, graph: ProgramGraph) -> bool:
    try:
        read_steps(trace, graph)
    except IllegalActionError:
        return False
    return True
