"""Instructions of x86 that multiply groups of neighbouring narrow numbers and sum each group into a lane of 32 bits."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DotInstruction:
    """One of them.

    Attributes:
        operands: types of factors that it serves.
        element: type of factors that it takes itself.
        result: type of a lane.
        group: numbers in a lane; together they have 32 bits.
        intrinsics: bits of a register -> LLVM's name.
        adds: whether it adds to an accumulator.
        unsigned_first: whether its first factors have no sign and its second ones have.
    """

    operands: tuple[str, ...]
    element: str
    result: str
    group: int
    intrinsics: dict[int, str] = field(hash=False)
    adds: bool = True
    unsigned_first: bool = False


DOT_INSTRUCTIONS = {
    "vpdpbusd": DotInstruction(
        ("i8",),
        "i8",
        "i32",
        4,
        {256: "llvm.x86.avx512.vpdpbusd.256", 512: "llvm.x86.avx512.vpdpbusd.512"},
        unsigned_first=True,
    ),
    "vpmaddwd": DotInstruction(
        ("i8", "i16"),
        "i16",
        "i32",
        2,
        {128: "llvm.x86.sse2.pmadd.wd", 256: "llvm.x86.avx2.pmadd.wd", 512: "llvm.x86.avx512.pmaddw.d.512"},
        adds=False,
    ),
    "vdpbf16ps": DotInstruction(
        ("bf16",),
        "bf16",
        "f32",
        2,
        {256: "llvm.x86.avx512bf16.dpbf16ps.256", 512: "llvm.x86.avx512bf16.dpbf16ps.512"},
    ),
}
"""By the name of the instruction, the better ones of a type first. LLVM makes `vpdpwssd` of `vpmaddwd` and a sum where
the processor has it.
"""


def instruction_for(element: str, result: str, available: Collection[str]) -> str:
    """The best of some instructions for a product; empty where none does it."""
    for name, instruction in DOT_INSTRUCTIONS.items():
        if name in available and element in instruction.operands and result == instruction.result:
            return name
    return ""
