"""Splits an ATen graph into regions for TVM and operators that stay with PyTorch."""

from __future__ import annotations

import operator
from collections.abc import Mapping

import torch
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner, Partition
from torch.fx.passes.operator_support import OperatorSupportBase

from foretune.compiler.pytorch.region import SUPPORTED_DTYPES

_VIEWS = frozenset({"view", "permute", "transpose", "t", "expand", "squeeze", "unsqueeze", "slice", "select", "alias", "detach"})

# moving these alone to TVM would only add a hand-over
_NO_WORK = _VIEWS | {"clone", "_to_copy", "full", "arange"}

# Relax has a translation, but one that changes the meaning (log1p loses small numbers), needs a random state, or has no machine code on CPUs (sinh, cosh)
_NEVER = frozenset({
    "bernoulli", "dropout", "dropout_", "exponential", "rand", "randn", "rand_like", "randn_like", "empty", "empty_like", "_local_scalar_dense",
    "_scaled_dot_product_flash_attention_for_cpu", "sinh", "cosh", "log1p", "grid_sampler_2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
})  # fmt: skip


def translatable_operators() -> frozenset[str]:
    """Names `op.overload` of the ATen operators that Relax can import."""
    from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

    from foretune.compiler.pytorch.importer import converters

    return frozenset(ExportedProgramImporter().create_convert_map()) | frozenset(converters())


class _Support(OperatorSupportBase):
    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self.refused: dict[str, None] = {}

    def is_node_supported(self, submodules: Mapping[str, torch.nn.Module], node: torch.fx.Node) -> bool:
        if node.op != "call_function":
            return False
        if node.target is operator.getitem:
            source = node.args[0]
            return isinstance(source, torch.fx.Node) and self.is_node_supported(submodules, source)
        name = operator_name(node)
        supported = name in self._names and name.split(".")[0] not in _NEVER and _values_fit(node) and not _translated_in_part(node)
        if not supported:
            self.refused[name] = None
        return supported


def operator_name(node: torch.fx.Node) -> str:
    """`op.overload` of a node."""
    return str(node.target).removeprefix("aten.").removeprefix("prims.")


def _values_fit(node: torch.fx.Node) -> bool:
    for n in (node, *node.all_input_nodes):
        values = n.meta.get("val")
        for value in values if isinstance(values, (tuple, list)) else [values]:
            if isinstance(value, torch.Tensor):
                static = all(isinstance(d, int) for d in value.shape)
                if value.dtype not in SUPPORTED_DTYPES or value.device.type != "cpu" or not static or (value.numel() == 0 and n is not node):
                    return False
            elif value is not None and not isinstance(value, (int, float, bool)):
                return False
    return True


def _translated_in_part(node: torch.fx.Node) -> bool:
    """Whether Relax's translation leaves out what is asked for: where the maxima of a pooling are, the statistics of a norm, some arguments."""
    name = operator_name(node).split(".")[0]
    if "max_pool" in name or name in ("native_layer_norm", "native_group_norm"):
        return any(user.target is operator.getitem and user.args[1] > 0 for user in node.users)
    if name == "elu":
        return any(scale != 1 for scale in node.args[2:])
    return name == "avg_pool2d" and len(node.args) > 6 and node.args[6] is not None


def partition(graph: torch.fx.GraphModule, refuse: frozenset[str] = frozenset()) -> tuple[torch.fx.GraphModule, list[str], list[str]]:
    """Groups what TVM can run into submodules.

    Args:
        graph: an ATen graph.
        refuse: operators that must stay with PyTorch.

    Returns:
        (graph with submodules, names of the submodules for TVM, names of the operators that stay).
    """
    support = _Support(translatable_operators() - refuse)
    partitioner = CapabilityBasedPartitioner(graph, support, allows_single_node_partition=True)
    proposed = partitioner.propose_partitions()
    for part in proposed:
        _peel(part)
    proposed = [p for p in proposed if any(_does_work(n) for n in p.nodes)]
    before = {name for name, _ in graph.named_children()}
    fused = partitioner.fuse_partitions(proposed)
    regions = [name for name, _ in fused.named_children() if name not in before]
    return fused, regions, list(support.refused)


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
        is_view = operator_name(node).split(".")[0] in _VIEWS and isinstance(value, torch.Tensor) and not value.is_contiguous()
        if is_view and not any(user in part.nodes for user in node.users):
            part.remove_node(node)


def _does_work(node: torch.fx.Node) -> bool:
    return node.target is not operator.getitem and operator_name(node).split(".")[0] not in _NO_WORK
