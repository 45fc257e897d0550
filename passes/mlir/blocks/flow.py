"""Control flow between the blocks of assembly, with the names of the LLVM IR blocks that they come from."""

from __future__ import annotations

import bisect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from foretune.costmodel.machine_code.assembly import Block
from foretune.errors import UnsupportedError

_LABEL = re.compile(r"^([.\w$@]+):")
_NAME = re.compile(r'#\s*%("[^"]+"|[\w.$-]+)\s*$')
_LEAVES = ("ret", "ud2", "hlt")


@dataclass
class Flow:
    """What follows each block of some functions.

    Attributes:
        blocks: all of them, in order.
        successors: of each, by position.
        names: of the IR blocks that each comes from.
        calls: functions that each calls; empty names of calls through pointers.
        entries: function -> its first block.
        refused: function -> why what follows one of its blocks is not known.
    """

    blocks: Sequence[Block]
    successors: list[tuple[int, ...]] = field(default_factory=list)
    names: list[set[str]] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    entries: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def read_flow(assembly: str, blocks: Sequence[Block]) -> Flow:
    """The control flow between the blocks of some assembly."""
    flow = Flow(blocks, names=[set() for _ in blocks])
    starts, labels = [block.line for block in blocks], {}
    position, waiting = {start: i for i, start in enumerate(starts)}, set()
    for number, line in enumerate(assembly.splitlines()):
        text, match = line.strip(), _LABEL.match(line)
        if match is not None:
            labels[match[1]] = bisect.bisect_left(starts, number)
        if match is not None or text.startswith("# %bb."):
            waiting |= {name[1].strip('"') for name in [_NAME.search(line)] if name}
        elif text and not text.startswith(("#", ".")):  # an instruction
            if number in position:
                flow.names[position[number]] |= waiting
            waiting = set()
    for i, block in enumerate(blocks):
        flow.entries.setdefault(block.function, i)
        flow.calls.append([_callee(one.text) for one in block.instructions if one.text.startswith("call")])
        try:
            flow.successors.append(_successors(flow, i, labels))
        except UnsupportedError as error:  # which matters only if the function runs
            flow.successors.append(())
            flow.refused[block.function] = str(error)
    return flow


def _successors(flow: Flow, i: int, labels: Mapping[str, int]) -> tuple[int, ...]:
    blocks = flow.blocks
    block = blocks[i]
    text = block.instructions[-1].text
    name, _, target = text.partition(" ")
    falls = (i + 1,) if i + 1 < len(blocks) and blocks[i + 1].function == block.function else ()
    if name.startswith(_LEAVES):
        return ()
    if not name.startswith("j"):
        return falls
    target = target.strip()
    if target.startswith("*"):
        raise UnsupportedError(f"@{block.function} jumps through a table")
    if target not in labels and not name.startswith("jmp"):
        raise UnsupportedError(f"@{block.function} calls {target} on a condition")
    if target not in labels:  # a call in the place of a return
        flow.calls[i].append(_callee("call " + target))
        return ()
    to = labels[target]
    if to >= len(blocks) or blocks[to].function != block.function:
        raise UnsupportedError(f"@{block.function} jumps to {target}, which is no block of it")
    return (to,) if name.startswith("jmp") else tuple(dict.fromkeys((to, *falls)))


def _callee(text: str) -> str:
    target = text.split(" ", 1)[1].strip() if " " in text else ""
    return "" if target.startswith("*") else target.removesuffix("@PLT")
