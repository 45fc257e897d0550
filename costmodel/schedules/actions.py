"""Reading actions: which operation, which nodes of the program it touches, and its numbers.

This is all that the latent model knows of an action. Names of blocks, loops and values are resolved
to nodes of the program graph here and go no further.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from foretune.errors import IllegalActionError
from foretune.program import ProgramGraph
from foretune.trace import Action, Trace, Value

MAX_NUMBERS = 6


@dataclass(frozen=True)
class Step:
    """One action as the model sees it.

    Attributes:
        symbol: operation, with a symbolic argument if it has one (`Annotate:meta_schedule.parallel`).
        nodes: indices of the program's nodes that it touches.
        numbers: its numeric arguments, in order, at most `MAX_NUMBERS`.
    """

    symbol: str
    nodes: tuple[int, ...]
    numbers: tuple[float, ...]


def read_steps(trace: Trace, graph: ProgramGraph) -> list[Step]:
    """Reads every action of a trace.

    Raises:
        IllegalActionError: an action has arguments of another shape than its kind has.
    """
    return _read_all(trace, graph)[0]


def read_names(trace: Trace, graph: ProgramGraph) -> dict[str, tuple[int, ...]]:
    """The program's nodes that each value of a trace stands for.

    Raises:
        IllegalActionError: as `read_steps`.
    """
    return _read_all(trace, graph)[1]


def _read_all(trace: Trace, graph: ProgramGraph) -> tuple[list[Step], dict[str, tuple[int, ...]]]:
    names: dict[str, tuple[int, ...]] = {}
    steps = []
    for i, action in enumerate(trace.actions):
        try:
            steps.append(_read(action, graph, names))
        except (IndexError, TypeError, ValueError) as error:  # traces come from logs and from schedules written by hand
            raise IllegalActionError(
                f"action {i} of a trace cannot be read ({type(error).__name__}: {error}): {str(action)[:120]}"
            ) from error
    return steps, names


_NAMED = {"GetSBlock", "GetBlock"}  # their text arguments are names in the program
_PRODUCERS, _CONSUMERS = "GetProducers", "GetConsumers"
_NAMED_KINDS = ("stage",)  # nodes that inputs name without an action having made them, as in Ansor's steps
# what a choice among words becomes: AutoTVM's annotations
_WORDS = ("none", "unroll", "vec", "vectorize", "parallel", "vthread", "blockIdx.x", "threadIdx.x")


def _read(action: Action, graph: ProgramGraph, names: dict[str, tuple[int, ...]]) -> Step:
    nodes = tuple(
        dict.fromkeys(n for v in action.inputs if isinstance(v, str) for n in names.get(v) or _named(graph, v))
    )
    if action.op in _NAMED:
        found = [graph.index.get((kind, str(a))) for a in action.attrs[:1] for kind in ("block", "root")]
        nodes = tuple(n for n in found if n is not None)
        names.update(dict.fromkeys(action.outputs, nodes))
    elif action.op == "GetLoops":
        blocks = [graph.nodes[n].name for n in nodes if graph.nodes[n].kind == "block"]
        for depth, output in enumerate(action.outputs):
            loop = graph.index.get(("loop", f"{blocks[0]}/{depth}")) if blocks else None
            pristine = loop is not None and ("loop", f"{blocks[0]}/{len(action.outputs)}") not in graph.index
            names[output] = (loop,) if pristine and loop is not None else nodes
    elif action.op in (_PRODUCERS, _CONSUMERS):
        neighbours = _neighbours(graph, nodes, forward=action.op == _CONSUMERS)
        names.update(dict.fromkeys(action.outputs, neighbours or nodes))
    else:
        names.update(dict.fromkeys(action.outputs, nodes))
    return Step(_symbol(action), nodes, numbers_of(action, action.decision))


def _named(graph: ProgramGraph, name: str) -> tuple[int, ...]:
    return tuple(graph.index[kind, name] for kind in _NAMED_KINDS if (kind, name) in graph.index)


def _neighbours(graph: ProgramGraph, blocks: tuple[int, ...], forward: bool) -> tuple[int, ...]:
    out, back = ("write", "read") if forward else ("read", "write")
    if forward:
        buffers = {e.dst for e in graph.edges if e.kind == out and e.src in blocks}
        return tuple(
            dict.fromkeys(e.dst for e in graph.edges if e.kind == back and e.src in buffers and e.dst not in blocks)
        )
    buffers = {e.src for e in graph.edges if e.kind == out and e.dst in blocks}
    return tuple(
        dict.fromkeys(e.src for e in graph.edges if e.kind == back and e.dst in buffers and e.src not in blocks)
    )


def _symbol(action: Action) -> str:
    if action.op in _NAMED:
        return action.op
    text = next((str(a) for a in action.attrs if isinstance(a, str) and len(a) < 64), "")
    return f"{action.op}:{text}" if text else action.op


def numbers_of(action: Action, decision: Value) -> tuple[float, ...]:
    """The numbers of an action if `decision` were taken: the decision itself, or else the constants."""
    if (
        action.op == "SP" and isinstance(decision, tuple) and len(action.attrs) == 3
    ):  # Ansor leaves the outermost factor out
        extent, lengths = cast("float", action.attrs[1]), _flatten(decision)
        inner = math.prod(lengths)
        return (float(math.ceil(extent / inner)), *lengths)[:MAX_NUMBERS] if extent and inner > 0 else lengths
    if action.op == "SampleCategorical" and isinstance(decision, int) and isinstance(action.attrs[0], tuple):
        return _flatten(action.attrs[0][decision])
    if decision is not None:
        return _flatten(decision)
    return _flatten((action.inputs, action.attrs))


def _flatten(value: Value) -> tuple[float, ...]:
    if isinstance(value, (bool, int, float)):
        return (float(value),)
    if isinstance(value, tuple):
        return tuple(n for v in value for n in _flatten(v))[:MAX_NUMBERS]
    return (float(_WORDS.index(value)),) if value in _WORDS else ()
