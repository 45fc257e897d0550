"""Matrix products and convolutions as PyTorch's libraries compute them.

PyTorch calls MKL for float32 products, which on AMD's processors reaches a third of what oneDNN does. oneDNN takes
weights as they are, or packed ahead of time into a layout of its own; MKL packs them as well. Which way is the
fastest is measured (`times.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch

from foretune.compiler.torch_private import OpOverload

_OPERANDS = {
    "mm.default": 0,
    "bmm.default": 0,
    "addmm.default": 1,
    "baddbmm.default": 1,
    "convolution.default": 0,
}  # position of the first of the two

_POST_OPERATORS = {
    "gelu.default": "gelu",
    "sigmoid.default": "sigmoid",
    "silu.default": "swish",
    "tanh.default": "tanh",
}

AS_IT_IS, ONEDNN, ONEDNN_PACKED, MKL_PACKED = "PyTorch", "oneDNN", "oneDNN, packed", "MKL, packed"
Way = Callable[["Product", Sequence[torch.Tensor]], Callable[..., torch.Tensor]]


@dataclass(frozen=True)
class Product:
    """A call of an operator of `_OPERANDS`, with its tensors first.

    Attributes:
        target: the operator.
        rest: its arguments after the tensors.
        post: pointwise operator behind it that is computed as well, and its algorithm, in oneDNN's words.
    """

    target: OpOverload
    rest: tuple[Any, ...]
    post: tuple[str, str] = ("none", "")

    @property
    def name(self) -> str:
        """`op.overload`."""
        return str(self.target).removeprefix("aten.")

    @property
    def first(self) -> int:
        """Position of the first of the two tensors that are multiplied."""
        return _OPERANDS[self.name]

    def words(self, values: Sequence[torch.Tensor]) -> str:
        """Operator and sizes, to be read.

        Args:
            values: the tensors.
        """
        return f"{self.name} {' '.join('x'.join(map(str, value.shape)) for value in values)}"


def product_of(node: torch.fx.Node) -> Product | None:
    """What a node computes, if it is a product of float32 tensors of fixed sizes without scales."""
    if node.op != "call_function" or _operator_of(node) not in _OPERANDS or node.kwargs:
        return None
    tensors = tensors_of(node)
    values = [source.meta.get("val") for source in tensors]
    fits = all(
        isinstance(v, torch.Tensor)
        and v.dtype == torch.float32
        and v.device.type == "cpu"
        and all(isinstance(d, int) for d in v.shape)
        and v.numel()
        for v in values
    )
    return (
        Product(cast("OpOverload", node.target), tuple(node.args[len(tensors) :]))
        if fits and tensors == list(node.args[: len(tensors)])
        else None
    )


def _operator_of(node: torch.fx.Node) -> str:
    return str(node.target).removeprefix("aten.")


def tensors_of(node: torch.fx.Node) -> list[torch.fx.Node]:
    """The arguments of a node that other nodes compute."""
    return [argument for argument in node.args if isinstance(argument, torch.fx.Node)]


def post_operator_of(node: torch.fx.Node) -> tuple[str, str] | None:
    """A pointwise operator in oneDNN's words, if oneDNN computes it as PyTorch does.

    Its relu makes 0 of NaN, and its hardswish overflows otherwise.
    """
    name, algorithm = _operator_of(node), ""
    if name == "gelu.default":
        algorithm = cast("str", node.kwargs.get("approximate", "none"))
    return (_POST_OPERATORS[name], algorithm) if name in _POST_OPERATORS and len(node.args) == 1 else None


def weight_of(node: torch.fx.Node, product: Product) -> torch.fx.Node:
    """What the second tensor of a product is a view of."""
    weight = cast("torch.fx.Node", node.args[product.first + 1])
    while weight.op == "call_function" and _operator_of(weight).split(".")[0] in ("permute", "t", "transpose", "view"):
        weight = cast("torch.fx.Node", weight.args[0])
    return weight


class Watch(Protocol):
    """Notices that weights have been changed or replaced."""

    def unchanged(self, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether these are the tensors of the last call of `keep`, with the values of then."""
        ...

    def keep(self, tensors: Sequence[torch.Tensor]) -> None:
        """Notes the tensors as they are; the caller keeps them alive."""


class LibraryProduct(torch.nn.Module):
    """A product as PyTorch's libraries compute it.

    Args:
        product: what is computed.
        way: a key of `WAYS`.
        watch: says when a packed weight is out of date.

    Attributes:
        product, way: as they were given.
    """

    def __init__(self, product: Product, way: str, watch: Watch) -> None:
        super().__init__()
        self.product, self.way = product, way
        self._product, self._prepare, self._packs = product, WAYS[way], way in _PACKED
        self._watched, self._held = watch, ()
        self._run: Callable[..., torch.Tensor] | None = None

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The product; weights are packed by the first call, and again by the first one after they have changed."""
        if self._run is None or self._packs:
            weights = [inputs[self._product.first + 1]]
            if not self._watched.unchanged(weights):
                self._run = self._prepare(self._product, inputs)
                if self._packs:
                    self._held = weights
                    self._watched.keep(weights)
        run = cast("Callable[..., torch.Tensor]", self._run)  # the first call has made it
        return run(*inputs)


# -- ways --------------------------------------------------------------------------------------------


def _as_it_is(product: Product, _: Sequence[torch.Tensor]) -> Callable[..., torch.Tensor]:
    target, rest = product.target, product.rest
    return lambda *inputs: target(*inputs, *rest)


def _by_onednn(product: Product, _: Sequence[torch.Tensor]) -> Callable[..., torch.Tensor]:
    linear, (post, algorithm) = torch.ops.mkldnn._linear_pointwise.default, product.post
    if product.first:
        return lambda b, x, w: linear(x, w.t(), b, post, [], algorithm)
    return lambda x, w: linear(x, w.t(), None, post, [], algorithm)


def _packed_by_onednn(product: Product, inputs: Sequence[torch.Tensor]) -> Callable[..., torch.Tensor]:
    first, onednn = product.first, torch.ops.mkldnn
    weight = inputs[first + 1].detach()
    if product.name == "convolution.default":
        stride, padding, dilation, _, _, groups = product.rest[-6:]
        packed = onednn._reorder_convolution_weight(
            weight.contiguous(), padding, stride, dilation, groups, inputs[0].shape
        )
        convolution = onednn._convolution_pointwise.default
        return lambda x, _, b=None: convolution(x, packed, b, padding, stride, dilation, groups, "none", [], "")
    packed = onednn._reorder_linear_weight(weight.t().contiguous(), inputs[first].shape[0])
    linear, (post, algorithm) = onednn._linear_pointwise.default, product.post
    if first:
        return lambda b, x, _: linear(x, packed, b, post, [], algorithm)
    return lambda x, _: linear(x, packed, None, post, [], algorithm)


def _packed_by_mkl(product: Product, inputs: Sequence[torch.Tensor]) -> Callable[..., torch.Tensor]:
    first, rows = product.first, inputs[product.first].shape[0]
    weight = inputs[first + 1].detach().t().contiguous()
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
    linear = torch.ops.mkl._mkl_linear.default
    if first:
        return lambda b, x, _: linear(x, packed, weight, b, rows)
    return lambda x, _: linear(x, packed, weight, None, rows)


WAYS: dict[str, Way] = {
    AS_IT_IS: _as_it_is,
    ONEDNN: _by_onednn,
    ONEDNN_PACKED: _packed_by_onednn,
    MKL_PACKED: _packed_by_mkl,
}
_PACKED = (ONEDNN_PACKED, MKL_PACKED)


def ways_of(product: Product, values: Sequence[torch.Tensor], packs: bool) -> list[str]:
    """The ways to compute a product.

    Args:
        product: what is computed.
        values: its tensors.
        packs: whether the second of the two is a weight, and may be packed.
    """
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return [AS_IT_IS]
    if product.name == "convolution.default":  # PyTorch's own way is oneDNN's
        is_transposed = product.rest[-3]
        return [AS_IT_IS, ONEDNN_PACKED] if packs and values[0].dim() == 4 and not is_transposed else [AS_IT_IS]
    if product.name == "mm.default" or (product.name == "addmm.default" and values[0].dim() == 1):
        packed = [ONEDNN_PACKED, *([MKL_PACKED] if torch.backends.mkl.is_available() else [])]
        return [AS_IT_IS, ONEDNN, *(packed if packs else [])]
    return [AS_IT_IS]
