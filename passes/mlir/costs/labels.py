"""What a compiled program costs: counts that are read off its assembly, static and dynamic, and llvm-mca's cycles.

Static labels look at the text of all functions. Dynamic ones weigh each block with the number of times that it ran,
which a copy of the same assembly counted exactly (`assembly.with_counters`); what the C library does, such as `memcpy`
and `expf`, is not in them.

llvm-mca's cycles are those of `foretune.costmodel.machine_code.mca`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from foretune.costmodel.machine_code.assembly import Block


@dataclass(frozen=True)
class Labels:
    """Costs of one program for one processor; lower is better, but for the shares.

    Attributes:
        instructions: in the text of all functions.
        registers: distinct general and vector registers that are named; `gpr_registers` and `vector_registers` apart.
        spills, reloads: moves to slots of the frame, and reads of slots that were written so.
        memory_operands: instructions that access memory.
        vector_share: packed among the instructions that compute on floating point, in the text; 0 without any.
        dynamic_instructions: executed in one run.
        dynamic_vector_share: of the executed arithmetic.
        bytes_read, bytes_written: by the memory operands of executed instructions.
        mca_cycles, mca_throughput: of one run, see the module.
        secs: process CPU time of one run, the least of several; NaN if it was not run.
    """

    instructions: float
    registers: float
    gpr_registers: float
    vector_registers: float
    spills: float
    reloads: float
    memory_operands: float
    vector_share: float
    dynamic_instructions: float
    dynamic_vector_share: float
    bytes_read: float
    bytes_written: float
    mca_cycles: float
    mca_throughput: float
    secs: float

    def to_json(self) -> dict[str, float]:
        """The labels by name."""
        return asdict(self)


NAMES = tuple(Labels.__dataclass_fields__)


def static_labels(blocks: Sequence[Block]) -> dict[str, float]:
    """The labels that follow from the text alone."""
    instructions = [i for block in blocks for i in block.instructions]
    registers = set().union(*(i.registers for i in instructions)) - {("gpr", "rsp")}
    arithmetic = [i for i in instructions if i.arithmetic]
    spills = reloads = 0
    by_function: dict[str, list] = {}
    for block in blocks:
        by_function.setdefault(block.function, []).extend(block.instructions)
    for members in by_function.values():
        frame = ("(%rsp)", "(%rbp)") if any(i.text == "movq %rsp, %rbp" for i in members) else ("(%rsp)",)
        written = [i.stack for i in members if i.stack.endswith(frame) and i.writes and i.move]
        slots = set(written)
        spills += len(written)
        reloads += sum(1 for i in members if i.reads and i.stack in slots)
    return {
        "instructions": len(instructions),
        "registers": sum(kind in ("gpr", "vector") for kind, _ in registers),
        "gpr_registers": sum(kind == "gpr" for kind, _ in registers),
        "vector_registers": sum(kind == "vector" for kind, _ in registers),
        "spills": spills,
        "reloads": reloads,
        "memory_operands": sum(1 for i in instructions if i.reads or i.writes),
        "vector_share": sum(i.packed for i in arithmetic) / len(arithmetic) if arithmetic else 0.0,
    }


def dynamic_labels(blocks: Sequence[Block], runs: np.ndarray) -> dict[str, float]:
    """The labels that weigh blocks with how often they ran.

    Args:
        runs: [B] of each block, in one run of the program.
    """

    def total(count) -> float:
        return float(sum(int(n) * sum(count(i) for i in block.instructions) for n, block in zip(runs, blocks) if n))

    arithmetic = total(lambda i: i.arithmetic)
    return {
        "dynamic_instructions": total(lambda i: 1),
        "dynamic_vector_share": total(lambda i: i.arithmetic and i.packed) / arithmetic if arithmetic else 0.0,
        "bytes_read": total(lambda i: i.reads),
        "bytes_written": total(lambda i: i.writes),
    }
