"""A graph computed in 16 bits where PyTorch's autocast would do so, by the user's choice."""

from __future__ import annotations

import torch

from foretune.compiler.pytorch.inductor import own_graph
from foretune.compiler.torch_private import enter_autocast, exit_autocast

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


def in_precision(gm: torch.fx.GraphModule, precision: str) -> torch.fx.GraphModule:
    """The same program under autocast; it stays as it is, and so do the types of what it returns.

    Args:
        gm: a Dynamo graph.
        precision: of `PRECISIONS`.
    """
    made = own_graph(gm)
    graph = made.graph
    first = next(node for node in graph.nodes if node.op != "placeholder")
    with graph.inserting_before(first):
        context = graph.call_function(enter_autocast, ("cpu", PRECISIONS[precision], True, True))
    output = graph.output_node()
    with graph.inserting_before(output):
        graph.call_function(exit_autocast, (context,))
        for node in dict.fromkeys(output.all_input_nodes):
            value = node.meta.get("example_value", node.meta.get("val"))
            if node.op == "placeholder" or not isinstance(value, torch.Tensor) or not value.is_floating_point():
                continue
            cast = graph.call_method("to", (node, value.dtype))
            cast.meta = dict(node.meta)
            output.replace_input_with(node, cast)
    graph.lint()
    made.recompile()
    return made
