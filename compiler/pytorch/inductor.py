"""PyTorch's own compiler as a contender: as it is, with matrix products in oneDNN, and with the weights frozen."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import nn

from foretune.compiler.graphs.effects import changed_inputs
from foretune.compiler.libraries.onednn import OneDnnProducts
from foretune.compiler.libraries.times import LibraryTimes
from foretune.compiler.pytorch.static_inputs import StaticInputs
from foretune.errors import UnsupportedError

_log = logging.getLogger("foretune")


def compile_with_inductor(
    gm: torch.fx.GraphModule,
    inputs: Sequence[Any],
    mode: str | None = None,
    products: OneDnnProducts | None = None,
    **config: Any,
) -> Callable:
    """What `torch.compile` makes of a Dynamo graph by default.

    Args:
        gm: a Dynamo graph; it stays as it is.
        inputs: example inputs.
        mode: one of PyTorch's.
        products: a pass that changes the graph first.
        config: settings of Inductor that differ from the mode's.
    """
    from foretune.compiler.torch_private import compile_fx, get_custom_graph_passes, inductor_config, list_mode_options

    patches = {**(list_mode_options(mode) if mode else {}), **config}
    if products is not None:  # behind the passes of the user's own
        patches["joint_custom_post_pass"] = (*get_custom_graph_passes(inductor_config.joint_custom_post_pass), products)
    return cast("Callable", compile_fx(own_graph(gm), list(inputs), config_patches=patches or None))


def own_graph(gm: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """The same program with a graph of its own, which a compiler may rewrite.

    Where the inputs come from is kept: it tells compilers which of them are weights, and guards that no two are the
    same tensor.
    """
    made = torch.fx.GraphModule(gm, copy.deepcopy(gm.graph))
    made.meta = dict(gm.meta)
    if hasattr(gm, "_param_name_to_source"):
        made._param_name_to_source = gm._param_name_to_source
    for own, node in zip(made.graph.find_nodes(op="placeholder"), gm.graph.find_nodes(op="placeholder")):
        if hasattr(node, "_dynamo_source"):
            own._dynamo_source = node._dynamo_source
    return made


class InductorGraphs:
    """A graph that Inductor compiles once: as it is, or with matrix products in oneDNN, where that is faster.

    Weights are taken as they are in each call, so that nothing can be out of date.

    Args:
        gm: a Dynamo graph; it stays as it is.
        inputs: example inputs.
        times: of products.
        mode: one of PyTorch's.
    """

    def __init__(
        self, gm: torch.fx.GraphModule, inputs: Sequence[Any], times: LibraryTimes, mode: str | None = None
    ) -> None:
        self._gm, self._inputs, self._times, self._mode = gm, inputs, times, mode
        self._as_it_is: Callable | None = None

    def with_onednn(self) -> Callable:
        """With products in oneDNN.

        Raises:
            UnsupportedError: oneDNN computes no product faster than PyTorch's way.
        """
        products = OneDnnProducts(self._times, packs=False)
        compiled = compile_with_inductor(self._gm, self._inputs, self._mode, products)
        if products.changed:
            return compiled
        self._as_it_is = compiled
        raise UnsupportedError("oneDNN computes no matrix product faster than PyTorch's way")

    def as_it_is(self) -> Callable:
        """What `torch.compile` makes of it by default."""
        if self._as_it_is is None:
            self._as_it_is = compile_with_inductor(self._gm, self._inputs, self._mode)
        return self._as_it_is

    def to_be_saved(self) -> Callable:
        """The same, where PyTorch compiles ahead of time and writes it to a file.

        Raises:
            UnsupportedError: PyTorch cannot do so.
        """
        compiled = self.as_it_is()
        if getattr(compiled, "serialize", None) is None:
            raise UnsupportedError("PyTorch cannot write what Inductor made of this graph to a file")
        return compiled


class FrozenGraph:
    """A graph that Inductor compiled for the weights as they are: folded, and packed into the layouts that oneDNN
    likes.

    As soon as a weight changes, the graph with free weights runs instead, for good.

    Args:
        gm: a Dynamo graph.
        inputs: example inputs.
        free: makes what runs the graph with free weights; called when a weight has changed.
        mode: one of PyTorch's.
        times: of products; those that a packed weight makes faster go to oneDNN, whatever Inductor would do.

    Raises:
        UnsupportedError: there are no weights, gradients are asked for, or the graph changes a weight.
    """

    def __init__(
        self,
        gm: torch.fx.GraphModule,
        inputs: Sequence[Any],
        free: Callable[[], Callable],
        mode: str | None = None,
        *,
        times: LibraryTimes,
    ) -> None:
        self._weights = [i for i, x in enumerate(inputs) if is_weight(x)]
        if torch.is_grad_enabled() or not self._weights:
            raise UnsupportedError("gradients are asked for" if torch.is_grad_enabled() else "there are no weights")
        if changed_inputs(gm, inputs) & set(self._weights):
            raise UnsupportedError("the graph changes a weight")
        self._others = [i for i in range(len(inputs)) if i not in set(self._weights)]
        self._held = [inputs[i] for i in self._weights]
        self._watched = StaticInputs(frozen=True)
        self._watched.keep(self._held)
        self._frozen: Callable | None = compile_with_inductor(
            _with_constants(gm, inputs, self._weights),
            [inputs[i] for i in self._others],
            mode,
            OneDnnProducts(times, packs=True),
            freezing=True,
        )
        self._make_free: Callable[[], Callable] = free
        self._free: Callable | None = None

    def __call__(self, *inputs: Any) -> Any:
        """Runs the graph."""
        if self._frozen is not None and self._watched.unchanged([inputs[i] for i in self._weights]):
            return self._frozen(*[inputs[i] for i in self._others])
        if self._free is None:
            _log.info("a weight has changed; the graph runs with free weights from now on")
            self._free = self._make_free()
            self._frozen, self._held = None, []
        return self._free(*inputs)


def _with_constants(gm: torch.fx.GraphModule, inputs: Sequence[Any], positions: Sequence[int]) -> torch.fx.GraphModule:
    """The same program with some inputs as constants of its own, which Inductor's freezing folds; Dynamo has made
    inputs of all weights.
    """
    made = torch.fx.GraphModule(gm, copy.deepcopy(gm.graph))
    placeholders = made.graph.find_nodes(op="placeholder")
    for position in positions:
        node, name = placeholders[position], f"frozen_weight_{position}"
        value = inputs[position]
        if isinstance(value, nn.Parameter):
            made.register_parameter(name, value)
        else:
            made.register_buffer(name, value)
        with made.graph.inserting_before(node):
            constant = made.graph.get_attr(name)
        constant.meta = dict(node.meta)
        node.replace_all_uses_with(constant)
        made.graph.erase_node(node)
    made.recompile()
    return made


def is_weight(value: Any) -> bool:
    """Whether Dynamo's input is a parameter or a buffer of a module."""
    return isinstance(value, nn.Parameter) or hasattr(value, "_dynamo_static_input_type")
