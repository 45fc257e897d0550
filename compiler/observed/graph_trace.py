"""What became of a graph, as an artifact of PyTorch's structured trace: `TORCH_TRACE=folder`, read by tlparse."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from foretune.compiler.torch_private import CompileContext, CompileId, trace_structured

ARTIFACT = "foretune_graph"
"""Its name on tlparse's page of a graph."""


def compile_id() -> CompileId | None:
    """PyTorch's number of the graph that is being compiled, such as `0/0`; None outside of a compilation."""
    return CompileContext.current_compile_id()


def trace_graph(document: Mapping[str, Any], graph: CompileId | None = None) -> None:
    """Adds an artifact to the trace, if one is being written.

    Args:
        document: what is told, as JSON data; infinite numbers become text.
        graph: PyTorch's number of the graph, where it is not the one that is being compiled now.
    """
    trace_structured(
        "artifact",
        metadata_fn=lambda: {"name": ARTIFACT, "encoding": "json"},
        payload_fn=lambda: json.dumps(_finite(document), indent=1, allow_nan=False),
        expect_trace_id=False,
        compile_id=graph,
    )


def _finite(value: Any) -> Any:
    """The value as strict JSON takes it."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return str(value)
    return value
