"""Has Inductor call oneDNN for the matrix products that it computes faster than PyTorch's own way.

Inductor leaves float32 products to MKL, and its lowering of oneDNN's takes frozen weights only. So there are two
operators of our own: a product whose weight is any tensor, and a weight packed for oneDNN, which freezing computes
once. They become calls of oneDNN in the generated code, and pointwise operators behind products of frozen weights
become oneDNN's post-operators, as Inductor does it for types of 16 bits.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, cast

import torch

from foretune.compiler.graphs.operators import base_name
from foretune.compiler.libraries.products import (
    AS_IT_IS,
    MKL_PACKED,
    ONEDNN,
    ONEDNN_PACKED,
    Product,
    product_of,
    tensors_of,
    weight_of,
)
from foretune.compiler.libraries.times import LibraryTimes
from foretune.compiler.torch_private import CustomGraphPass, TracingContext, disable_current_modes

_EIGHT_BITS = (torch.int8, torch.uint8)
_DEQUANTISING = frozenset(
    (
        "convert_element_type",
        "_to_copy",
        "sub",
        "mul",
        "permute",
        "t",
        "view",
        "reshape",
        "expand",
        "clone",
        "quantized_decomposed",
    )
)  # operators between a tensor of 8 bits and a product, the last ones by their namespace
_DEQUANTISING_STEPS = 8
_GAIN = 0.95  # of the time that Inductor's own way takes; less is better


class OneDnnProducts(CustomGraphPass):
    """A pass over ATen graphs that Inductor runs before it lowers them, and before it folds frozen weights.

    Args:
        times: of products.
        packs: whether weights are frozen, so that they may be packed.

    Attributes:
        changed: products that go to oneDNN.
    """

    def __init__(self, times: LibraryTimes, packs: bool) -> None:
        _define_operators()
        self._times, self._packs = times, packs
        self.changed = 0

    def uuid(self) -> bytes:
        """Part of the key of Inductor's cache, which holds the changed graph as well."""
        return hashlib.sha256(Path(__file__).read_bytes() + bytes([self._packs])).digest()

    def __call__(self, graph: torch.fx.Graph) -> None:
        """Changes a graph in place."""
        static = _frozen_placeholders(graph) if self._packs else frozenset()
        for node in list(graph.nodes):
            product = product_of(node)
            if product is None or product.name not in ("mm.default", "addmm.default"):
                continue
            if not any(map(_is_dequantised, tensors_of(node))):
                self._change(graph, node, product, weight_of(node, product).name in static)
        graph.lint()

    def _change(self, graph: torch.fx.Graph, node: torch.fx.Node, product: Product, packs: bool) -> None:
        values = [source.meta["val"] for source in tensors_of(node)]
        with disable_current_modes():
            secs = self._times.of(product, values, packs)
        way = ONEDNN_PACKED if packs else ONEDNN
        if way not in secs or secs[way] > _GAIN * min(secs[AS_IT_IS], secs.get(MKL_PACKED, secs[AS_IT_IS])):
            return
        *bias, x, weight = cast("tuple[torch.fx.Node, ...]", node.args[: product.first + 2])
        with graph.inserting_before(node):
            rows = graph.call_function(torch.ops.aten.permute.default, (weight, [1, 0]))
            rows.meta["val"] = weight.meta["val"].t()
            if packs:
                rows = graph.call_function(torch.ops.foretune.packed_weight.default, (rows, values[-2].shape[0]))
                rows.meta["val"] = weight.meta["val"].t()
            operator = torch.ops.mkldnn._linear_pointwise if packs else torch.ops.foretune.linear
            made = graph.call_function(operator.default, (x, rows, bias[0] if bias else None, "none", [], ""))
        made.meta = dict(node.meta)
        node.replace_all_uses_with(made)
        graph.erase_node(node)
        self.changed += 1


def _is_dequantised(node: torch.fx.Node) -> bool:
    """Whether a tensor is one of 8 bits, widened and scaled; Inductor computes products of such in integers."""
    reached = [node]
    for _ in range(_DEQUANTISING_STEPS):
        if any(_dtype_of(source) in _EIGHT_BITS for source in reached):
            return True
        widened = [source for source in reached if source.op == "call_function" and base_name(source) in _DEQUANTISING]
        reached = [further for source in widened for further in source.all_input_nodes]
    return False


def _dtype_of(node: torch.fx.Node) -> torch.dtype | None:
    return getattr(node.meta.get("val"), "dtype", None)


def _frozen_placeholders(graph: torch.fx.Graph) -> frozenset[str]:
    """Names of the inputs that freezing makes constants of: parameters come first."""
    context = TracingContext.try_get()
    number = len(getattr(context, "params_flat_unwrap_subclasses", None) or ())
    return frozenset(node.name for node in graph.find_nodes(op="placeholder")[:number])


@cache
def _define_operators() -> torch.library.Library:
    """The two operators, for PyTorch and for Inductor."""
    from foretune.compiler.torch_private import inductor_ir as ir
    from foretune.compiler.torch_private import inductor_mkldnn_ir as mkldnn_ir
    from foretune.compiler.torch_private import register_lowering

    library = torch.library.Library("foretune", "DEF")
    arguments = "str attr, Scalar?[] scalars, str? algorithm"  # those of oneDNN's post-operator
    library.define(f"linear(Tensor x, Tensor weight, Tensor? bias, {arguments}) -> Tensor")
    library.impl("linear", lambda *args: torch.ops.mkldnn._linear_pointwise(*args), "CPU")
    library.impl("linear", lambda x, weight, *_: x.new_empty((x.shape[0], weight.shape[0])), "Meta")
    library.define("packed_weight(Tensor weight, int rows) -> Tensor")
    library.impl("packed_weight", _packed_weight, "CPU")
    library.impl("packed_weight", lambda weight, _: weight.new_empty(weight.shape), "Meta")

    @register_lowering(torch.ops.foretune.linear, type_promotion_kind=None)
    def lower(*args: Any) -> Any:
        return ir.TensorBox.create(mkldnn_ir.LinearUnary.create(*args))

    return library


def _packed_weight(weight: torch.Tensor, rows: int) -> torch.Tensor:
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
