"""Heavy products that stay with PyTorch: matrix products and convolutions that its libraries compute faster than TVM's
kernels.

Each product is measured by itself, as PyTorch runs it and, where its weights rarely change, with these packed ahead of
time into the layout of oneDNN or MKL. What is faster than TVM's kernel by more than a hand-over costs leaves its
region; the chains around it stay with TVM. Whether the whole gains by that is for the guard to say.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from foretune.compiler.contest.race import mean_secs
from foretune.compiler.pytorch.operators import operator_name
from foretune.compiler.pytorch.static_inputs import StaticInputs
from foretune.task import Task

_OPERANDS = {
    "mm.default": 0,
    "bmm.default": 0,
    "addmm.default": 1,
    "baddbmm.default": 1,
    "convolution.default": 0,
}  # position of the first of the two
_NAMES = ("matmul", "conv")  # of TVM's kernels
_HAND_OVER_SECS = 10e-6
_ROUNDS, _BURST_SECS = 5, 2e-3

Way = Callable[["Product", Sequence[torch.Tensor]], Callable[..., torch.Tensor]]


@dataclass(frozen=True)
class Product:
    """A call of an operator of `_OPERANDS`, with its tensors first.

    Attributes:
        target: the operator.
        rest: its arguments after the tensors.
    """

    target: torch._ops.OpOverload
    rest: tuple[Any, ...]

    @property
    def name(self) -> str:
        """`op.overload`."""
        return str(self.target).removeprefix("aten.")

    @property
    def first(self) -> int:
        """Position of the first of the two tensors that are multiplied."""
        return _OPERANDS[self.name]


@dataclass(frozen=True)
class ProductTimes:
    """A heavy product of a graph, computed in several ways.

    Attributes:
        node: name of the node.
        product: operator and sizes, to be read.
        tvm_secs: of TVM's kernel that contains it.
        secs: way of PyTorch's -> measured seconds.
    """

    node: str
    product: str
    tvm_secs: float
    secs: Mapping[str, float]

    @property
    def best(self) -> str:
        """PyTorch's fastest way."""
        return min(self.secs, key=self.secs.get)

    @property
    def leaves(self) -> bool:
        """Whether PyTorch is faster by more than a hand-over costs."""
        return self.secs[self.best] + _HAND_OVER_SECS < self.tvm_secs

    def __str__(self) -> str:
        return f"{self.product}: TVM {self.tvm_secs * 1e6:.4g} us, " + ", ".join(
            f"{way} {secs * 1e6:.4g} us" for way, secs in self.secs.items()
        )


class LibraryProduct(torch.nn.Module):
    """A product as PyTorch's libraries compute it.

    Args:
        product: what is computed.
        way: a key of `WAYS`.
        frozen: whether the user promised not to change weights behind PyTorch's back.
    """

    def __init__(self, product: Product, way: str, frozen: bool = False) -> None:
        super().__init__()
        self._product, self._prepare = product, WAYS[way]
        self._watched, self._held = StaticInputs(frozen), ()
        self._run: Callable[..., torch.Tensor] | None = None

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The product; weights are packed by the first call, and again by the first one after they have changed."""
        if self._prepare is not _as_it_is or self._run is None:
            weights = [inputs[self._product.first + 1]]
            if not self._watched.unchanged(weights):
                self._run, self._held = self._prepare(self._product, inputs), weights
                self._watched.keep(weights)
        return self._run(*inputs)


def measure_products(
    graph: torch.fx.Graph,
    static: frozenset[str],
    tasks: Sequence[Task],
    secs: Mapping[str, float],
    frozen: bool = False,
) -> list[ProductTimes]:
    """Measures the products of a functional ATen graph whose kernels TVM has measured.

    Args:
        graph: it stays as it is.
        static: names of the placeholders that are weights, and may be packed.
        tasks: TVM's kernels.
        secs: workload hash -> measured seconds.
        frozen: whether packed weights need not be checked in each call.
    """
    kernels = [
        (_sizes_of(task), secs[task.workload.hash])
        for task in tasks
        if task.workload.hash in secs and _is_product(task)
    ]
    known: dict[str, Mapping[str, float]] = {}
    found = []
    for node in graph.nodes:
        if (product := _product_of(node)) is None:
            continue
        values = [source.meta["val"] for source in _tensors(node)]
        multiplied = Counter(value.numel() for value in values[product.first : product.first + 2])
        candidates = [kernel_secs for sizes, kernel_secs in kernels if not multiplied - sizes]
        if not candidates:
            continue
        packs = _is_static(node.args[product.first + 1], static)
        words = _words(product, values)
        key = f"{words} {product.rest} {packs}"
        if key not in known:
            known[key] = _measure(product, values, packs, frozen)
        found.append(ProductTimes(node.name, words, min(candidates), known[key]))
    return found


def leave_with_library(gm: torch.fx.GraphModule, times: Sequence[ProductTimes], frozen: bool = False) -> None:
    """Puts a `LibraryProduct` in the place of each product that is there, in place; the graph may have been decomposed
    otherwise.
    """
    nodes = {node.name: node for node in gm.graph.nodes}
    for number, measured in enumerate(times):
        node = nodes.get(measured.node)
        product = _product_of(node) if node is not None else None
        if product is None or _words(product, [source.meta["val"] for source in _tensors(node)]) != measured.product:
            continue
        name = f"library_product_{number}"
        gm.add_submodule(name, LibraryProduct(product, measured.best, frozen))
        with gm.graph.inserting_after(node):
            call = gm.graph.call_module(name, tuple(_tensors(node)))
        call.meta = dict(node.meta)
        node.replace_all_uses_with(call)
        gm.graph.erase_node(node)
    gm.recompile()


# -- nodes -------------------------------------------------------------------------------------------


def _product_of(node: torch.fx.Node) -> Product | None:
    """What a node computes, if it is a product of float32 tensors of fixed sizes without scales."""
    if node.op != "call_function" or operator_name(node) not in _OPERANDS or node.kwargs:
        return None
    tensors = _tensors(node)
    values = [source.meta.get("val") for source in tensors]
    fits = all(
        isinstance(v, torch.Tensor)
        and v.dtype == torch.float32
        and v.numel()
        and all(isinstance(d, int) for d in v.shape)
        for v in values
    )
    return (
        Product(node.target, tuple(node.args[len(tensors) :]))
        if fits and tensors == list(node.args[: len(tensors)])
        else None
    )


def _words(product: Product, values: Sequence[torch.Tensor]) -> str:
    return f"{product.name} {' '.join('x'.join(map(str, value.shape)) for value in values)}"


def _tensors(node: torch.fx.Node) -> list[torch.fx.Node]:
    return [argument for argument in node.args if isinstance(argument, torch.fx.Node)]


def _is_static(weight: torch.fx.Node, static: frozenset[str]) -> bool:
    while weight.op == "call_function" and operator_name(weight).split(".")[0] in ("permute", "t", "transpose", "view"):
        weight = weight.args[0]
    return weight.name in static


def _is_product(task: Task) -> bool:
    return any(name in task.workload.name for name in _NAMES)


def _sizes_of(task: Task) -> Counter[int]:
    """Numbers of elements of a kernel's tensors."""
    return Counter(round(2 ** node.features[1]) for node in task.workload.graph.nodes if node.kind == "buffer")


# -- ways --------------------------------------------------------------------------------------------


def _as_it_is(product: Product, _: Sequence[torch.Tensor]) -> Callable[..., torch.Tensor]:
    target, rest = product.target, product.rest
    return lambda *inputs: target(*inputs, *rest)


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
    linear = onednn._linear_pointwise.default
    if first:
        return lambda b, x, _: linear(x, packed, b, "none", [], "")
    return lambda x, _: linear(x, packed, None, "none", [], "")


def _packed_by_mkl(product: Product, inputs: Sequence[torch.Tensor]) -> Callable[..., torch.Tensor]:
    first, rows = product.first, inputs[product.first].shape[0]
    weight = inputs[first + 1].detach().t().contiguous()
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight, rows)
    linear = torch.ops.mkl._mkl_linear.default
    if first:
        return lambda b, x, _: linear(x, packed, weight, b, rows)
    return lambda x, _: linear(x, packed, weight, None, rows)


WAYS: dict[str, Way] = {"PyTorch": _as_it_is, "oneDNN, packed": _packed_by_onednn, "MKL, packed": _packed_by_mkl}


def _ways(product: Product, values: Sequence[torch.Tensor], packs: bool) -> list[str]:
    packs = packs and torch.backends.mkldnn.is_available()
    if packs and product.name == "convolution.default":
        is_transposed = product.rest[-3]
        return [*WAYS][: 2 if values[0].dim() == 4 and not is_transposed else 1]
    if packs and (product.name == "mm.default" or (product.name == "addmm.default" and values[0].dim() == 1)):
        return [*WAYS][: 3 if torch.backends.mkl.is_available() else 2]
    return [*WAYS][:1]


def _measure(product: Product, values: Sequence[torch.Tensor], packs: bool, frozen: bool) -> dict[str, float]:
    """Way -> median seconds over rounds in turns."""
    numbers = torch.Generator().manual_seed(0)  # the program's own stay as they are
    inputs = [torch.empty_strided(v.shape, v.stride()).normal_(generator=numbers) for v in values]
    with torch.no_grad():
        runs = {way: LibraryProduct(product, way, frozen) for way in _ways(product, values, packs)}
        times: dict[str, list[float]] = {way: [] for way in runs}
        for _ in range(_ROUNDS):
            for way, run in runs.items():
                times[way].append(mean_secs(run, inputs, False, _BURST_SECS))
    return {way: statistics.median(burst) for way, burst in times.items()}
