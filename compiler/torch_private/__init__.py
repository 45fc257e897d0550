"""The one door to PyTorch's private modules: whatever a new release may rename, move or drop without notice.

Nothing is imported before it is asked for. `torch.compile`'s parts have no public names, so that they are taken from
where PyTorch has them; `PLACES` is the whole list, and a test asks for each. Private attributes of public objects are
in `ATTRIBUTES`, and a test looks for each on the objects that Dynamo makes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from foretune.errors import UnsupportedError

if TYPE_CHECKING:
    from torch._C import _is_any_autocast_enabled as is_any_autocast_enabled
    from torch._decomp import core_aten_decompositions, get_decompositions
    from torch._dynamo.aot_compile_types import GraphModuleSerializableCallable, SerializableCallable
    from torch._dynamo.backends.common import aot_autograd
    from torch._dynamo.exc import RestartAnalysis
    from torch._dynamo.utils import dynamo_timed, get_metrics_context
    from torch._functorch import config as functorch_config
    from torch._functorch._aot_autograd.schemas import MutationType, OutputType, PlainTensorMeta
    from torch._functorch._aot_autograd.utils import make_boxed_func
    from torch._functorch.partitioners import min_cut_rematerialization_partition
    from torch._guards import CompileContext, CompileId, TracingContext, tracing
    from torch._inductor import config as inductor_config
    from torch._inductor import ir as inductor_ir
    from torch._inductor import list_mode_options
    from torch._inductor import mkldnn_ir as inductor_mkldnn_ir
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.custom_graph_pass import CustomGraphPass, get_custom_graph_passes
    from torch._inductor.lowering import register_lowering
    from torch._logging._internal import register_log, trace_structured
    from torch._ops import HigherOrderOperator, OpOverload, OpOverloadPacket
    from torch._prims_common import clone_preserve_strides
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
    from torch.amp.autocast_mode import _enter_autocast as enter_autocast
    from torch.amp.autocast_mode import _exit_autocast as exit_autocast
    from torch.compiler._cache import CacheArtifact, CacheArtifactFactory, CacheArtifactManager
    from torch.testing._internal.common_methods_invocations import op_db
    from torch.utils import _pytree as pytree
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._python_dispatch import _disable_current_modes as disable_current_modes

__all__ = [
    "ATTRIBUTES", "PLACES", "CacheArtifact", "CacheArtifactFactory", "CacheArtifactManager", "CompileContext",
    "CompileId", "CustomGraphPass", "FakeTensor", "FakeTensorMode", "GraphModuleSerializableCallable",
    "HigherOrderOperator", "MutationType", "OpOverload", "OpOverloadPacket", "OutputType", "PlainTensorMeta",
    "RestartAnalysis", "SerializableCallable", "TorchDispatchMode", "TracingContext", "aot_autograd",
    "clone_preserve_strides", "compile_fx", "core_aten_decompositions", "disable_current_modes", "dynamo_timed",
    "enter_autocast", "exit_autocast", "functorch_config", "get_custom_graph_passes", "get_decompositions",
    "get_metrics_context", "inductor_config", "inductor_ir", "inductor_mkldnn_ir", "is_any_autocast_enabled",
    "list_mode_options", "make_boxed_func", "min_cut_rematerialization_partition", "op_db", "pytree", "register_log",
    "register_lowering", "trace_structured", "tracing", "unset_fake_temporarily",
]  # fmt: skip

PLACES = {
    "CacheArtifact": "torch.compiler._cache:CacheArtifact",
    "CacheArtifactFactory": "torch.compiler._cache:CacheArtifactFactory",
    "CacheArtifactManager": "torch.compiler._cache:CacheArtifactManager",
    "CompileContext": "torch._guards:CompileContext",
    "CompileId": "torch._guards:CompileId",
    "CustomGraphPass": "torch._inductor.custom_graph_pass:CustomGraphPass",
    "FakeTensor": "torch._subclasses.fake_tensor:FakeTensor",
    "FakeTensorMode": "torch._subclasses.fake_tensor:FakeTensorMode",
    "GraphModuleSerializableCallable": "torch._dynamo.aot_compile_types:GraphModuleSerializableCallable",
    "HigherOrderOperator": "torch._ops:HigherOrderOperator",
    "MutationType": "torch._functorch._aot_autograd.schemas:MutationType",
    "OpOverload": "torch._ops:OpOverload",
    "OpOverloadPacket": "torch._ops:OpOverloadPacket",
    "OutputType": "torch._functorch._aot_autograd.schemas:OutputType",
    "PlainTensorMeta": "torch._functorch._aot_autograd.schemas:PlainTensorMeta",
    "RestartAnalysis": "torch._dynamo.exc:RestartAnalysis",
    "SerializableCallable": "torch._dynamo.aot_compile_types:SerializableCallable",
    "TorchDispatchMode": "torch.utils._python_dispatch:TorchDispatchMode",
    "TracingContext": "torch._guards:TracingContext",
    "aot_autograd": "torch._dynamo.backends.common:aot_autograd",
    "clone_preserve_strides": "torch._prims_common:clone_preserve_strides",
    "compile_fx": "torch._inductor.compile_fx:compile_fx",
    "core_aten_decompositions": "torch._decomp:core_aten_decompositions",
    "disable_current_modes": "torch.utils._python_dispatch:_disable_current_modes",
    "dynamo_timed": "torch._dynamo.utils:dynamo_timed",
    "enter_autocast": "torch.amp.autocast_mode:_enter_autocast",
    "exit_autocast": "torch.amp.autocast_mode:_exit_autocast",
    "functorch_config": "torch._functorch:config",
    "get_custom_graph_passes": "torch._inductor.custom_graph_pass:get_custom_graph_passes",
    "get_decompositions": "torch._decomp:get_decompositions",
    "get_metrics_context": "torch._dynamo.utils:get_metrics_context",
    "inductor_config": "torch._inductor:config",
    "inductor_ir": "torch._inductor:ir",
    "inductor_mkldnn_ir": "torch._inductor:mkldnn_ir",
    "is_any_autocast_enabled": "torch._C:_is_any_autocast_enabled",
    "list_mode_options": "torch._inductor:list_mode_options",
    "make_boxed_func": "torch._functorch._aot_autograd.utils:make_boxed_func",
    "min_cut_rematerialization_partition": "torch._functorch.partitioners:min_cut_rematerialization_partition",
    "op_db": "torch.testing._internal.common_methods_invocations:op_db",
    "pytree": "torch.utils:_pytree",
    "register_log": "torch._logging._internal:register_log",
    "register_lowering": "torch._inductor.lowering:register_lowering",
    "trace_structured": "torch._logging._internal:trace_structured",
    "tracing": "torch._guards:tracing",
    "unset_fake_temporarily": "torch._subclasses.fake_tensor:unset_fake_temporarily",
}
"""Name here -> `module:name` of PyTorch's."""

ATTRIBUTES = {
    "a graph of Dynamo's": ("_param_name_to_source",),
    "an input of a graph of Dynamo's": ("_dynamo_source",),
    "a weight that Dynamo made an input of": ("_version", "_dynamo_static_input_type"),
    "an operator": ("_schema",),
    "an operator with its overloads": ("_qualified_op_name",),
    "Dynamo's metrics": ("_metrics", "_edits", "in_progress"),
    "AOTAutograd's context": ("fw_metadata",),
    "AOTAutograd's metadata": (
        "grad_enabled_mutation", "input_info", "is_rng_op_functionalized", "num_intermediate_bases", "output_info",
        "static_input_indices", "subclass_fw_graph_out_meta", "subclass_inp_meta", "tokens",
    ),
    "AOTAutograd's facts of an input": ("mutation_type",),
    "AOTAutograd's facts of an output": ("output_type",),
    "AOTAutograd's settings": ("bundled_autograd_cache",),
    "PyTorch's profiler": ("_is_profiler_enabled",),
    "pytree": ("NO_SERIALIZED_TYPE_NAME_FOUND", "SERIALIZED_TYPE_TO_PYTHON_TYPE", "SUPPORTED_SERIALIZED_TYPES"),
}  # fmt: skip
"""Object -> its attributes that are read without a promise of PyTorch's."""


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, inner = PLACES[name].partition(":")
    try:
        outer = importlib.import_module(module)
        found = getattr(outer, inner) if hasattr(outer, inner) else importlib.import_module(f"{module}.{inner}")
    except ImportError as error:
        import torch

        raise UnsupportedError(
            f"PyTorch {torch.__version__} has no {module}.{inner}, which this version of Foretune needs; install"
            " Foretune again with pip, which brings the release of PyTorch that fits"
        ) from error
    globals()[name] = found  # asked for once
    return found
