"""Programs made from PyTorch's own database of operators and their sample inputs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from foretune.compiler.conformance.program import Program
from foretune.compiler.torch_private import pytree

DTYPES = {name: getattr(torch, name) for name in ("float32", "int64", "bool", "int32", "float64")}
FORMS = ("alone", "inside", "inplace", "gradients", "weights", "layouts")
MOST_ELEMENTS = 20_000
_UNDEFINED = ("empty", "new_empty")  # what stood in memory is their value


@lru_cache(maxsize=1)
def database() -> dict[str, Any]:
    """Operators by name; variants of one have their own."""
    from foretune.compiler.torch_private import op_db

    return {f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name: op for op in op_db}


def sample_programs(name: str, dtype: str, most: int, forms: tuple[str, ...] = FORMS) -> list[Program]:
    """Programs of one operator of the database.

    Args:
        name: of the operator.
        dtype: of its samples.
        most: so many samples are taken, evenly from all of them.
        forms: each is one use of the operator: `alone`; `inside` of others; `inplace`, changing its input; with
            `gradients`; with `weights`, which change; called with other `layouts`. All but the first take one sample.
    """
    op = database()[name]
    if op.name.startswith(_UNDEFINED) or DTYPES[dtype] not in op.dtypes:
        return []
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    try:
        samples = [s for s in op.sample_inputs("cpu", DTYPES[dtype], requires_grad=False) if _fits(s)]
    except Exception:  # a few need other libraries
        return []
    chosen = samples[:: max(1, len(samples) // most)][:most]
    made = []
    for i, sample in enumerate(chosen):
        for form in forms:
            if i and form != "alone":
                continue
            function = op.inplace_variant if form == "inplace" else op.op
            if function is not None:
                made += _programs(f"{name}|{dtype}|{i}|{form}", function, sample, form)
    return made


def _fits(sample: Any) -> bool:
    leaves = [x for x in pytree.tree_leaves((sample.input, sample.args, sample.kwargs)) if isinstance(x, torch.Tensor)]
    if not leaves:
        return False
    return all(x.layout == torch.strided and 0 < x.numel() <= MOST_ELEMENTS for x in leaves)


def _programs(name: str, function: Callable, sample: Any, form: str) -> Iterator[Program]:
    leaves, spec = pytree.tree_flatten((sample.input, sample.args, sample.kwargs))
    positions = [i for i, x in enumerate(leaves) if isinstance(x, torch.Tensor)]
    inputs = tuple(leaves[i].detach().clone() for i in positions)
    floats = tuple(i for i, x in enumerate(inputs) if x.is_floating_point())
    around = form == "inside"

    def run(*tensors: torch.Tensor) -> Any:
        values = list(leaves)
        for i, tensor in zip(positions, tensors):
            values[i] = -tensor if around and tensor.is_floating_point() else tensor
        x, args, kwargs = pytree.tree_unflatten(values, spec)
        outputs = function(x, *args, **kwargs)
        if not around:
            return outputs
        return outputs, [
            -y if y.is_floating_point() else y for y in pytree.tree_leaves(outputs) if isinstance(y, torch.Tensor)
        ]

    program = Program(name, run, inputs)
    if form == "gradients":
        if floats:
            yield replace(program, trains=True)
    elif form == "weights":
        if floats:
            yield replace(program, weights=floats[1:] or floats)
    else:
        yield program
