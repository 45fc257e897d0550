"""Names of the numbers that a program graph's nodes have. No MLIR is needed here.

Counts are plain; extents, runs and bytes are logarithms to base 2 of 1 + x.
"""

from __future__ import annotations

from foretune.passes.mlir.graph.categories import CATEGORIES

INNER_LOOPS = 4
"""Loops around a statement, the innermost first, that it has features of; the others are joined to one number."""
POWERS = (2, 4, 8, 16, 32)
RESTS = (4, 8, 16, 32, 64, 128)
LIMITS = (1, 2, 4, 8, 16, 32, 64)
KINDS = ("structured", "affine", "scf", "cfg")
ACCESS_KINDS = ("contiguous", "invariant", "near", "far", "unknown")
CHUNKED = {
    "arithmetic": (
        "fadd",
        "fmul",
        "fdiv",
        "fminmax",
        "fma",
        "iadd",
        "imul",
        "select",
        "fmisc",
        "sqrt",
        "ilogic",
        "iminmax",
        "cast",
        "ishift",
    ),
    "memory": ("load", "store"),
    "shape": ("vshape",),
    "reduce": ("vreduce", "vcontract"),
}
"""Groups of categories whose vectors are counted in registers of 512 bits."""


def _loop_names(prefix: str) -> list[str]:
    numbers = (*(f"mod{p}" for p in POWERS), *(f"rest{p}" for p in RESTS), *(f"upto{n}" for n in LIMITS))
    return [
        f"{prefix}.{n}"
        for n in ("there", "log_trip", "trip", *numbers, "log_step", "carried", "reduced", *KINDS, "triangular")
    ]


STATEMENT_FEATURES = (
    *(f"n.{c}" for c in CATEGORIES),
    *(f"v.{c}" for c in CATEGORIES),
    *(f"chunks.{c}" for c in CHUNKED),
    "log_lanes",
    "f32",
    "f64",
    "i32",
    "i64",
    "narrow",
    "operations",
    "log_operations",
    "log_flops",
    *(f"{w}.{k}" for w in ("load", "store") for k in ACCESS_KINDS),
    *(f"{w}.outer.{k}" for w in ("load", "store") for k in ACCESS_KINDS[:3]),
    "roots_read",
    "roots_written",
    "arguments_read",
    "arguments_written",
    "argument_pairs",
    "log_footprint",
    "log_largest",
    "accumulates",
    "recurs",
    "alias_pairs",
    "depth",
    "log_runs",
    "inner_loops",
    "log_body",
    "structured",
    "distinct_loads",
    *(name for i in range(INNER_LOOPS) for name in _loop_names(f"loop{i}")),
    "log_outer",
)
LOOP_FEATURES = tuple(_loop_names("loop"))
BUFFER_FEATURES = ("log_bytes", "log_element", "readers", "writers")
