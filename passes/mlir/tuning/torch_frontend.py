"""PyTorch modules as MLIR programs, through torch-mlir. The one file of `passes` that imports torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from foretune.errors import OptionError, UnsupportedError
from foretune.passes.mlir.environment.session import MlirSession
from foretune.passes.mlir.tuning.frontend import MlirProgram
from foretune.support.optional import require

if TYPE_CHECKING:
    import torch

_FOREIGN = re.compile(
    r'^\s*(?:%[^=\n]+ = )?"?((?:torch|torch_c|tm_tensor|tcp|onnx|stablehlo|chlo)\.[a-z_][\w.]*)"?[ (]', re.MULTILINE
)
"""Operations of dialects that MLIR itself does not have."""
_ENTRY = "main"


def from_torch(
    session: MlirSession, module: torch.nn.Module, inputs: Sequence[torch.Tensor], name: str = ""
) -> MlirProgram:
    """Exports a module for example inputs and lowers it to linalg on tensors; its weights become constants of the
    program.

    Args:
        session: whose workers check the result.
        module: in evaluation mode during the export.
        inputs: examples, whose shapes and types the program has.
        name: for people; the class's by default.

    Raises:
        UnsupportedError: torch-mlir is not installed, or cannot lower an operation; the message has its words.
        OptionError: the module or the inputs are none.
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise OptionError(f"a torch.nn.Module is needed, but got {type(module).__name__}")
    if not inputs or not all(isinstance(x, torch.Tensor) for x in inputs):
        raise OptionError("inputs must be tensors, at least one")
    return MlirProgram.of(session, name or type(module).__name__, _export(module, tuple(inputs)), _ENTRY)


def from_exported(session: MlirSession, program: torch.export.ExportedProgram, name: str) -> MlirProgram:
    """As `from_torch`, of a program that is exported already.

    Raises:
        UnsupportedError: torch-mlir is not installed, or cannot lower an operation.
    """
    return MlirProgram.of(session, name, _import(program, (), name), _ENTRY)


def _export(module: Any, inputs: tuple[Any, ...]) -> str:
    was_training = module.training
    module.eval()
    try:
        return _import(module, inputs, type(module).__name__)
    finally:
        module.train(was_training)


def _import(what: Any, inputs: tuple[Any, ...], name: str) -> str:
    fx = require("torch_mlir.fx", "a PyTorch module as MLIR")
    try:
        lowered = fx.export_and_import(what, *inputs, output_type="linalg-on-tensors", func_name=_ENTRY)
    except Exception as error:  # torch.export and torch-mlir raise what they like; the cause is theirs
        raise UnsupportedError(
            f"torch-mlir cannot lower {name}: {type(error).__name__}: {' '.join(str(error).split())[:400]}"
        ) from error
    text = lowered.operation.get_asm(enable_debug_info=False)  # text, because torch-mlir brings its own copy of MLIR
    if left := sorted(set(_FOREIGN.findall(text))):
        raise UnsupportedError(
            f"torch-mlir leaves operations of {name} in dialects that MLIR does not have: {', '.join(left[:8])};"
            " compute them in another way, or leave them out"
        )
    return text
