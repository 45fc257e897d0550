"""The cycles of a module, from those of its blocks.

A function costs the cycles of its blocks, each as often as it runs, and those of the functions of the module that it
calls, so that inlining neither hides work nor doubles it. The module costs what all functions that others can call
cost, each called once; what it does not define costs its call.
"""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Collection, Mapping
from collections.abc import Sequence as Many

import numpy as np

from foretune.passes.llvm.cycles.assembly import MachineBlock
from foretune.support.tools import run_tool

_ITERATIONS = 50  # of each block: what one takes when it runs again and again
_TOTAL = re.compile(r"^Total Cycles:\s+(\d+)", re.M)
_REGION = re.compile(r"^\[\d+\] Code Region - (\d+)", re.M)
_ERROR = re.compile(r"^[^:\n]*:(\d+):\d+: error", re.M)
_MARK = "#" if platform.machine() in ("x86_64", "AMD64") else "//"  # how comments begin
_NEGLIGIBLE = 1e-5  # of all instructions that run: such blocks are taken to run a few instructions a cycle
_PER_CYCLE = 3.0


def module_cycles(
    functions: Mapping[str, Many[MachineBlock]], public: Collection[str], command: Many[str], timeout_secs: float
) -> float | None:
    """Cycles of a module; None where llvm-mca cannot tell.

    Args:
        functions: their blocks.
        public: names that others can call; all, where there are none.
        command: llvm-mca with the processor's options.
        timeout_secs: limit of it.
    """
    cycles = _block_cycles(functions, command, timeout_secs)
    if cycles is None:
        return None
    costs: dict[str, float] = {}
    roots = [name for name in functions if name in public] or list(functions)
    for name in roots:
        _cost(name, functions, cycles, costs)
    return sum(costs[name] for name in roots)


def _cost(
    root: str,
    functions: Mapping[str, Many[MachineBlock]],
    cycles: Mapping[tuple[str, ...], float],
    costs: dict[str, float],
) -> None:
    """Sets the costs of a function and of all that it calls; a call back into one that is being counted is no more
    than a call.
    """
    stack, begun = [root], set()
    while stack:
        name = stack[-1]
        callees = {call for block in functions[name] for call in block.calls if call in functions}
        missing = [] if name in begun else [call for call in callees if call not in costs and call not in begun]
        begun.add(name)
        if missing:
            stack += missing
            continue
        stack.pop()
        if name not in costs:
            costs[name] = sum(
                block.frequency * (cycles[block.instructions] + sum(costs.get(call, 0.0) for call in block.calls))
                for block in functions[name]
            )


def _block_cycles(
    functions: Mapping[str, Many[MachineBlock]], command: Many[str], timeout_secs: float
) -> dict[tuple[str, ...], float] | None:
    """Cycles of each block, by its instructions."""
    runs: dict[tuple[str, ...], float] = {}
    for blocks in functions.values():
        for block in blocks:
            weight = block.frequency * len(block.instructions)
            runs[block.instructions] = runs.get(block.instructions, 0.0) + weight
    least = _NEGLIGIBLE * sum(runs.values())
    weighed = [instructions for instructions, weight in runs.items() if instructions and weight >= least]
    cycles = {instructions: len(instructions) / _PER_CYCLE for instructions in runs}
    told = _ask(weighed, command, timeout_secs)
    return None if told is None else cycles | told


def _ask(
    blocks: Many[tuple[str, ...]], command: Many[str], timeout_secs: float, again: bool = True
) -> dict[tuple[str, ...], float] | None:
    """llvm-mca's cycles of blocks; those that it cannot read, such as the program's own assembly, are left out."""
    regions = [
        [f"{_MARK} LLVM-MCA-BEGIN {number}", *block, f"{_MARK} LLVM-MCA-END"] for number, block in enumerate(blocks)
    ]
    if not regions:
        return {}
    options = [f"-iterations={_ITERATIONS}", "-instruction-info=0", "-resource-pressure=0"]
    text = "".join(f"{line}\n" for region in regions for line in region)
    try:
        done = run_tool([*command, *options], timeout_secs, text)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode and again:
        bad = {int(line) for line in _ERROR.findall(done.stderr)}
        ends = np.cumsum([len(region) for region in regions])
        left = set(np.searchsorted(ends, sorted(bad)).tolist())
        return _ask([block for i, block in enumerate(blocks) if i not in left], command, timeout_secs, False)
    marks = list(_REGION.finditer(done.stdout))
    ends = [*(mark.start() for mark in marks[1:]), len(done.stdout)]
    totals = {int(mark[1]): _TOTAL.search(done.stdout, mark.end(), end) for mark, end in zip(marks, ends)}
    found = {blocks[number]: float(total[1]) / _ITERATIONS for number, total in totals.items() if total is not None}
    return found or None
