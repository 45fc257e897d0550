"""Ansor's search tasks as Foretune's tasks, with the design spaces that their states are points of."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import orjson

from foretune.compiler.ansor._ansor_tvm import (  # type checkers see the newer TVM, which has not all of this
    auto_scheduler,  # pyright: ignore[reportAttributeAccessIssue]
    meta_schedule,  # pyright: ignore[reportAttributeAccessIssue]
    te,
    tvm,
)
from foretune.compiler.ansor.states import StateChoices, TemplateLookup, read_state, read_template
from foretune.compiler.tir.plain import host_with, plain
from foretune.datasets.programs.tir_graph import program_graph
from foretune.datasets.programs.tir_json import JsonModule
from foretune.datasets.records.families import family_of
from foretune.errors import UnsupportedError
from foretune.space import DesignSpace, Domain
from foretune.support.text import telling_line
from foretune.target import HardwareFeatures, Target
from foretune.task import Candidate, Task, Workload
from foretune.trace import Trace, Value

_UNMEASURED = auto_scheduler.MeasureResult([0.0], 0, "", 0.0, 0)


@dataclass(frozen=True)
class AnsorTask:
    """A search task that the latent model can read.

    Attributes:
        task: the same program and target.
        stages: names of Ansor's stages, inputs too.
        lookup: of the design spaces.
    """

    task: Task
    stages: tuple[str, ...]
    lookup: TemplateLookup

    @classmethod
    def of(cls, search_task: auto_scheduler.SearchTask, hardware: HardwareFeatures | None = None) -> AnsorTask:
        """Reads a search task.

        Args:
            search_task: for a CPU.
            hardware: of the device; by default this machine's, with as many cores as the task says.

        Raises:
            UnsupportedError: it is not for a CPU, or its program cannot be read or scheduled.
        """
        if search_task.target.kind.name != "llvm":
            raise UnsupportedError(
                f"only CPU targets (kind 'llvm') are built so far, but got kind {search_task.target.kind.name!r}"
            )
        num_cores = int(search_task.hardware_params.num_cores)
        target = Target.from_dict(
            {**plain(search_task.target.export()), "num-cores": num_cores},
            hardware if hardware is not None else host_with(num_cores),
        )
        try:
            mod = tvm.IRModule({"main": te.create_prim_func(list(search_task.compute_dag.tensors))})
            graph = program_graph(JsonModule(text := tvm.ir.save_json(mod)))
            traces = _design_traces(mod, target)
        except Exception as error:  # TVM raises plain RuntimeError and others of its own
            raise UnsupportedError(
                f"the program of {search_task.workload_key[:60]} cannot be read: {telling_line(error)}"
            ) from error
        program = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
        hash_ = format(cast("Any", tvm).ir.structural_hash(mod) & (2**64 - 1), "016x")
        stages = _unique([str(op.name) for op in search_task.compute_dag.ops])
        blocks = "_".join(node.name for node in graph.nodes if node.kind == "block")
        task = Task(
            Workload(hash_, program, graph, str(search_task.desc) or blocks[:120], family_of(blocks.lower())), target
        )
        return cls(task, tuple(stages), TemplateLookup([read_template(trace) for trace in traces]))

    def read(self, steps: Sequence[Any]) -> StateChoices:
        """The choices of a state; see `read_state`."""
        return read_state(self.stages, steps)

    def candidate(self, choices: StateChoices) -> Candidate:
        """A state as a candidate."""
        template = self.lookup.templates[self.lookup.find(choices.structure)]
        decisions = zip((i for i, _ in template.trace.decisions), template.decide(choices))
        return Candidate(self.task, template.trace.with_decisions(decisions))

    def points(self, states: Sequence[StateChoices]) -> list[tuple[list[int], DesignSpace, np.ndarray]]:
        """States as points of design spaces: (row numbers, space, [n, number of domains] int64) for each space."""
        groups: dict[int, list[int]] = {}
        for row, choices in enumerate(states):
            groups.setdefault(self.lookup.find(choices.structure), []).append(row)
        found = []
        for index, rows in groups.items():
            template = self.lookup.templates[index]
            actions = [i for i, _ in template.trace.decisions]
            options: list[dict[Value, int]] = [{} for _ in actions]
            points = np.zeros((len(rows), len(actions)), np.int64)
            for n, row in enumerate(rows):
                for k, value in enumerate(template.decide(states[row])):
                    points[n, k] = options[k].setdefault(value, len(options[k]))
            found.append(
                (
                    rows,
                    DesignSpace(template.trace, tuple(Domain(i, tuple(o)) for i, o in zip(actions, options))),
                    points,
                )
            )
        return found


def record_line(inp: auto_scheduler.MeasureInput, result: auto_scheduler.MeasureResult = _UNMEASURED) -> str:
    """A measurement as a line of Ansor's log."""
    return str(auto_scheduler.measure_record.dump_record_to_string(inp, result)).strip()


def steps_of(line: str | bytes) -> list[Any]:
    """The transform steps of a line of Ansor's log."""
    return orjson.loads(line)["i"][1][1]


def _design_traces(mod: tvm.IRModule, target: Target) -> list[Trace]:
    context = meta_schedule.TuneContext(
        mod=mod,
        target=tvm.target.Target(target.to_dict()),
        space_generator="post-order-apply",
        num_threads=1,
        rand_state=1,
        task_name="task",
    )
    found = []
    for schedule in context.generate_design_space():
        rows, decisions = plain(schedule.trace.as_json(True))
        chosen = dict(decisions)
        found.append(
            Trace.from_json(
                [[op, inputs, attrs, outputs, chosen.get(i)] for i, (op, inputs, attrs, outputs) in enumerate(rows)]
            )
        )
    return found


def _unique(names: Sequence[str]) -> list[str]:
    """Names as TVM gives them to the blocks of a program, where equal ones are numbered."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        found.append(f"{name}_{seen[name]}" if seen[name] else name)
    return found
