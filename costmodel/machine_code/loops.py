"""Loops of a listing, and how often each of them runs where the listing says so.

A loop is a jump backwards inside a function. Compilers end a counted loop with a comparison of its counter: from that,
the counter's step and its first value follow the iterations. What the arguments decide, such as the share of a parallel
loop that a thread takes, no listing says.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from foretune.costmodel.machine_code.assembly import Block, mnemonic, operands, register

_LOOK_BACK = 400  # instructions before a loop in which its counter's first value is looked for
_MOST_TRIPS = 1 << 40
_SETS_NO_FLAGS = ("mov", "lea", "not", "set", "cmov", "push", "pop", "prefetch", "nop", "kmov", "v")
_SETS_FLAGS = ("vptest", "vtest", "vucomi", "vcomi")  # all the same
_IMMEDIATE = re.compile(r"\$(-?(?:0x)?[0-9a-fA-F]+)$")
_LEA = re.compile(r"(-?\d*)\((%\w+)\)$")


@dataclass(frozen=True)
class Loop:
    """One loop.

    Attributes:
        first, last: numbers of its blocks, both inclusive; blocks that were moved out of line are not among them.
        trips: iterations of one entry; None where the listing does not say.
    """

    first: int
    last: int
    trips: float | None

    def holds(self, block: int) -> bool:
        """Whether a block is in it."""
        return self.first <= block <= self.last


def find_loops(blocks: Sequence[Block]) -> list[Loop]:
    """The loops of all functions, outer ones before those that they hold."""
    place = {(block.function, label): i for i, block in enumerate(blocks) for label in block.labels}
    latches: defaultdict[int, list[int]] = defaultdict(list)
    for i, block in enumerate(blocks):
        target = _target(block)
        head = place.get((block.function, target)) if target else None
        if head is not None and head <= i:
            latches[head].append(i)
    found = [Loop(head, max(ends), _trips(blocks, head, max(ends))) for head, ends in latches.items()]
    return sorted(found, key=lambda loop: (loop.first, -loop.last))


def _target(block: Block) -> str:
    """Where the jump at a block's end goes; empty if there is none."""
    last = block.instructions[-1].text
    return operands(last)[-1] if mnemonic(last).startswith("j") else ""


def _trips(blocks: Sequence[Block], first: int, last: int) -> float | None:
    if _is_taken_twice(blocks[last]):
        return 2.0
    compared = _comparison(blocks[last])
    if compared is None:
        return None
    counter, limit = compared
    step, is_old = _step(blocks[first : last + 1], counter)
    if not step:
        return None
    start = _first_value(blocks, first, counter)
    if start is None:
        start = 0 if limit else None
    if start is None:
        return None
    trips = (limit - start) / step + is_old
    return float(trips) if 1 <= trips < _MOST_TRIPS else None


def _is_taken_twice(block: Block) -> bool:
    """Whether a flag of one bit is tested at a block's end, which is what LLVM makes of two iterations."""
    tests = [i.text for i in block.instructions[-4:-1] if mnemonic(i.text).startswith("test")]
    return bool(tests) and operands(tests[-1])[0] == "$1"


def _comparison(block: Block) -> tuple[str, int] | None:
    """(counter, the number that it is compared with) of the jump at a block's end."""
    for instruction in reversed(block.instructions[:-1]):
        name = mnemonic(instruction.text)
        if name.startswith(_SETS_NO_FLAGS) and not name.startswith(_SETS_FLAGS):
            continue
        given = operands(instruction.text)
        value = _immediate(given[0])
        if name.startswith("cmp"):
            return (_place(given[1]), value) if value is not None else None
        if name.startswith(("inc", "dec")) or (name.startswith(("add", "sub")) and value is not None):
            return _place(given[-1]), 0
        return None
    return None


def _step(blocks: Sequence[Block], counter: str) -> tuple[int, bool]:
    """How much the counter grows in an iteration, and whether what is compared is its value before that; 0 if that is
    not clear.
    """
    for block in reversed(blocks):
        for instruction in reversed(block.instructions):
            name, given = mnemonic(instruction.text), operands(instruction.text)
            value = _immediate(given[0])
            if name.startswith("lea") and (match := _LEA.match(given[0])) and _place(match[2]) == counter:
                if match[1] not in ("", "-", "0"):
                    return int(match[1]), _place(given[1]) != counter
            elif _place(given[-1]) != counter:
                continue
            elif name.startswith("inc"):
                return 1, False
            elif name.startswith("dec"):
                return -1, False
            elif name.startswith("add") and value is not None:
                return value, False
            elif name.startswith("sub") and value is not None:
                return -value, False
    return 0, False


def _first_value(blocks: Sequence[Block], first: int, counter: str) -> int | None:
    """What the counter holds when the loop is entered; None if that is no number."""
    for text in _before(blocks, first):
        name, given = mnemonic(text), operands(text)
        if _place(given[-1]) != counter or name.startswith(("cmp", "test", "j", "call")):
            continue
        if name.startswith("xor") and given[0] == given[-1]:
            return 0
        return _immediate(given[0]) if name.startswith("mov") else None
    return None


def _before(blocks: Sequence[Block], first: int) -> Iterator[str]:
    """Instructions of the same function from a block on backwards."""
    left = _LOOK_BACK
    for block in reversed(blocks[:first]):
        if block.function != blocks[first].function:
            return
        for instruction in reversed(block.instructions):
            yield instruction.text
            left -= 1
            if not left:
                return


def _immediate(operand: str) -> int | None:
    match = _IMMEDIATE.match(operand)
    return int(match[1], 0) if match else None


def _place(operand: str) -> str:
    """A register by its widest form, or memory as it stands."""
    known = register(operand[1:]) if operand.startswith("%") else None
    return known[1] if known is not None else operand
