"""Index values as linear forms of loop variables, and memory references as a root with strides.

A form is a constant and a coefficient for each loop; what is not linear, such as a loaded index, has no form. Bounds
that depend on outer loops are taken at the middle of those loops' ranges.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mlir import ir

from foretune.passes.mlir.grammar.types import shape_of

_DYNAMIC = -(2**63)  # what MLIR writes for an extent, offset or stride that is an operand


@dataclass(frozen=True)
class Form:
    """A linear form.

    Attributes:
        constant: what it has without loops.
        coefficients: loop -> how much one iteration's variable adds.
        known: False for a value that is not linear; the rest then says what is known of it.
    """

    constant: float = 0.0
    coefficients: tuple[tuple[int, float], ...] = ()
    known: bool = True

    def plus(self, other: Form, factor: float = 1.0) -> Form:
        """The sum with a multiple of another form."""
        if not other.coefficients:
            return Form(self.constant + factor * other.constant, self.coefficients, self.known and other.known)
        merged = dict(self.coefficients)
        for loop, c in other.coefficients:
            merged[loop] = merged.get(loop, 0.0) + factor * c
        return Form(
            self.constant + factor * other.constant,
            tuple(sorted((k, v) for k, v in merged.items() if v)),
            self.known and other.known,
        )

    def times(self, factor: float) -> Form:
        """A multiple."""
        return Form(
            self.constant * factor, tuple((k, v * factor) for k, v in self.coefficients) if factor else (), self.known
        )


UNKNOWN = Form(known=False)


@dataclass(frozen=True)
class Reference:
    """A memref, tensor or pointer.

    Attributes:
        root: identity of the buffer.
        offset: in elements from its start.
        strides: of its dimensions, in elements; None where unknown.
        num_bytes: of the whole buffer; 0 where unknown.
        extents: of its dimensions, on average, negative where unknown; empty where the type tells them.
    """

    root: int
    offset: Form
    strides: tuple[float | None, ...]
    num_bytes: float = 0.0
    extents: tuple[float, ...] = ()


@dataclass
class Scope:
    """What is known of values while a function is walked.

    Attributes:
        forms: value -> its form.
        references: value -> its reference.
        middles: loop -> its variable's mean.
        spans: loop -> (first value of its variable, step, iterations).
    """

    forms: dict[Any, Form] = field(default_factory=dict)
    references: dict[Any, Reference] = field(default_factory=dict)
    middles: dict[int, float] = field(default_factory=dict)
    spans: dict[int, tuple[float, float, float]] = field(default_factory=dict)
    roots: int = 0

    def form(self, value: Any) -> Form:
        """Of an index value."""
        return self.forms.get(value, UNKNOWN)

    def mean(self, form: Form) -> float | None:
        """The value of a form in the middle of all loops; None where it is not linear."""
        if not form.known:
            return None
        return form.constant + sum(c * self.middles.get(loop, 0.0) for loop, c in form.coefficients)

    def reference(self, value: Any) -> Reference:
        """Of a memory value; one that was never seen is a buffer of its own."""
        found = self.references.get(value)
        if found is None:
            found = self.references[value] = self.new_root(value.type)
        return found

    def new_root(self, kind: Any, sizes: list[float | None] | None = None) -> Reference:
        """A buffer of its own, laid out row by row; `sizes` of the extents that its type does not tell, in order, None
        where unknown.
        """
        self.roots += 1
        given = iter(sizes or ())
        extents = [float(extent) if extent >= 0 else next(given, None) for extent in shape_of(kind) or []]
        size = 1.0
        strides: list[float | None] = []
        for extent in reversed(extents):
            strides.append(size)
            size *= extent or 1
        known = tuple(-1.0 if extent is None else extent for extent in extents) if sizes else ()
        return Reference(self.roots, Form(), tuple(reversed(strides)), size * element_bytes(kind), known)

    def extent(self, value: Any, dimension: int) -> Form:
        """How many elements a dimension of a tensor or memref has."""
        shape = shape_of(value.type) or []
        if not 0 <= dimension < len(shape):
            return UNKNOWN
        extents = self.reference(value).extents
        known = (
            float(shape[dimension])
            if shape[dimension] >= 0
            else extents[dimension]
            if dimension < len(extents)
            else -1.0
        )
        return Form(known) if known >= 0 else UNKNOWN

    def position(self, reference: Reference, indices: list[Form]) -> Form:
        """Where an element is, in elements from the buffer's start."""
        form = reference.offset
        for index, stride in zip(indices, reference.strides):
            form = form.plus(index, stride) if stride is not None else form.plus(UNKNOWN)
        return form


def element_bytes(kind: Any) -> float:
    """Bytes of an element of a shaped type, or of a scalar."""
    return element_bits(kind) / 8


_BITS = {"f16": 16, "bf16": 16, "f32": 32, "f64": 64, "index": 64, "i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64}


def element_bits(kind: Any) -> int:
    """Bits of an element of a shaped type, or of a scalar; 64 for what is a pointer or unknown."""
    kind = getattr(kind, "element_type", kind)
    return _BITS.get(str(kind)) or int(getattr(kind, "width", 64))


def affine_form(expr: Any, dims: list[Form], scope: Scope) -> Form:
    """The form of an affine expression of some values; symbols come behind the dimensions."""
    if isinstance(expr, ir.AffineDimExpr):
        return dims[expr.position] if expr.position < len(dims) else UNKNOWN
    if isinstance(expr, ir.AffineConstantExpr):
        return Form(float(expr.value))
    if isinstance(expr, ir.AffineSymbolExpr):
        return UNKNOWN
    left, right = affine_form(expr.lhs, dims, scope), affine_form(expr.rhs, dims, scope)
    if isinstance(expr, ir.AffineAddExpr):
        return left.plus(right)
    if isinstance(expr, ir.AffineMulExpr):
        if right.known and not right.coefficients:
            return left.times(right.constant)
        return right.times(left.constant) if left.known and not left.coefficients else UNKNOWN
    a, b = scope.mean(left), scope.mean(right)
    if a is None or not b or right.coefficients:
        return UNKNOWN
    if not left.coefficients:
        return Form(
            {"AffineModExpr": a % b, "AffineFloorDivExpr": a // b, "AffineCeilDivExpr": -(-a // b)}.get(
                type(expr).__name__, 0.0
            )
        )
    return Form(a % b if isinstance(expr, ir.AffineModExpr) else a / b, known=False)


def map_forms(amap: Any, operands: list[Form], scope: Scope) -> list[Form]:
    """The forms of an affine map's results; symbols are replaced by the operands behind the dimensions."""
    if amap.n_symbols:
        return [_with_symbols(e, operands[: amap.n_dims], operands[amap.n_dims :], scope) for e in amap.results]
    return [affine_form(e, operands, scope) for e in amap.results]


def _with_symbols(expr: Any, dims: list[Form], symbols: list[Form], scope: Scope) -> Form:
    if isinstance(expr, ir.AffineSymbolExpr):
        return symbols[expr.position] if expr.position < len(symbols) else UNKNOWN
    if isinstance(expr, (ir.AffineAddExpr, ir.AffineMulExpr)):
        left, right = _with_symbols(expr.lhs, dims, symbols, scope), _with_symbols(expr.rhs, dims, symbols, scope)
        if isinstance(expr, ir.AffineAddExpr):
            return left.plus(right)
        if right.known and not right.coefficients:
            return left.times(right.constant)
        return right.times(left.constant) if left.known and not left.coefficients else UNKNOWN
    return affine_form(expr, dims, scope)


def static_list(attribute: Any) -> list[int | None]:
    """The numbers of a `static_offsets` or the like; None for those that are operands."""
    return [None if v == _DYNAMIC else int(v) for v in attribute]


def view(scope: Scope, op: Any, source: Any) -> Reference:
    """The reference that a subview or an extracted slice makes."""
    base = scope.reference(source)
    attributes, operands = op.attributes, list(op.operands)
    segments = list(attributes["operandSegmentSizes"])
    dynamic_offsets = operands[segments[0] : segments[0] + segments[1]]
    if len(segments) > 4:  # tensor.insert_slice has its source in front
        dynamic_offsets = operands[sum(segments[:2]) : sum(segments[:3])]
    offsets, sizes, steps = (
        static_list(attributes[name]) for name in ("static_offsets", "static_sizes", "static_strides")
    )
    given, given_sizes = iter(dynamic_offsets), iter(operands[len(operands) - segments[-1] - segments[-2] :])
    extents = [n if n is not None else (scope.mean(scope.form(next(given_sizes, None))) or 1.0) for n in sizes]
    form, strides = base.offset, []
    for offset, step, stride in zip(offsets, steps, base.strides):
        at = Form(float(offset)) if offset is not None else scope.form(next(given, None))
        form = form.plus(at, stride) if stride is not None else form.plus(UNKNOWN)
        strides.append(stride * step if stride is not None and step is not None else None)
    kind = op.results[0].type if len(op.results) else source.type
    shape = shape_of(kind)
    rank = len(strides) if shape is None else len(shape)
    if rank < len(strides):  # dimensions of extent 1 were dropped
        kept = [i for i, n in enumerate(sizes) if n != 1]
        kept = kept if len(kept) == rank else list(range(len(strides) - rank, len(strides)))
        strides, extents = [strides[i] for i in kept], [extents[i] for i in kept]
    return Reference(base.root, form, tuple(strides), base.num_bytes, tuple(extents))
