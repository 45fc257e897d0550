"""A functional ATen graph in the form in which PyTorch exports programs, without tracing it once more.

AOTAutograd has traced a region already; `torch.export` would give the same graph again, in a tenth of a second and
more, and with tensors as large as its weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.export.graph_signature import ExportGraphSignature, InputKind, InputSpec, TensorArgument

from foretune.compiler.graphs.tensors import check_inputs
from foretune.errors import UnsupportedError


@dataclass(frozen=True)
class FlatProgram:
    """What TVM's importer reads of a `torch.export.ExportedProgram`.

    Attributes:
        graph_module: functional ATen that takes tensors of fixed sizes, has no constants, and returns tensors.
        state_dict, constants, tensor_constants, range_constraints: there are none.
    """

    graph_module: torch.fx.GraphModule
    state_dict: dict[str, torch.Tensor] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    tensor_constants: dict[str, torch.Tensor] = field(default_factory=dict)
    range_constraints: dict[Any, Any] = field(default_factory=dict)

    @property
    def graph(self) -> torch.fx.Graph:
        """Of the module."""
        return self.graph_module.graph

    @property
    def graph_signature(self) -> ExportGraphSignature:
        """All inputs are the caller's, and so are all outputs, which then need not be listed."""
        inputs = [TensorArgument(node.name) for node in self.graph.find_nodes(op="placeholder")]
        return ExportGraphSignature([InputSpec(InputKind.USER_INPUT, name, None) for name in inputs], [])

    def named_parameters(self) -> Iterable[tuple[str, torch.nn.Parameter]]:
        """There are none."""
        return ()

    def named_buffers(self) -> Iterable[tuple[str, torch.Tensor]]:
        """There are none."""
        return ()


def flat_program(graph_module: torch.fx.GraphModule) -> FlatProgram:
    """A functional ATen graph as a program.

    Of what is noted at its inputs only the value stays; the rest is of other graphs that they were inputs of.

    Raises:
        UnsupportedError: an input cannot go to TVM, or the graph has parts of another kind.
    """
    for node in graph_module.graph.nodes:
        if node.op not in ("placeholder", "call_function", "output"):
            raise UnsupportedError(f"a region with {node.op} {node.target}")
    inputs = graph_module.graph.find_nodes(op="placeholder")
    check_inputs([node.meta["val"] for node in inputs])
    for node in inputs:
        node.meta = {"val": node.meta["val"]}
    return FlatProgram(graph_module)
