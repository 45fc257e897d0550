"""A seeded generator of varied legal MLIR programs, for training data.

Operator graphs are `linalg` on tensors; loop nests are `affine` and `scf` on memrefs; single operations, code on
vectors and whole modules are as other people's have them. Shapes and element types are
drawn so that one run takes a few milliseconds at most. The same family and seed always give the same text. Programs
write to their result or to arguments named last; loops that read what they wrote average it, so that values stay
ordinary numbers however often they run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foretune.errors import OptionError
from foretune.passes.mlir.programs import (
    loop_programs,
    module_programs,
    named_programs,
    operator_programs,
    vector_programs,
)
from foretune.passes.mlir.programs.shapes import Draw

ENTRY = "main"

FAMILIES: dict[str, Callable[[Draw], str]] = {
    **operator_programs.FAMILIES,
    **loop_programs.FAMILIES,
    **named_programs.FAMILIES,
    **vector_programs.FAMILIES,
    **module_programs.FAMILIES,
}
"""family -> writer of a module with the function `main`."""


@dataclass(frozen=True)
class GeneratedProgram:
    """One program.

    Attributes:
        family, seed: what it was made from.
        text: the module.
    """

    family: str
    seed: int
    text: str

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.family}_{self.seed}"


def generate(family: str, seed: int) -> GeneratedProgram:
    """The program of a family and a seed.

    Raises:
        OptionError: there is no such family.
    """
    if family not in FAMILIES:
        raise OptionError(f"unknown family {family!r} of programs; known are {sorted(FAMILIES)}")
    digest = hashlib.sha256(f"{family}/{seed}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    return GeneratedProgram(family, seed, FAMILIES[family](Draw(rng)))


def programs(seed: int = 0):
    """Endless programs, the families in turn: (family, seed), (next family, seed), … (family, seed + 1), …"""
    while True:
        for family in FAMILIES:
            yield generate(family, seed)
        seed += 1
