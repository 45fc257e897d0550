"""Tuning a model object ahead of time: `foretune.tune`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from foretune.compiler.pytorch import artifact
from foretune.compiler.pytorch.artifact import TuneReport
from foretune.compiler.pytorch.options import BackendOptions
from foretune.errors import OptionError, UnsupportedError
from foretune.support.scratch import step_folder


def tune(
    model: nn.Module, inputs: Sequence[Any], kwargs: Mapping[str, Any] | None = None, *, out: str | Path, **options: Any
) -> TuneReport:
    """Tunes a model for inputs like these and writes it with its schedules; `foretune.load` runs the file.

    Args:
        model: exported in evaluation mode; it is left as it was.
        inputs: positional arguments of an example call.
        kwargs: keyword arguments of that call.
        out: file to write.
        options: those of `torch.compile(..., backend="foretune")`, such as `trials=64`; see `BackendOptions`.

    Raises:
        OptionError: an option is unknown or has a bad value, or the model and its inputs are none.
        UnsupportedError: PyTorch cannot export the model whole; the message has its words.
        DatabaseError: the database of measured records cannot be used.
    """
    chosen = BackendOptions.from_dict(options)
    if not isinstance(model, nn.Module):
        raise OptionError(
            f"model must be a torch.nn.Module, but got {type(model).__name__}; `foretune tune` takes MODULE:FUNCTION"
            " and .pt2 files"
        )
    if isinstance(inputs, torch.Tensor) or not isinstance(inputs, Sequence):
        raise OptionError(
            f"inputs must be a tuple of the call's arguments, but got {type(inputs).__name__}; one tensor is written"
            " (tensor,)"
        )
    if chosen.background:
        raise OptionError(
            "background=True is for programs that run meanwhile, but tuning ahead of time ends before its file is"
            " written; leave it out"
        )
    with step_folder() as folder:
        program = folder / "program.pt2"
        torch.export.save(_exported(model, tuple(inputs), dict(kwargs or {})), program)
        return artifact.tune(str(program), Path(out).expanduser(), chosen)


def _exported(model: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.export.ExportedProgram:
    with _in_evaluation_mode(model), torch.no_grad():
        try:
            return torch.export.export(model, inputs, kwargs)
        except Exception as error:  # PyTorch raises errors of many kinds
            reason = " ".join(str(error).split())[:_SHOWN_CHARS]
            raise UnsupportedError(
                f"torch.export cannot export {type(model).__name__} whole ({type(error).__name__}: {reason}); "
                'torch.compile(model, backend="foretune") takes models in parts'
            ) from error


@contextmanager
def _in_evaluation_mode(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


_SHOWN_CHARS = 400
