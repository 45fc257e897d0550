"""Ranges of PyTorch's profiler: which region and which kernel of TVM's takes how long.

A range costs some microseconds, so that there are none unless a profiler looks on: callers read
`profiler._is_profiler_enabled`, which is all that a call costs otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from torch.autograd import profiler

__all__ = ["profiled", "profiler", "range_name"]

_MOST_CHARACTERS = 160


def range_name(kind: str, parts: Sequence[str]) -> str:
    """The name of a range, such as `foretune::region (addmm, relu)`.

    Args:
        kind: of what takes the time.
        parts: what it is made of.
    """
    name = f"foretune::{kind} ({', '.join(parts)})"
    return name if len(name) <= _MOST_CHARACTERS else f"{name[: _MOST_CHARACTERS - 4]}, …)"


def profiled(name: str) -> AbstractContextManager:
    """A range that the profiler lists by its name."""
    return profiler.record_function(name)
