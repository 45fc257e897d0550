"""Heavy products that stay with PyTorch: matrix products and convolutions that its libraries compute faster than TVM's
kernels.

Each product is measured by itself in all ways of `libraries/products.py`. What is faster than TVM's kernel by more than
a hand-over costs leaves its region; so does what TVM's kernel was not measured of, as without any trials. The chains
around it stay with TVM. Whether the whole gains by that is for the guard to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from foretune.compiler.graphs.operators import is_view, operator_name
from foretune.compiler.libraries.products import (
    ONEDNN,
    ONEDNN_PACKED,
    LibraryProduct,
    Product,
    post_operator_of,
    product_of,
    tensors_of,
    weight_of,
)
from foretune.compiler.libraries.times import LibraryTimes
from foretune.compiler.observed.phases import phase
from foretune.compiler.pytorch.static_inputs import StaticInputs
from foretune.task import Task

if TYPE_CHECKING:
    from foretune.compiler.pytorch.importer import GraphTask, KernelCall

_NAMES = ("matmul", "conv")  # of TVM's kernels
_HAND_OVER_SECS = 10e-6
_HEAVY_SECS = 5 * _HAND_OVER_SECS  # what is quicker in a library is not worth leaving unseen


@dataclass(frozen=True)
class ProductTimes:
    """A heavy product of a graph, computed in several ways.

    Attributes:
        node: name of the node.
        product: operator and sizes, to be read.
        tvm_secs: of TVM's kernel that contains it; None where that was not measured.
        secs: way of PyTorch's -> measured seconds.
    """

    node: str
    product: str
    tvm_secs: float | None
    secs: Mapping[str, float]

    @property
    def best(self) -> str:
        """PyTorch's fastest way."""
        return min(self.secs, key=lambda way: self.secs[way])

    @property
    def leaves(self) -> bool:
        """Whether PyTorch is faster by more than a hand-over costs, or may be."""
        if self.tvm_secs is None:
            return self.secs[self.best] > _HEAVY_SECS
        return self.secs[self.best] + _HAND_OVER_SECS < self.tvm_secs

    def __str__(self) -> str:
        tvm = "not measured" if self.tvm_secs is None else f"{self.tvm_secs * 1e6:.4g} us"
        return f"{self.product}: TVM {tvm}, " + ", ".join(
            f"{way} {secs * 1e6:.4g} us" for way, secs in self.secs.items()
        )


def kernels_of_products(
    graph: torch.fx.Graph, calls: Sequence[KernelCall], graph_tasks: Sequence[GraphTask]
) -> dict[str, str]:
    """Which of TVM's kernels computes each product of a region: name of the node -> workload hash.

    Operators are fused and may have changed their order, so a product is found by the weight that it multiplies with;
    those of two computed tensors follow each other as in the graph, because each depends on the one before.

    Args:
        graph: the region.
        calls: of kernels, in order.
        graph_tasks: the kernels.
    """
    task_of = {name: t.task for t in graph_tasks for name in t.kernels if is_product(t.task)}
    waiting = [(call, task_of[call.kernel]) for call in calls if call.kernel in task_of]
    nodes = [(node, product) for node in graph.nodes if (product := product_of(node)) is not None]
    weights = {node: weight_of(node, product).name for node, product in nodes}
    of_weights = {name for call, _ in waiting for name in call.inputs}
    found = {}
    for node, product in sorted(nodes, key=lambda item: weights[item[0]] not in of_weights):  # stable: weights first
        values = [source.meta["val"] for source in tensors_of(node)]
        multiplied = Counter(value.numel() for value in values[product.first : product.first + 2])
        fits = [(call, task) for call, task in waiting if not multiplied - _sizes_of(task)]
        if fits:
            pair = next((pair for pair in fits if weights[node] in pair[0].inputs), fits[0])
            waiting = [other for other in waiting if other[0] is not pair[0]]
            found[node.name] = pair[1].workload.hash
    return found


def measure_products(
    graph: torch.fx.Graph,
    static: frozenset[str],
    kernels: Mapping[str, str],
    secs: Mapping[str, float],
    times: LibraryTimes,
) -> list[ProductTimes]:
    """Measures the products of a functional ATen graph.

    Args:
        graph: it stays as it is.
        static: names of the placeholders that are weights, and may be packed.
        kernels: name of a node -> workload hash of TVM's kernel.
        secs: workload hash -> measured seconds.
        times: of products in libraries.
    """
    found = []
    with phase("time_libraries"):
        for node in graph.nodes:
            if (product := product_of(node)) is None:
                continue
            values = [source.meta["val"] for source in tensors_of(node)]
            library_secs = times.of(product, values, weight_of(node, product).name in static)
            tvm_secs = secs.get(kernels.get(node.name, ""))
            found.append(ProductTimes(node.name, product.words(values), tvm_secs, library_secs))
    return found


def leave_with_library(gm: torch.fx.GraphModule, times: Sequence[ProductTimes], frozen: bool = False) -> None:
    """Puts a `LibraryProduct` in the place of each product that is there, in place; the graph may have been decomposed
    otherwise.

    oneDNN computes a pointwise operator between two such products with the first one; otherwise it would be a region.
    """
    nodes = {node.name: node for node in gm.graph.nodes}
    leaving: dict[torch.fx.Node, tuple[Product, str]] = {}
    for measured in times:
        node = nodes.get(measured.node)
        product = product_of(node) if node is not None else None
        if (
            node is not None
            and product
            and product.words([source.meta["val"] for source in tensors_of(node)]) == measured.product
        ):
            leaving[node] = product, measured.best
    fused = {node: behind for node, (_, way) in leaving.items() if (behind := _post_operator(node, way, leaving))}
    for number, (node, (product, way)) in enumerate(leaving.items()):
        last = fused.get(node, node)
        if last is not node:
            product = replace(product, post=post_operator_of(last))
        name = f"library_product_{number}"
        gm.add_submodule(name, LibraryProduct(product, way, StaticInputs(frozen)))
        with gm.graph.inserting_after(node):
            call = gm.graph.call_module(name, tuple(tensors_of(node)))
        call.meta = dict(last.meta)
        last.replace_all_uses_with(call)
        for gone in dict.fromkeys((last, node)):
            gm.graph.erase_node(gone)
    gm.recompile()


def _post_operator(node: torch.fx.Node, way: str, leaving: Collection[torch.fx.Node]) -> torch.fx.Node | None:
    """The only user of a product, if oneDNN can compute it too and only products that leave take the result."""
    if way not in (ONEDNN, ONEDNN_PACKED) or operator_name(node) == "convolution.default" or len(node.users) != 1:
        return None
    behind = next(iter(node.users))
    users = list(behind.users)
    while users and all(is_view(user) for user in users):
        users = [further for user in users for further in user.users]
    return behind if post_operator_of(behind) and users and all(user in leaving for user in users) else None


def is_product(task: Task) -> bool:
    """Whether a kernel of TVM's computes a product."""
    return any(name in task.workload.name for name in _NAMES)


def _sizes_of(task: Task) -> Counter[int]:
    """Numbers of elements of a kernel's tensors."""
    return Counter(round(2 ** node.features[1]) for node in task.workload.graph.nodes if node.kind == "buffer")
