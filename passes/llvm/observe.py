"""What a module looks like: counts of instructions and structure, and its graph of functions and basic blocks.

The counts are in the manner of Autophase (Huang et al., "AutoPhase: Juggling HLS Phase Orderings in Random Forests with
Deep Reinforcement Learning", 2020). Names and the order of functions do not matter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from foretune.passes.llvm.capi import Llvm

# numbers of LLVM's C API
_GROUPS = {
    "return": (1,),
    "branch": (2,),
    "switch": (3, 4),
    "unreachable": (7,),
    "invoke": (5, 67),
    "int_add": (8, 10),
    "float_add": (9, 11, 66),
    "int_mul": (12,),
    "float_mul": (13,),
    "int_div": (14, 15, 17, 18),
    "float_div": (16, 19),
    "shift": (20, 21, 22),
    "logic": (23, 24, 25),
    "alloca": (26,),
    "load": (27,),
    "store": (28,),
    "address": (29,),
    "int_cast": (30, 31, 32, 39, 40),
    "float_cast": (33, 34, 35, 36, 37, 38),
    "bitcast": (41, 60),
    "int_compare": (42,),
    "float_compare": (43,),
    "phi": (44,),
    "call": (45,),
    "select": (46,),
    "vector_element": (50, 51, 52),
    "aggregate": (53, 54),
    "atomic": (55, 56, 57),
    "freeze": (68,),
}
_GROUP_OF = {opcode: group for group, opcodes in _GROUPS.items() for opcode in opcodes}
_VECTORS, _FLOATS, _POINTER = (13, 17), (1, 2, 3, 4, 5, 6, 18), 12

STRUCTURE = (
    "functions",
    "blocks",
    "instructions",
    "edges",
    "critical_edges",
    "loops",
    "loop_depth",
    "blocks_in_loops",
    "instructions_in_loops",
    "instructions_innermost",
    "blocks_one_successor",
    "blocks_two_successors",
    "blocks_no_phi",
    "blocks_many_phis",
    "phi_operands",
    "constants",
    "operands",
    "vector_values",
    "float_values",
    "pointer_values",
    "direct_calls",
    "library_calls",
)
FEATURES = (
    *STRUCTURE,
    *(group for group in _GROUPS),
    *(f"loop_{group}" for group in ("load", "store", "float_add", "float_mul", "call", "branch", "select", "phi")),
)
"""Names of the counts, in the order of `Observation.features`."""

_BLOCK_GROUPS = (
    ("load",),
    ("store",),
    ("int_add", "int_mul"),
    ("float_add",),
    ("float_mul",),
    ("int_div", "float_div"),
    ("shift", "logic"),
    ("address",),
    ("int_cast", "float_cast", "bitcast"),
    ("int_compare", "float_compare"),
    ("phi",),
    ("call", "invoke"),
    ("select",),
    ("vector_element",),
)
_MAX_BLOCKS = 4000


@dataclass
class _Block:
    groups: Counter = field(default_factory=Counter)
    successors: list[int] = field(default_factory=list)
    depth: int = 0
    innermost: bool = False
    vectors: int = 0


def observe(llvm: Llvm, module: int) -> dict[str, Any]:
    """Looks at a module.

    Returns:
        `features`, a number for each of `FEATURES`; `graph`, a `ProgramGraph` as JSON data: functions and blocks,
        joined by control flow, calls and containment.
    """
    totals: Counter[str] = Counter()
    nodes: list[list[Any]] = []
    edges: list[list[Any]] = []
    functions = list(llvm.functions(module))
    position = {function: i for i, function in enumerate(functions)}
    nodes += [["function", f"f{i}", []] for i in range(len(functions))]
    for i, function in enumerate(functions):
        blocks, called = _read(llvm, function, totals)
        totals["loops"] += _find_loops(blocks)
        first = len(nodes)
        _count(blocks, totals)
        nodes[i][2] = [
            float(len(blocks)),
            float(sum(b.groups.total() for b in blocks)),
            float(max((b.depth for b in blocks), default=0)),
            float(len(called)),
        ]
        if first + len(blocks) <= _MAX_BLOCKS:
            nodes += [["block", f"f{i}b{j}", _block_features(block)] for j, block in enumerate(blocks)]
            edges += [[i, first + j, "has", []] for j in range(len(blocks))]
            edges += [
                [first + j, first + k, "flow", [0.0, float(k <= j)]]
                for j, block in enumerate(blocks)
                for k in block.successors
            ]
        edges += [[i, position[callee], "call", []] for callee in called if callee in position]
    totals["functions"] = len(functions)
    return {"features": [float(totals[name]) for name in FEATURES], "graph": {"nodes": nodes, "edges": edges}}


def loop_depths(llvm: Llvm, module: int) -> dict[int, int]:
    """Loop depth of each block of a module, by the block's handle."""
    found: dict[int, int] = {}
    for function in llvm.functions(module):
        handles = list(llvm.blocks(function))
        position = {handle: j for j, handle in enumerate(handles)}
        blocks = [_Block(successors=[position[s] for s in llvm.successors(handle)]) for handle in handles]
        _find_loops(blocks)
        found |= {handle: block.depth for handle, block in zip(handles, blocks)}
    return found


def _read(llvm: Llvm, function: int, totals: Counter[str]) -> tuple[list[_Block], list[int]]:
    order = list(llvm.blocks(function))
    position = {block: j for j, block in enumerate(order)}
    called: list[int] = []
    blocks = []
    for handle in order:
        block = _Block(successors=[position[s] for s in llvm.successors(handle)])
        for instruction in llvm.instructions(handle):
            group = _GROUP_OF.get(llvm.opcode(instruction), "other")
            block.groups[group] += 1
            kind = llvm.type_kind(instruction)
            block.vectors += kind in _VECTORS
            totals["vector_values"] += kind in _VECTORS
            totals["float_values"] += kind in _FLOATS
            totals["pointer_values"] += kind == _POINTER
            operands = llvm.operands(instruction)
            totals["operands"] += len(operands)
            totals["constants"] += sum(map(llvm.is_constant, operands))
            if group == "phi":
                totals["phi_operands"] += len(operands)
            elif group in ("call", "invoke"):
                callee = llvm.callee(instruction)
                if callee is not None:
                    called.append(callee)
                    totals["direct_calls" if any(llvm.blocks(callee)) else "library_calls"] += 1
        blocks.append(block)
    return blocks, called


def _count(blocks: list[_Block], totals: Counter[str]) -> None:
    predecessors = Counter(s for block in blocks for s in block.successors)
    totals["blocks"] += len(blocks)
    totals["loop_depth"] = max(totals["loop_depth"], max((b.depth for b in blocks), default=0))
    for block in blocks:
        size = block.groups.total()
        totals.update(block.groups)
        totals["instructions"] += size
        totals["edges"] += len(block.successors)
        totals["critical_edges"] += sum(len(block.successors) > 1 and predecessors[s] > 1 for s in block.successors)
        totals["blocks_one_successor"] += len(block.successors) == 1
        totals["blocks_two_successors"] += len(block.successors) == 2
        totals["blocks_no_phi"] += not block.groups["phi"]
        totals["blocks_many_phis"] += block.groups["phi"] > 3
        if block.depth:
            totals["blocks_in_loops"] += 1
            totals["instructions_in_loops"] += size
            totals["instructions_innermost"] += size * block.innermost
            totals.update({f"loop_{group}": number for group, number in block.groups.items()})


def _block_features(block: _Block) -> list[float]:
    return [
        float(block.depth),
        float(block.vectors),
        *(float(sum(block.groups[g] for g in groups)) for groups in _BLOCK_GROUPS),
    ]


def _find_loops(blocks: list[_Block]) -> int:
    """Sets each block's loop depth, and counts the natural loops."""
    bodies = natural_loops([block.successors for block in blocks])
    for head, body in bodies.items():
        leaf = not any(other != head and other in body for other in bodies)
        for j in body:
            blocks[j].depth += 1
            blocks[j].innermost |= leaf
    return len(bodies)


def loops_of(llvm: Llvm, function: int) -> tuple[list[int], list[list[int]], dict[int, set[int]]]:
    """(blocks of a function, positions of the successors of each, head -> blocks of each natural loop)."""
    order = list(llvm.blocks(function))
    position = {block: j for j, block in enumerate(order)}
    successors = [[position[s] for s in llvm.successors(block)] for block in order]
    return order, successors, natural_loops(successors)


def natural_loops(successors: Sequence[Sequence[int]]) -> dict[int, set[int]]:
    """The natural loops of a function: those of back edges, whose targets dominate their sources.

    Args:
        successors: of each block, the entry first.

    Returns:
        Head -> the blocks of its loop.
    """
    dominators = _dominators(successors)
    predecessors: list[list[int]] = [[] for _ in successors]
    for j, following in enumerate(successors):
        for k in following:
            predecessors[k].append(j)
    bodies: dict[int, set[int]] = {}
    for j, following in enumerate(successors):
        for head in following:
            if dominators[j] is not None and _dominates(dominators, head, j):
                body = bodies.setdefault(head, {head})
                stack = [j]
                while stack:
                    at = stack.pop()
                    if at not in body:
                        body.add(at)
                        stack += predecessors[at]
    return bodies


def _dominates(immediate: list[int | None], head: int, block: int) -> bool:
    while block != head and immediate[block] != block:
        block = cast("int", immediate[block])  # nothing leads to blocks without one, which are not asked for
    return block == head


def _dominators(successors: Sequence[Sequence[int]]) -> list[int | None]:
    """Immediate dominators, of the entry itself; None where nothing leads to. After Cooper, Harvey and Kennedy,
    2001.
    """
    order: list[int] = []
    seen = {0} if successors else set()
    stack = [(0, iter(successors[0]))] if successors else []
    while stack:
        at, rest = stack[-1]
        following = next((s for s in rest if s not in seen), None)
        if following is None:
            order.append(at)
            stack.pop()
        else:
            seen.add(following)
            stack.append((following, iter(successors[following])))
    rank = {block: number for number, block in enumerate(order)}  # in postorder
    predecessors: dict[int, list[int]] = {block: [] for block in order}
    for block in order:
        for s in successors[block]:
            predecessors[s].append(block)
    immediate: list[int | None] = [None] * len(successors)
    if successors:
        immediate[0] = 0
    changed = True
    while changed:
        changed = False
        for block in reversed(order):
            known = [p for p in predecessors[block] if immediate[p] is not None]
            if block == 0 or not known:
                continue
            new = known[0]
            for other in known[1:]:
                while new != other:
                    while rank[new] < rank[other]:
                        new = cast("int", immediate[new])
                    while rank[other] < rank[new]:
                        other = cast("int", immediate[other])
            if immediate[block] != new:
                immediate[block], changed = new, True
    return immediate
