"""A region goes to TVM as it was traced: the program is what an export of it would give."""

from __future__ import annotations

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional as F

from foretune.compiler.graphs.decompositions import decompositions
from foretune.compiler.graphs.flat_program import flat_program
from foretune.compiler.graphs.tensors import make_values_own
from foretune.compiler.pytorch import importer
from foretune.compiler.tir._tvm import tvm
from foretune.compiler.torch_private import FakeTensorMode
from foretune.errors import UnsupportedError

X = torch.randn(2, 8, 16)
PROGRAMS = {
    "normalised": (lambda x, w: F.gelu(F.layer_norm(x, (16,), w)).softmax(-1), (X, torch.randn(16))),
    "product": (lambda x, w, b: torch.tanh(F.linear(x, w, b)) * 2, (X, torch.randn(4, 16), torch.randn(4))),
    "several outputs": (lambda x: (x.transpose(1, 2).contiguous() + 1, x.sum(-1), x.max(1)[0]), (X,)),
    "strides": (lambda x, y: (x * y).permute(0, 2, 1).reshape(2, -1), (X, torch.randn(2, 16, 8).transpose(1, 2))),
    "convolution": (lambda x, w: F.relu(F.conv2d(x, w, padding=1)), (torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3))),
    "types": (lambda x, i: torch.where(i > 0, x.double(), i.to(torch.float64)), (X, torch.ones(2, 8, 16).long())),
}


def traced(name: str) -> tuple[torch.fx.GraphModule, tuple]:
    run, inputs = PROGRAMS[name]
    return make_fx(run, decomposition_table=decompositions(), tracing_mode="fake")(*inputs), inputs


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_imported_as_its_export_is(name):
    graph, inputs = traced(name)
    weights = frozenset(range(1, len(inputs)))
    exported = importer.import_exported(torch.export.export(graph, inputs), weights)
    program = flat_program(graph)
    tvm.ir.assert_structural_equal(importer.import_exported(program, weights), exported)


def test_notes_of_other_graphs_are_dropped():
    graph, _ = traced("product")
    first = graph.graph.find_nodes(op="placeholder")[0]
    first.meta["tensor_meta"] = "of another shape"
    program = flat_program(graph)
    assert list(first.meta) == ["val"]
    assert [spec.arg.name for spec in program.graph_signature.input_specs] == ["x_1", "w_1", "b_1"]


def test_what_cannot_go_to_tvm_is_named():
    with_constant = torch.fx.Graph()
    with_constant.output(with_constant.get_attr("weight"))
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(UnsupportedError, match="a region with get_attr weight"):
        flat_program(torch.fx.GraphModule(module, with_constant))
    half = make_fx(lambda x: x + 1, tracing_mode="fake")(X.half())
    with pytest.raises(UnsupportedError, match=r"dtype torch\.float16"):
        flat_program(half)


def test_values_of_a_graph_know_their_device_whatever_other_threads_trace():
    mode = FakeTensorMode()
    with mode:
        value = torch.empty(2, 3).t()
    graph = torch.fx.Graph()
    node = graph.placeholder("x")
    node.meta["val"] = (value, 5)
    make_values_own(graph)
    mode.in_kernel_invocation = True  # as another thread has it while an operator runs
    own, number = node.meta["val"]
    assert value.device.type == "meta" and own.device.type == "cpu" and number == 5
    assert own.shape == (3, 2) and own.stride() == (1, 3) and own.dtype == torch.float32
