"""Natural loops of blocks with branches, and their induction variables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foretune.passes.mlir.graph.linear import Form


@dataclass(frozen=True)
class NaturalLoop:
    """A loop of blocks.

    Attributes:
        header: the block that it is entered by.
        latches: the blocks that lead back.
        body: its blocks, by index.
        entries: blocks outside that lead to the header.
        parent: index of the loop around it; -1 for none.
    """

    header: int
    latches: tuple[int, ...]
    body: frozenset[int]
    entries: tuple[int, ...] = ()
    parent: int = -1


@dataclass(frozen=True)
class Carried:
    """What a loop carries from one iteration to the next.

    Attributes:
        variable: the block argument that counts; None if none was found.
        start: its first value.
        bound: form or value that it is compared with.
        step: what an iteration adds.
        others: further values carried.
    """

    variable: Any = None
    start: Form = Form()
    bound: Any = None
    step: float = 0.0
    others: int = 0


def natural_loops(blocks: list[Any]) -> list[NaturalLoop]:
    """The loops of a function, outer ones first; a branch to a block that stands before is taken for one back."""
    position = {block: i for i, block in enumerate(blocks)}
    successors = [[position[s] for s in _terminator(b).successors] for b in blocks]
    predecessors: list[list[int]] = [[] for _ in blocks]
    for b, following in enumerate(successors):
        for s in following:
            predecessors[s].append(b)
    back: dict[int, list[int]] = {}
    for b, following in enumerate(successors):
        for s in following:
            if s <= b:
                back.setdefault(s, []).append(b)
    found = []
    for header, latches in back.items():
        body, stack = {header}, list(latches)
        while stack:
            b = stack.pop()
            if b not in body:
                body.add(b)
                stack += predecessors[b]
        found.append((header, tuple(latches), frozenset(body)))
    found.sort(key=lambda loop: (-len(loop[2]), loop[0]))
    loops: list[NaturalLoop] = []
    for header, latches, body in found:
        around = [i for i, other in enumerate(loops) if header in other.body and body <= other.body]
        loops.append(
            NaturalLoop(
                header,
                latches,
                body,
                tuple(b for b in predecessors[header] if b not in body),
                min(around, key=lambda i: len(loops[i].body), default=-1),
            )
        )
    return loops


def innermost(loops: list[NaturalLoop], block: int) -> int:
    """Index of the smallest loop around a block; -1 for none."""
    return min((i for i, loop in enumerate(loops) if block in loop.body), key=lambda i: len(loops[i].body), default=-1)


def carried(blocks: list[Any], loop: NaturalLoop, forms: dict[Any, Form]) -> Carried:
    """The induction variable of a loop: an argument of its header to which each way back adds a constant, compared at
    the header or a latch.
    """
    arguments = list(blocks[loop.header].arguments)
    back = [_passed(blocks[latch], blocks[loop.header]) for latch in loop.latches]
    entries = [_passed(blocks[b], blocks[loop.header]) for b in loop.entries]
    compared = dict(
        found for i in (loop.header, *loop.latches) if (found := _compared(_terminator(blocks[i]))) is not None
    )
    for i, argument in enumerate(arguments):
        if not back or not entries or any(len(values) != len(arguments) for values in (*back, *entries)):
            break
        following = back[0][i]
        step = _added(following, argument, forms)
        bound = compared.get(argument) or compared.get(following)
        if step and bound is not None:
            return Carried(argument, forms.get(entries[0][i], Form()), bound, step, len(arguments) - 1)
    return Carried(others=len(arguments))


def _terminator(block: Any) -> Any:
    return block.operations[len(block.operations) - 1].operation


def _passed(block: Any, to: Any) -> list[Any]:
    """What a block's terminator gives to the arguments of another block."""
    op = _terminator(block)
    operands = list(op.operands)
    if op.name in ("cf.br", "llvm.br"):
        return operands
    if op.name in ("cf.cond_br", "llvm.cond_br"):
        one, true, _ = list(op.attributes["operandSegmentSizes"])
        return operands[one : one + true] if next(iter(op.successors)) == to else operands[one + true :]
    return []


def _compared(op: Any) -> tuple[Any, Any] | None:
    """(compared value, bound) of a conditional branch."""
    if op.name not in ("cf.cond_br", "llvm.cond_br"):
        return None
    test: Any = getattr(op.operands[0], "owner", None)
    test = getattr(test, "operation", test)
    if getattr(test, "name", "") in ("arith.cmpi", "llvm.icmp"):
        return test.operands[0], test.operands[1]
    return None


def _added(value: Any, to: Any, forms: dict[Any, Form]) -> float:
    """The constant that a value adds to another; 0 if it is not such a sum."""
    made: Any = getattr(value, "owner", None)
    made = getattr(made, "operation", made)
    if getattr(made, "name", "") not in ("arith.addi", "llvm.add"):
        return 0.0
    a, b = made.operands
    other = b if a == to else a if b == to else None
    if other is None:
        return 0.0
    if other in forms:
        return forms[other].constant
    constant: Any = getattr(getattr(other, "owner", None), "operation", getattr(other, "owner", None))
    try:
        return float(constant.attributes["value"].value)
    except (AttributeError, KeyError, TypeError, ValueError):
        return 0.0
