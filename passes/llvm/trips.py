"""How often loops run, where nobody has measured it: branch weights, from which LLVM makes block frequencies.

Without them LLVM takes each loop to run some 32 times, whatever one pass of it covers, so that a loop looks the slower
the more it is unrolled or vectorised. Here a loop runs through the same number of elements before and after: the step
of its induction variable says how many one pass covers, and constant bounds how many there are. What is left over for
the remainder of an unrolled or vectorised loop is little.

The weights are set after all passes, in a copy that only counts are taken from: they change no pass's mind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from foretune.passes.llvm.capi import Llvm
from foretune.passes.llvm.observe import loops_of

ELEMENTS, LEFT_OVER = 256, 4  # that a loop of unknown bounds runs through, and that a remainder does
_MOST_TRIPS = 1 << 20
_LIKELY = 127  # to one, as LLVM itself weighs the checks before its vector loops
_VECTOR = re.compile(r"vector\.body$|vector\.body\.\w+$")
_REMAINDER = re.compile(r"\.(epil|prol)(\.|\d|$)|vec\.epilog\.vector\.body")
_MAIN = re.compile(r"^vector\.(ph|memcheck|scevcheck|main\.loop\.iter\.check)$|\.new$")
_ADD, _PHI, _COMPARE, _INTEGER = 8, 44, 42, 8  # numbers of LLVM's C API: opcodes, and a kind of type
_WITH_EQUAL = (35, 37, 39, 41)  # uge, ule, sge, sle


def set_trip_weights(llvm: Llvm, module: int) -> None:
    """Weighs the branches that leave a module's loops, and the checks before unrolled and vectorised ones."""
    for function in llvm.functions(module):
        _weigh(llvm, *loops_of(llvm, function))


def _weigh(
    llvm: Llvm, order: Sequence[int], successors: Sequence[Sequence[int]], loops: Mapping[int, set[int]]
) -> None:
    likely = {j for j, block in enumerate(order) if _MAIN.search(llvm.name(block))}
    if any(_REMAINDER.search(llvm.name(order[head])) for head in loops):
        likely |= _before_unrolled(llvm, order, successors, loops)
    weighed = set()
    for head, body in loops.items():
        latches = _latches(successors, head, body)
        at = next((j for j in (*latches, head) if len(successors[j]) == 2 and set(successors[j]) - body), None)
        if at is None or at in weighed or (branch := _branch(llvm, order[at])) is None:
            continue
        weighed.add(at)
        trips = _trips(llvm, order, head, latches, branch, at in latches)
        llvm.set_branch_weights(branch, [max(1, int(trips - 1)) if j in body else 1 for j in successors[at]])
        if trips == 1:
            llvm.set_branch_weights(branch, [1 if j in body else _MOST_TRIPS for j in successors[at]])
    for j, block in enumerate(order):
        weights = [_LIKELY if k in likely else 1 for k in successors[j]]
        if j not in weighed and sorted(weights) == [1, _LIKELY] and (branch := _branch(llvm, block)) is not None:
            llvm.set_branch_weights(branch, weights)


def _before_unrolled(
    llvm: Llvm, order: Sequence[int], successors: Sequence[Sequence[int]], loops: Mapping[int, set[int]]
) -> set[int]:
    """The blocks that lead from the check of an unrolled loop to it."""
    found = set()
    for head, body in loops.items():
        steps = _steps(llvm, order, head, _latches(successors, head, body))
        if not steps or min(steps) == 1 or _REMAINDER.search(llvm.name(order[head])):
            continue
        at = head
        while True:
            before = [j for j, following in enumerate(successors) if at in following and j not in body]
            if len(before) != 1:
                break
            if len(successors[before[0]]) == 2:
                found.add(at)
                break
            at = before[0]
    return found


def _latches(successors: Sequence[Sequence[int]], head: int, body: set[int]) -> list[int]:
    return [j for j in sorted(body) if head in successors[j]]


def _branch(llvm: Llvm, block: int) -> int | None:
    """The conditional branch that ends a block, unless a profile, or the program, has weighed it already."""
    end = llvm.terminator(block)
    is_open = end is not None and llvm.condition(end) is not None and not llvm.has_metadata(end, "prof")
    return end if is_open else None


def _trips(llvm: Llvm, order: Sequence[int], head: int, latches: Sequence[int], branch: int, at_latch: bool) -> float:
    """How often a loop runs, each time that it is entered."""
    name, names = llvm.name(order[head]), llvm.metadata_names(branch, "llvm.loop")
    is_main = _VECTOR.search(name) and not _REMAINDER.search(name)
    is_rest = _REMAINDER.search(name) or ("llvm.loop.isvectorized" in names and not is_main)
    steps = _inductions(llvm, order, head, latches)
    for phi, start, following, step in steps:
        bound = _bound(llvm, branch, phi, following)
        if start is not None and bound is not None:
            number, equal, of_phi = bound
            trips = -(-min(abs(number - start), _MOST_TRIPS) // abs(step)) + equal + (of_phi and at_latch)
            return float(max(trips, 1))
    elements = LEFT_OVER if is_rest else ELEMENTS
    return max(1.0, elements / min((abs(step) for _, _, _, step in steps), default=1))


def _steps(llvm: Llvm, order: Sequence[int], head: int, latches: Sequence[int]) -> list[int]:
    return [abs(step) for _, _, _, step in _inductions(llvm, order, head, latches)]


def _inductions(
    llvm: Llvm, order: Sequence[int], head: int, latches: Sequence[int]
) -> list[tuple[int, int | None, int, int]]:
    """(phi, constant at which it starts, its next value, its step) of each integer induction variable."""
    found = []
    for phi in llvm.instructions(order[head]):
        if llvm.opcode(phi) != _PHI:
            break
        if llvm.type_kind(phi) == _INTEGER and (read := _step(llvm, phi, {order[j] for j in latches})) is not None:
            found.append((phi, *read))
    return found


def _step(llvm: Llvm, phi: int, latches: set[int]) -> tuple[int | None, int, int] | None:
    """(constant at which it starts, the next value, the step) of an induction variable; None of another phi."""
    start: int | None = None
    found: tuple[int, int] | None = None
    for block, value in llvm.incoming(phi):
        if block not in latches:
            start = llvm.constant(value)
        elif not llvm.is_constant(value) and llvm.is_instruction(value) and llvm.opcode(value) == _ADD:
            one, other = llvm.operands(value)
            step = llvm.constant(other)
            if one == phi and step:
                found = value, step
    return (start, *found) if found is not None else None


def _bound(llvm: Llvm, branch: int, phi: int, following: int) -> tuple[int, bool, bool] | None:
    """(the constant that ends a loop, whether it belongs to it, whether the value before the step is compared)."""
    asked = llvm.condition(branch)
    if asked is None or not llvm.is_instruction(asked) or llvm.opcode(asked) != _COMPARE:
        return None
    one, other = llvm.operands(asked)
    number = llvm.constant(other)
    if number is None or one not in (phi, following):
        return None
    return number, llvm.predicate(asked) in _WITH_EQUAL, one == phi
