"""Schedules of programs that are loops over memrefs."""

from __future__ import annotations

from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.grammar.template_parts import Built, Choose


def schedule_affine_loops(built: Built, choose: Choose) -> Schedule:
    if choose("affine fusion", (False, True)):
        built.add("affine-fusion")
    if choose("affine copies", (True, False)):
        built.add("affine-scalrep", "affine-licm")
    tiles = choose("affine tile", (0, 32, 64, 16, 128))
    if tiles:
        built.add(f"affine-tile{{tile_sizes={tiles}}}")
    jam = choose("affine jam", (0, 4, 2, 8))
    if jam:
        built.add(f"affine-unroll-jam{{unroll_jam_factor={jam}}}")
    width = choose("affine vector", (16, 32, 0, 8, 64))
    if width:
        reductions = choose("affine reductions", (True, False))
        built.add(f"affine-vectorize{{virtual_vector_size={width} vectorize_reductions={str(reductions).lower()}}}")
    unroll = choose("affine unroll", (0, 2, 4, 8))
    if unroll:
        built.add(f"affine-unroll{{unroll_factor={unroll}}}")
    built.add("canonicalize", "cse", "lower{reductions=tree}")
    return built.schedule


def schedule_loops(built: Built, choose: Choose) -> Schedule:
    if choose("raise", (False, True)):
        built.add("raise-to-affine", "affine-scalrep")
    if choose("invariants", (True, False)):
        built.add("licm")
    factor = choose("unroll", (1, 2, 4, 8))
    loops = [i for i, loop in enumerate(built.describe()["loops"]) if loop["innermost"] and loop["trips"] > factor]
    for i in reversed(loops):
        if factor > 1:
            built.add(f"unroll{{on=scf.for:{i} factor={factor}}}")
    built.add("canonicalize", "cse", f"lower{{math={choose('math', ('libm', 'libmvec'))} reductions=tree}}")
    return built.schedule
