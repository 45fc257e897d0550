"""Phases of compiling, among PyTorch's own: `torch._dynamo.utils.compile_times()`, the timeline of a trace."""

from __future__ import annotations

from contextlib import AbstractContextManager

from foretune.compiler.torch_private import dynamo_timed

PHASES = ("import_regions", "tune", "build_regions", "time_libraries", "contest")
"""In the order in which a graph meets them; PyTorch lists them with `foretune.` before their names."""


def phase(name: str) -> AbstractContextManager[None]:
    """Times what goes on inside.

    Args:
        name: one of `PHASES`.
    """
    if name not in PHASES:
        raise ValueError(f"a phase must be one of {PHASES}, but got {name!r}")
    return dynamo_timed(f"foretune.{name}")
