"""Modules inside a worker: parsed, looked at, transformed."""

from __future__ import annotations

import re
from typing import Any, cast

from mlir import ir
from mlir.dialects import linalg

from foretune.errors import DataError, IllegalActionError
from foretune.passes.mlir.environment import columns, lowering, nesting, polynomials, rewrites
from foretune.passes.mlir.environment.signature import ELEMENTS, Signature, ValueType
from foretune.passes.mlir.grammar.actions import NOT_STRUCTURED, MlirAction, Schedule
from foretune.passes.mlir.grammar.options import LoweringOptions
from foretune.passes.mlir.grammar.types import MLIRError, functions_of, identity_layout, shape_of, walk
from foretune.passes.mlir.graph.functions import callee_name
from foretune.passes.mlir.graph.scalars import Scalar, loop_scalars
from foretune.passes.mlir.rewriting.dot_kernel import DotTiling
from foretune.passes.mlir.rewriting.dot_products import use_dot_instruction
from foretune.passes.mlir.rewriting.raised_products import raise_products
from foretune.passes.mlir.rewriting.widening import widen_operands


class Illegal(Exception):
    """An action cannot be applied.

    Attributes:
        step: its index; -1 where the module itself is refused.
    """

    def __init__(self, message: str, step: int = -1) -> None:
        super().__init__(message)
        self.step = step


def quiet_context() -> ir.Context:
    """A context without threads."""
    context = ir.Context()
    context.enable_multithreading(False)
    return context


def parse(source: str, context: ir.Context | None = None) -> ir.Module:
    """Parses and verifies a module, in a context of its own by default.

    Raises:
        Illegal: it is none; the message is MLIR's.
    """
    try:
        module = ir.Module.parse(source, context or quiet_context())
    except (MLIRError, ValueError) as error:
        raise Illegal("the module cannot be read: " + " ".join(str(error).split())) from None
    nesting.flatten(module)
    return module


def signatures(module: ir.Module) -> tuple[list[Signature], dict[str, str], list[str]]:
    """(what can be run, name -> why a function cannot be run, functions of both that others call); where no function is
    public, all are looked at.
    """
    entries, refused = [], {}
    every = [op for op in functions_of(module) if op.operation.regions[0].blocks]
    for op in [op for op in every if not lowering.is_private(op)] or every:
        try:
            entries.append(_signature(op))
        except DataError as error:
            refused[op.sym_name.value] = str(error)
    names = {*(entry.name for entry in entries), *refused}
    called = {
        callee_name(inner)
        for op in every
        for inner in _inside(op.operation)
        if inner.name == "func.call" and callee_name(inner) != op.sym_name.value
    }
    return entries, refused, sorted(called & names)


def signature(module: ir.Module, entry: str) -> Signature:
    """The types of one function.

    Raises:
        Illegal: there is no such function, or it cannot be run.
    """
    for op in functions_of(module):
        if op.sym_name.value == entry and op.operation.regions[0].blocks:
            try:
                return _signature(op)
            except DataError as error:
                raise Illegal(str(error)) from None
    raise Illegal(f"the module has no function {entry!r} with a body")


def _signature(function: Any) -> Signature:
    kind = function.type
    name = function.sym_name.value
    if not re.fullmatch(r"[\w.$-]{1,200}", name, re.ASCII):  # it becomes part of LLVM IR
        raise DataError(f"an entry's name must be letters, digits, `.`, `$`, `-` and `_`, but got {name[:60]!r}")
    scalars = {scalar.position: scalar for scalar in loop_scalars(function.operation)}
    made = Signature(
        name,
        tuple(_value(name, t, scalars.get(i)) for i, t in enumerate(kind.inputs)),
        tuple(_value(name, t) for t in kind.results),
    )
    made.check()
    return made


def _value(name: str, kind: Any, scalar: Scalar | None = None) -> ValueType:
    if isinstance(kind, (ir.RankedTensorType, ir.MemRefType)):
        element = str(kind.element_type)
        if not kind.has_static_shape:
            raise DataError(f"@{name} takes or returns {kind}: extents must be known; give the sizes")
        if element in ELEMENTS and isinstance(kind, ir.MemRefType):
            return ValueType("memref", element, tuple(kind.shape), *_layout(name, kind))
        if element in ELEMENTS and cast("Any", kind).encoding is None:
            return ValueType("tensor", element, tuple(kind.shape))
        if element in ELEMENTS:
            raise DataError(
                f"@{name} takes or returns {kind}: tensors with an encoding, such as sparse ones, cannot be given to an"
                " entry; lower them first"
            )
    elif str(kind) in ELEMENTS:
        return ValueType(
            "scalar",
            str(kind),
            value=scalar.value if scalar is not None else None,
            unset=scalar.why if scalar is not None and scalar.value is None else "",
        )
    raise DataError(
        f"@{name} takes or returns {kind}: an entry may have tensors, memrefs and numbers of {', '.join(ELEMENTS)}"
    )


def _layout(name: str, kind: Any) -> tuple[tuple[int, ...], int]:
    """(strides, offset) of a memref; no strides where its elements lie row by row. What is unknown of them is chosen
    so.
    """
    if kind.layout == identity_layout(kind):
        return (), 0
    if not isinstance(kind.layout, ir.StridedLayoutAttr):
        raise DataError(
            f"@{name} takes or returns {kind}: memrefs with a layout by an affine map cannot be given to an entry; run"
            " --normalize-memrefs of mlir-opt first"
        )
    given, strides, size = list(kind.layout.strides), [], 1
    for extent, stride in zip(reversed(list(kind.shape)), reversed(given)):
        strides.append(size if stride < -(1 << 62) else stride)
        size = max(1, extent) * strides[-1]
    if any(stride < 0 for stride in strides):
        raise DataError(f"@{name} takes or returns {kind}: strides must not be negative")
    offset = kind.layout.offset
    return tuple(reversed(strides)), 0 if offset < -(1 << 62) else offset


def apply(module: ir.Module, rows: Any, each: bool) -> list[str]:
    """Applies actions; the module's text afterwards, or after each of them.

    Raises:
        Illegal: one cannot be applied.
    """
    texts = []
    for i, action in enumerate(_schedule(rows).actions):
        _step(module, action, i)
        if each:
            texts.append(str(module))
    return texts if each else [str(module)]


def transform(module: ir.Module, rows: Any) -> tuple[LoweringOptions, str]:
    """Applies actions; (what the last `lower` among them says, the whole schedule as a transform script).

    Raises:
        Illegal: one cannot be applied.
    """
    schedule = _schedule(rows)
    counts = [_step(module, action, i) for i, action in enumerate(schedule.actions)]
    return schedule.lowering, schedule.script(counts)


def _schedule(rows: Any) -> Schedule:
    try:
        return Schedule.from_json(rows)
    except IllegalActionError as error:
        raise Illegal(str(error)) from None


def _step(module: ir.Module, action: MlirAction, step: int) -> int:
    """Applies one action; how many operations of its target's kind there were."""
    try:
        count = _count(module, *action.target) if action.target is not None else 1
        if action.name == "bufferize":
            lowering.erase_transforms(module)
            lowering.decompose(module)
            lowering.bufferize(module)
        if action.name == "gather-columns" and action.target is not None:
            columns.gather_columns(module, *action.target)
        if action.name == "dot-product" and action.target is not None:
            options = cast("Any", dict(action.options))
            by = options.pop("by")
            use_dot_instruction(_find(module, *action.target), by, DotTiling(**options))
        if action.name == "widen-operands" and action.target is not None:
            widen_operands(_find(module, *action.target))
        if action.name == "raise-to-products":
            raise_products(module)
        if action.name == "expand-exp":
            rewrites.expand_exp(module)
        if action.name == "expand-functions":
            polynomials.expand_functions(module)
        script = action.script(count)
        if script:
            lowering.run_script(module, lowering.NAMED_SEQUENCE.format("\n".join(script)))
        lowering.run_pipeline(module, action.passes())
        if not module.operation.verify():
            raise ValueError("the module is not valid afterwards")
    except (MLIRError, ValueError, RuntimeError) as error:
        raise Illegal(f"{action}: {' '.join(str(error).split())}", step) from None
    return count


def _find(module: ir.Module, kind: str, index: int) -> Any:
    """The operation that an action works on."""
    found: list[Any] = []

    def look(op: Any) -> ir.WalkResult:
        if is_kind(op.name, kind):
            found.append(op)
        return ir.WalkResult.ADVANCE

    walk(module, look)
    return found[index]


def _count(module: ir.Module, kind: str, index: int) -> int:
    count = sum(is_kind(name, kind) for name in lowering.operation_names(module))
    if index >= count:
        raise ValueError(f"the module has {count} operations of kind {kind} at this step")
    return count


def is_kind(name: str, kind: str) -> bool:
    """Whether an operation's name is of a kind that targets may name."""
    return name.startswith("linalg.") and name not in NOT_STRUCTURED if kind == "linalg" else name == kind


def describe(module: ir.Module) -> dict[str, Any]:
    """What a search needs to know of a module: its structured operations and its loops, each in the order that targets
    count them.

    Returns:
        `ops`: for each structured operation `name`, `extents` of its loops (0 of an unknown one), `parallel`, whether
        each of them is, `maps`, for each operand the loops that index each of its dimensions, `num_inputs`, `element`
        of the last operand and `input` of the first, `strided`, for each operand the loops that are multiplied in its
        positions, `body`, names of the operations inside, `uses`, positions of the operations whose results it reads,
        `tensors`, whether it works on tensors, and `depth`, the number of loops around it; `loops`: for each `scf.for`
        `trips` (0 where unknown), `depth`, `innermost`, and `carried`, the types of what it carries; `names` of all
        operations.
    """
    ops: list[dict[str, Any]] = []
    loops: list[dict[str, Any]] = []
    position: dict[Any, int] = {}

    def look(op: Any) -> ir.WalkResult:
        if is_kind(op.name, "linalg"):
            ops.append(_structured(op, position))
            position.update({result: len(ops) - 1 for result in op.results})
        elif op.name == "scf.for":
            inside = {o.name for o in _inside(op)}
            loops.append(
                {
                    "trips": _trips(op),
                    "depth": _depth(op),
                    "innermost": "scf.for" not in inside,
                    "carried": [str(r.type) for r in op.results],
                }
            )
        return ir.WalkResult.ADVANCE

    walk(module, look)
    return {"ops": ops, "loops": loops, "names": lowering.operation_names(module)}


def _structured(op: Any, position: dict[Any, int]) -> dict[str, Any]:
    affine = [attribute.value for attribute in cast("Any", linalg).get_indexing_maps(op)]
    maps = [[sorted(_dims(e)) for e in m.results] for m in affine]
    plain = [[e.position if isinstance(e, ir.AffineDimExpr) else -1 for e in m.results] for m in affine]
    num_dims = affine[0].n_dims
    extents = [0] * num_dims
    for operand, dims in zip(op.operands, plain):
        shape = (shape_of(operand.type) or ()) if dims else ()
        for extent, dim in zip(shape, dims):
            if dim >= 0 and extent > 0:
                extents[dim] = extent
    segments = list(op.attributes["operandSegmentSizes"]) if "operandSegmentSizes" in op.attributes else ()
    num_inputs = segments[0] if segments else len(maps) - max(1, len(op.results))
    written = {d for dims in maps[num_inputs:] for some in dims for d in some}
    last = op.operands[len(op.operands) - 1].type
    return {
        "name": op.name,
        "extents": extents,
        "parallel": [d in written for d in range(num_dims)],
        "maps": plain,
        "num_inputs": num_inputs,
        "element": _element(last),
        "input": _element(op.operands[0].type),
        "strided": [sorted({d for e in m.results for d in _strided(e)}) for m in affine],
        "body": sorted({o.name for o in _inside(op)}),
        "depth": _depth(op),
        "uses": sorted({position[v] for v in op.operands if v in position}),
        "tensors": bool(len(op.results)),
    }


def _element(kind: Any) -> str:
    return str(kind.element_type if hasattr(kind, "element_type") else kind)


def _strided(expression: Any) -> set[int]:
    """The loops that an affine expression multiplies by more than 1."""
    if isinstance(expression, ir.AffineMulExpr):
        factor = expression.rhs
        return (
            set()
            if isinstance(factor, ir.AffineConstantExpr) and ir.AffineConstantExpr(factor).value == 1
            else _dims(expression)
        )
    if isinstance(expression, ir.AffineBinaryExpr):
        return _strided(expression.lhs) | _strided(expression.rhs)
    return set()


def _dims(expression: Any) -> set[int]:
    """The loops in an affine expression."""
    if isinstance(expression, ir.AffineDimExpr):
        return {expression.position}
    if isinstance(expression, ir.AffineBinaryExpr):
        return _dims(expression.lhs) | _dims(expression.rhs)
    return set()


def _inside(op: Any) -> list[Any]:
    return [
        inner
        for region in op.regions
        for block in region.blocks
        for one in block.operations
        for inner in (one.operation, *_inside(one.operation))
    ]


def _depth(op: Any) -> int:
    depth, parent = 0, op.parent
    while parent is not None and parent.name != "builtin.module":
        depth += parent.name in ("scf.for", "affine.for")
        parent = parent.parent
    return depth


def _trips(op: Any) -> int:
    low, high, step = (_constant_of(op.operands[i]) for i in range(3))
    if low is None or high is None or step is None or step <= 0:
        return 0
    return max(0, -(-(high - low) // step))


def _constant_of(value: Any) -> int | None:
    owner = value.owner
    name = owner.name if hasattr(owner, "name") else ""
    return ir.IntegerAttr(owner.attributes["value"]).value if name == "arith.constant" else None
