"""A graph is split in a thread, whatever others trace meanwhile."""

from __future__ import annotations

import torch
from torch.fx import traceback
from torch.fx.experimental.proxy_tensor import make_fx

from foretune.compiler.pytorch.partition import partition, prepare


def program(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    y = torch.fft.rfft(torch.tanh(x) + 1).real.contiguous()  # TVM has no Fourier transforms
    z = torch.relu(y) * 2
    return z, torch.exp(z) + 1, torch.sigmoid(z)


def traced() -> torch.fx.GraphModule:
    return make_fx(program, tracing_mode="fake")(torch.randn(4, 8))


def split(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    prepare(graph)
    fused, regions, left = partition(graph)
    assert regions == ["fused_0", "fused_1"] and any("fft" in name for name in left)
    fused.recompile()
    return fused


def test_it_computes_the_same():
    x = torch.randn(4, 8)
    for actual, expected in zip(split(traced())(x), program(x), strict=True):
        torch.testing.assert_close(actual, expected)


def test_what_others_trace_is_not_noted():
    graph = traced()
    with traceback.preserve_node_meta():
        traceback.set_stack_trace(["of another graph"])
        fused = split(graph)
    made = [node for node in fused.graph.nodes if node.op == "call_module" or "getitem" in node.name]
    assert made and all(node.meta.get("stack_trace") != "of another graph" for node in made)
