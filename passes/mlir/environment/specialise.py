"""Known extents for an entry function that takes `?`; runs inside a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlir import ir
from mlir.dialects import memref, tensor

from foretune.passes.mlir.environment import lowering
from foretune.passes.mlir.grammar.types import functions_of, identity_layout, shape_of

_ROUNDS = 4  # of simplification; types become known from producers to consumers


def specialise(module: ir.Module, entry: str | None, sizes: Sequence[int]) -> None:
    """Gives the `?` of an entry's arguments extents, from left to right, and the results' as far as they follow.

    Raises:
        ValueError: the entry is not there, or the number of sizes is another than that of the `?`.
    """
    function = _entry(module, entry)
    inputs = list(function.type.inputs)
    wanted = sum(extent < 0 for t in inputs for extent in shape_of(t) or ())
    if wanted != len(sizes):
        raise ValueError(f"@{function.sym_name.value} has {wanted} unknown extents, but got {len(sizes)} sizes")
    left = iter(sizes)
    known = [_with_sizes(t, left) if shape_of(t) is not None else t for t in inputs]
    block = function.operation.regions[0].blocks[0]
    with module.context, ir.Location.unknown():
        function.operation.attributes["function_type"] = ir.TypeAttr.get(
            ir.FunctionType.get(known, list(function.type.results))
        )
        for argument, old, new in zip(block.arguments, inputs, known):
            if new != old:
                argument.set_type(new)
                with ir.InsertionPoint.at_block_begin(block):
                    cast = (
                        memref.CastOp(old, argument) if isinstance(old, ir.MemRefType) else tensor.CastOp(old, argument)
                    )
                argument.replace_all_uses_except(cast.result, cast.operation)
    for _ in range(_ROUNDS):
        lowering.run_pipeline(module, ["inline", "canonicalize", "cse"])
        _forward_results(module, _entry(module, function.sym_name.value))


def _entry(module: ir.Module, name: str | None) -> Any:
    found = [op for op in functions_of(module) if op.operation.regions[0].blocks]
    named = (
        [op for op in found if op.sym_name.value == name]
        if name is not None
        else [op for op in found if not lowering.is_private(op)]
    )
    if len(named) != 1:
        raise ValueError(
            f"an entry must be chosen among {[op.sym_name.value for op in found]} to give it sizes"
            if name is None
            else f"the module has no function {name!r} with a body"
        )
    return named[0]


def _with_sizes(kind: Any, sizes: Any) -> Any:
    shape = [next(sizes) if extent < 0 else extent for extent in kind.shape]
    if shape == list(kind.shape):
        return kind
    nowhere = ir.Location.unknown(kind.context)
    if isinstance(kind, ir.MemRefType):
        layout = None if kind.layout == identity_layout(kind) else kind.layout
        return ir.MemRefType.get(shape, kind.element_type, layout, kind.memory_space, loc=nowhere)
    if isinstance(kind, ir.VectorType):
        return kind
    return ir.RankedTensorType.get(shape, kind.element_type, kind.encoding, loc=nowhere)


def _forward_results(module: ir.Module, function: Any) -> None:
    """Returns what is cast to an unknown shape without the cast."""
    results = list(function.type.results)
    for block in function.operation.regions[0].blocks:
        for op in block.operations:
            if op.operation.name != "func.return":
                continue
            for i, value in enumerate(op.operands):
                owner = value.owner
                if isinstance(owner, ir.Block) or owner.name not in ("tensor.cast", "memref.cast"):
                    continue
                source = owner.operands[0]
                shape = shape_of(source.type)
                if (
                    len(function.operation.regions[0].blocks) == 1
                    and shape is not None
                    and all(extent >= 0 for extent in shape)
                ):
                    op.operation.operands[i] = source
                    results[i] = source.type
    with module.context:
        function.operation.attributes["function_type"] = ir.TypeAttr.get(
            ir.FunctionType.get(list(function.type.inputs), results)
        )
