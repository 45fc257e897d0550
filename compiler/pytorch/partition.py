"""Splits an ATen graph into regions for TVM and operators that stay with PyTorch."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Mapping, Sequence

import torch
from torch.fx.node import map_arg
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner, Partition
from torch.fx.passes.operator_support import OperatorSupportBase
from torch.fx.passes.tools_common import stable_topological_sort
from torch.fx.passes.utils.fuser_utils import erase_nodes, fuse_as_graphmodule, topo_sort

from foretune.compiler.graphs.operators import (
    LEFT,
    MOVES,
    base_name,
    index_uses,
    is_view,
    is_within,
    operator_name,
    origin_of,
    reason_against,
)
from foretune.compiler.graphs.tensors import make_values_own, reason_against_tensor
from foretune.compiler.graphs.views import sink_views
from foretune.compiler.pytorch.products import ProductTimes, leave_with_library

_PREPARED = "foretune_prepared"  # mark in a graph's meta
# moving these alone to TVM would only add a hand-over
_NO_WORK = MOVES | {"arange", "full", "full_like", "scalar_tensor"}


def prepare(gm: torch.fx.GraphModule, left: Sequence[ProductTimes] = (), frozen: bool = False) -> None:
    """Rewrites a functional ATen graph in place, once, so that it can be split.

    It computes with tensors without data, which is for the thread alone that traced them; whatever comes after it may
    be done in another one. TVM is not needed for it.

    Args:
        gm: the graph.
        left: products that stay with PyTorch's libraries.
        frozen: whether the user promised not to change weights behind PyTorch's back.
    """
    if gm.meta.get(_PREPARED):
        return
    sink_views(gm)
    keep_output_views(gm)
    leave_with_library(gm, left, frozen)
    make_values_own(gm.graph)
    gm.meta[_PREPARED] = True


def translatable_operators() -> frozenset[str]:
    """Names `op.overload` of the ATen operators that Relax can import."""
    from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

    from foretune.compiler.tir.lowerings import lowerings

    return frozenset(ExportedProgramImporter().create_convert_map()) | frozenset(lowerings())


class _Support(OperatorSupportBase):
    """Says which nodes go to TVM.

    Args:
        names: operators that Relax can import.
        kept: nodes that must stay with PyTorch.

    Attributes:
        refused: name of an operator -> why it stays.
    """

    def __init__(self, names: frozenset[str], kept: frozenset[torch.fx.Node] = frozenset()) -> None:
        self._names, self._kept = names, kept
        self.refused: dict[str, str] = {}

    def is_node_supported(self, submodules: Mapping[str, torch.nn.Module], node: torch.fx.Node) -> bool:
        if node.op != "call_function" or node in self._kept:
            return False
        if node.target is operator.getitem:
            source = node.args[0]
            return isinstance(source, torch.fx.Node) and self.is_node_supported(submodules, source)
        name = operator_name(node)
        why = (
            ("" if name in self._names else LEFT.get(base_name(node), "Relax has no translation"))
            or _strange_value(node)
            or reason_against(node)
        )
        if why:
            self.refused.setdefault(name, why)
        return not why


def _strange_value(node: torch.fx.Node) -> str:
    for n in (node, *node.all_input_nodes):
        values = n.meta.get("val")
        for value in values if isinstance(values, (tuple, list)) else [values]:
            if isinstance(value, torch.Tensor):
                if why := reason_against_tensor(value, may_be_empty=n is node):
                    return why
            elif value is not None and not isinstance(value, (int, float, bool)):
                return f"a value of type {type(value).__name__}"
    return ""


def keep_output_views(graph: torch.fx.GraphModule) -> None:
    """Has PyTorch compute, at the end of a graph, returned views of inputs and of tensors that are returned otherwise,
    too.

    They share memory with these, as eager's do; whatever else a region returns has memory of its own.
    """
    output = next(n for n in graph.graph.nodes if n.op == "output")
    roots = Counter(_root(node) for node in dict.fromkeys(output.all_input_nodes))
    made: dict[torch.fx.Node, torch.fx.Node] = {}

    def own(node: torch.fx.Node) -> torch.fx.Node:
        source = _viewed(node)
        if source is None:
            return node
        if node not in made:
            below = own(source)
            with graph.graph.inserting_before(output):
                made[node] = graph.graph.node_copy(node, lambda n: below if n is source else n)
            made[node].meta[KEPT] = True
        return made[node]

    def returned(node: torch.fx.Node) -> torch.fx.Node:
        root = _root(node)
        return own(node) if root.op == "placeholder" or roots[root] > 1 else node

    output.args = map_arg(output.args, returned)
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _viewed(node: torch.fx.Node) -> torch.fx.Node | None:
    """What a node is a view of, or one of the views of; None if it has memory of its own."""
    source = node.args[0] if node.args else None
    if not isinstance(source, torch.fx.Node):
        return None
    if node.target is operator.getitem:
        return source if is_view(source) else None
    return source if is_view(node) else None


def _root(node: torch.fx.Node) -> torch.fx.Node:
    while (source := _viewed(node)) is not None:
        node = source
    return node


def escapes(node: torch.fx.Node) -> bool:
    """Whether the memory of a value is returned by the graph that it is in."""
    waiting, seen = [node], set()
    while waiting:
        for user in waiting.pop().users:
            if user.op == "output":
                return True
            if user not in seen and (user.target is operator.getitem or is_view(user)):
                seen.add(user)
                waiting.append(user)
    return False


KEPT = "foretune_kept"  # mark in a node's meta: it stays with PyTorch


def kept_nodes(graph: torch.fx.GraphModule) -> frozenset[torch.fx.Node]:
    """What stays with PyTorch for its place: marked nodes, and what computes indices, which must be seen before a
    region is called.
    """
    kept = {node for node in graph.graph.nodes if node.meta.get(KEPT)}
    uses = [use for node in graph.graph.nodes for use in index_uses(node) if not is_within(use)]
    sizes: dict[torch.fx.Node, set[int]] = {}
    for use in uses:
        sizes.setdefault(origin_of(use.index), set()).add(use.size)
    for use in uses:  # a tensor that indexes dimensions of one size only is seen whole; else each part of it
        origin = origin_of(use.index)
        kept.add(origin if len(sizes[origin]) == 1 else use.index)
    return frozenset(kept)


def partition(
    graph: torch.fx.GraphModule, refuse: frozenset[str] = frozenset()
) -> tuple[torch.fx.GraphModule, list[str], dict[str, str]]:
    """Groups what TVM can run into submodules.

    Args:
        graph: an ATen graph.
        refuse: operators that must stay with PyTorch.

    Returns:
        (graph with submodules, names of the submodules for TVM, operators that stay -> why).
    """
    support = _Support(translatable_operators() - refuse, kept_nodes(graph))
    partitioner = CapabilityBasedPartitioner(graph, support, allows_single_node_partition=True)
    proposed = partitioner.propose_partitions()
    for part in proposed:
        _peel(part)
    proposed = [p for p in proposed if any(_does_work(n) for n in p.nodes)]
    return graph, _fuse(graph, proposed), support.refused


def _fuse(graph: torch.fx.GraphModule, parts: Sequence[Partition]) -> list[str]:
    """Puts a submodule in the place of each partition; their names.

    PyTorch's `fuse_by_partitions` makes nodes by proxies, which note what other threads trace at that time.
    """
    names = []
    for number, part in enumerate(parts):
        nodes, name = topo_sort(list(part.nodes)), f"fused_{number}"
        made, inputs, outputs = fuse_as_graphmodule(graph, nodes, name, part.nodes)
        graph.add_submodule(name, made)
        names.append(name)
        with graph.graph.inserting_after(nodes[-1]):
            call = graph.graph.call_module(name, tuple(inputs))
        if len(outputs) == 1 and not isinstance(made.graph.output_node().args[0], tuple):
            outputs[0].replace_all_uses_with(call, propagate_meta=True)
        else:
            following = call.next
            for position, output in enumerate(outputs):
                with graph.graph.inserting_before(following):
                    item = graph.graph.call_function(operator.getitem, (call, position))
                output.replace_all_uses_with(item, propagate_meta=True)
            call.meta["val"] = tuple(output.meta.get("val") for output in outputs)
        erase_nodes(graph, nodes)
    stable_topological_sort(graph)
    graph.graph.lint()
    return names


def operators_of(graph: torch.fx.GraphModule) -> dict[str, torch.fx.Node]:
    """Names of the operators of a region, each with its first node."""
    found: dict[str, torch.fx.Node] = {}
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target is not operator.getitem:
            found.setdefault(operator_name(node), node)
    return found


def alone(graph: torch.fx.GraphModule, node: torch.fx.Node) -> torch.fx.GraphModule:
    """A region of one node of another, whose tensors are its inputs."""
    only = torch.fx.Graph()
    inputs: dict[torch.fx.Node, torch.fx.Node] = {}
    for source in node.all_input_nodes:
        inputs[source] = only.placeholder(source.name)
        inputs[source].meta["val"] = source.meta.get("val")
    made = only.node_copy(node, lambda source: inputs[source])
    only.output(made)
    return torch.fx.GraphModule(graph, only)


def _peel(part: Partition) -> None:
    """Gives strided views at the end of a partition back to PyTorch, where they cost no copy."""
    for node in sorted(part.nodes, reverse=True):
        value = node.meta.get("val")
        strided = is_view(node) and isinstance(value, torch.Tensor) and not value.is_contiguous()
        if strided and not any(user in part.nodes for user in node.users):
            part.remove_node(node)


def _does_work(node: torch.fx.Node) -> bool:
    return node.target is not operator.getitem and base_name(node) not in _NO_WORK
