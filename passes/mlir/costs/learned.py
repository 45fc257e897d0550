"""Learned numbers of a module's graph, with what makes them uncertain and which machine they stand for."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from foretune.costmodel.mlir.encoding import EncodedProgram, encode
from foretune.costmodel.mlir.model import MlirCostModel, MlirPrediction
from foretune.costmodel.mlir.network import LABELS
from foretune.costmodel.mlir.target import TRAINED_ON, MlirTarget
from foretune.passes.mlir.costs.doubts import with_copies, with_doubts
from foretune.passes.mlir.graph.module_facts import ModuleFacts
from foretune.program import ProgramGraph

_WORD = {
    "instructions": 2.0,
    "dynamic_instructions": 2.0,
    "mca_cycles": 1.0,
    "mca_throughput": 1.0,
    "bytes_read": 8.0,
    "bytes_written": 8.0,
    "memory_operands": 2.0,
    "secs": 3e-10,
}
"""Costs of a word that a function returns through memory."""
_RETURN = {
    "instructions": 1.0,
    "dynamic_instructions": 1.0,
    "mca_cycles": 1.0,
    "mca_throughput": 1.0,
    "bytes_read": 8.0,
    "secs": 1e-9,
}
"""Costs of a function that does nothing else."""
CALL_SECS = _RETURN["secs"]
_OF_PRINTED = 3.3  # instructions that take a number out of a vector and call what prints it and what is between
_FEW_INSTRUCTIONS, _CYCLE_SECS = 40.0, 3e-10  # programs of the data execute more, and their calls take most of the time


@cache
def bundled_model() -> MlirCostModel:
    """The weights that ship with Foretune, read once."""
    return MlirCostModel.bundled()


def learned_of_graph(
    graph: ProgramGraph, facts: ModuleFacts, target: MlirTarget, model: MlirCostModel | None = None
) -> MlirPrediction:
    """Learned numbers of a graph; functions that do nothing cost next to nothing.

    Raises:
        ModelError: the module has no function with a body.
    """
    if facts.functions and not any(node.kind == "statement" for node in graph.nodes):
        words = max(0, facts.returned - facts.functions)  # one of each is returned in a register
        costs = {name: facts.functions * _RETURN.get(name, 0.0) + words * _WORD.get(name, 0.0) for name in LABELS}
        return MlirPrediction(costs, dict.fromkeys(costs, 0.5), notes=("the functions do nothing but return",))
    return learned(encode(graph), facts, target, model)


def learned(
    program: EncodedProgram, facts: ModuleFacts, target: MlirTarget, model: MlirCostModel | None = None
) -> MlirPrediction:
    """Learned numbers for a program that was read already."""
    made = _with_prints((model or bundled_model()).predict([program], target)[0], facts)
    if made.costs["dynamic_instructions"] < _FEW_INSTRUCTIONS:
        secs = min(made.costs["secs"], CALL_SECS + made.costs["mca_cycles"] * _CYCLE_SECS)
        made = replace(made, costs={**made.costs, "secs": secs})
    return with_doubts(with_copies(replace(made, notes=stands_for(target)), facts, target), facts, program)


def _with_prints(made: MlirPrediction, facts: ModuleFacts) -> MlirPrediction:
    """The prediction with the calls that print, which the training data has not: one for each number and one more."""
    more = {"instructions": facts.printed, "dynamic_instructions": facts.printed_runs}
    return replace(made, costs={n: value + _OF_PRINTED * more.get(n, 0.0) for n, value in made.costs.items()})


def stands_for(target: MlirTarget, counted: bool = False) -> tuple[str, ...]:
    """Which processor learned numbers stand for."""
    what = "seconds stand for" if counted else "predicted numbers stand for"
    if not target.similar and not target.has_times:
        about = "" if counted else f"predicted counts stand for {target.cpu}, and "
        return (
            f"{about}seconds stand for a processor with vectors of {target.vector_bits} bits of the training machine,"
            f" {TRAINED_ON}; there are no times of {target.cpu}",
        )
    if target.similar:
        return (
            (
                f"{what} a processor with vectors of {target.vector_bits} bits of the training machine, {TRAINED_ON};"
                f" there is no data of {target.cpu}"
            ),
        )
    return (f"{what} the machine of the training data, {TRAINED_ON}",)
