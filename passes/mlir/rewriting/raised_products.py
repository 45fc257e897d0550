"""Loop nests that accumulate products of matrices, as structured operations on tensors.

`C[i, j] += A[i, k] * B[k, j]` and what may stand beside it in a nest (scaling and clearing of the output, factors of
one operand, lower triangles) become `linalg` operations, each statement one, so that schedules of products reach
them. Whatever is not surely that stays as it is: other subscripts, bounds, steps or operations; outputs that are also
operands; buffers that may be the same; statements that depend on each other across iterations. As for MLIR's affine
passes, two arguments of a function that nothing in the module calls are two buffers.

Of a lower triangle the whole square is computed, and the triangle of it kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlir import ir

from foretune.passes.mlir.grammar.types import functions_of, identity_layout, walk
from foretune.passes.mlir.rewriting.loop_nests import (
    CASTS,
    LOOPS,
    PRODUCTS,
    SUMS,
    Access,
    Arithmetic,
    Constant,
    Expression,
    Loop,
    NotRead,
    Scalar,
    Statement,
    accesses,
    check_distributable,
    read_nest,
)
from foretune.passes.mlir.rewriting.splice import Writer, insert_before


def raise_products(module: ir.Module) -> int:
    """Raises the nests of a module that are products of matrices; how many there were."""
    names, called = set(), set()

    def look(op: Any) -> ir.WalkResult:
        names.add(op.name)
        if op.name == "func.call":
            called.add(op.attributes["callee"].value)
        return ir.WalkResult.ADVANCE

    walk(module, look)
    if "memref.dealloc" in names:  # bufferization owns all buffers or none
        return 0
    raised = 0
    for function in functions_of(module):
        blocks = list(function.operation.regions[0].blocks)
        if len(blocks) != 1:
            continue
        for op in [one.operation for one in blocks[0].operations if one.operation.name in LOOPS]:
            try:
                text, values = _raised(op, function.sym_name.value not in called)
            except NotRead:
                continue
            insert_before(op, text, values)
            op.erase()
            raised += 1
    return raised


def _raised(root: Any, arguments_differ: bool) -> tuple[str, list[Any]]:
    """(a function that does what a nest does, the values that it is given).

    Raises:
        NotRead: the nest is no product of matrices.
    """
    statements = read_nest(root)
    check_distributable(statements)
    products = [_read_product(statement) for statement in statements]
    if not any(products):
        raise NotRead("nothing in the nest is a product of matrices")
    for access in (access for statement in statements for access in statement.accesses()):
        _check_buffer(access.memref, arguments_differ)
    writer = _Raising()
    for statement, product in zip(statements, products):
        writer.statement(statement, product)
    return writer.function(writer.arguments, "", ""), writer.given


def _check_buffer(memref: Any, arguments_differ: bool) -> None:
    """Refuses buffers that may be parts of others, or lie otherwise than row by row."""
    kind, owner = memref.type, memref.owner
    if not isinstance(kind, ir.MemRefType) or not kind.has_static_shape or kind.layout != identity_layout(kind):
        raise NotRead("a memref's extents are not known, or it does not lie row by row")
    if kind.memory_space is not None:
        raise NotRead("a memref lies in a memory space of its own")
    if isinstance(owner, ir.Block):
        if not arguments_differ:
            raise NotRead("arguments of a function that is called may be one buffer")
    elif getattr(owner, "operation", owner).name not in ("memref.alloc", "memref.alloca"):
        raise NotRead("a memref may be a part of another one")


@dataclass(frozen=True)
class _Product:
    """What a statement adds to its target.

    Attributes:
        factors: one element each, maybe with factors or a cast.
        multiply, add: names of operations.
    """

    factors: tuple[Expression, Expression]
    multiply: str
    add: str


def _read_product(statement: Statement) -> _Product | None:
    """The product of a statement; None of one that computes each element of its target from others.

    Raises:
        NotRead: it is neither.
    """
    target, value, loops = statement.target, statement.value, statement.loops
    if any(len(set(access.loops)) < len(access.loops) for access in statement.accesses()):
        raise NotRead("a loop indexes two dimensions of a memref")
    if any(loop.below is not None and loop not in target.loops for loop in loops):
        raise NotRead("a reduction goes over a triangle")
    reads = list(accesses(value))
    if set(loops) == set(target.loops):
        if any(access.memref == target.memref and access.loops != target.loops for access in reads):
            raise NotRead("a statement moves elements of what it writes")
        return None
    found = _added_product(value, target)
    if found is None or set(loops) != {*target.loops, *(loop for access in reads for loop in access.loops)}:
        raise NotRead("a statement neither adds a product of two elements nor computes each element once")
    return found


def _added_product(value: Expression, target: Access) -> _Product | None:
    if not isinstance(value, Arithmetic) or value.name not in SUMS or target not in value.operands:
        return None
    product = value.operands[1 - value.operands.index(target)]
    if not isinstance(product, Arithmetic) or product.name not in PRODUCTS:
        return None
    for factor in product.operands:
        read = list(accesses(factor))
        widened = isinstance(factor, Arithmetic) and factor.name in CASTS and isinstance(factor.operands[0], Access)
        if len(read) != 1 or read[0].memref == target.memref or not (widened or _is_factor(factor, product.name)):
            return None
    one, other = product.operands
    return _Product((one, other), product.name, value.name)


def _is_factor(factor: Expression, multiply: str) -> bool:
    """Whether it is an element, a number, or products of such."""
    if isinstance(factor, Arithmetic):
        return factor.name == multiply and all(_is_factor(operand, multiply) for operand in factor.operands)
    return True


class _Raising(Writer):
    """Writes statements as structured operations."""

    def __init__(self) -> None:
        super().__init__()
        self.arguments: list[tuple[str, str]] = []
        self.given: list[Any] = []

    def statement(self, statement: Statement, product: _Product | None) -> None:
        """One of a nest."""
        target, loops = statement.target, statement.loops
        _check_extents(statement)
        out = self._tensor(target, writable=True)
        if product is None:
            inputs = list(dict.fromkeys(a for a in accesses(statement.value) if a != target))
            tensors = [self._tensor(access) for access in inputs]
            triangle = self._triangle(loops)

            def body(names: Sequence[str]) -> str:
                known = dict(zip([*inputs, target], names))
                made = self._computed(statement.value, known)
                return self._kept(triangle, loops, made, names[-1], _element(target)) if triangle else made

            made = self._generic(loops, inputs, tensors, target, out, body)
        else:
            made = self._product(statement, product, out)
        kind = str(target.memref.type)
        self.line(
            f"bufferization.materialize_in_destination {made} in restrict writable {self._argument(target.memref)} :"
            f" ({_tensor_of(target)}, {kind}) -> ()"
        )

    def _product(self, statement: Statement, product: _Product, out: str) -> str:
        target, loops = statement.target, statement.loops
        reads, tensors, casts = [], [], []
        for factor in product.factors:
            [access] = accesses(factor)
            reads.append(access)
            cast = factor if isinstance(factor, Arithmetic) and factor.name in CASTS else None
            casts.append(cast)
            tensors.append(self._tensor(access) if factor == access or cast else self._scaled(access, factor))
        kind = _element(target)

        def body(names: Sequence[str]) -> str:
            factors = [
                self.value(f"{cast.name} {name} : {cast.kinds[0]} to {cast.kinds[1]}") if cast else name
                for cast, name in zip(casts, names)
            ]
            multiplied = self.value(f"{product.multiply} {', '.join(factors)} : {kind}")
            return self.value(f"{product.add} {names[-1]}, {multiplied} : {kind}")

        made = self._generic(loops, reads, tensors, target, out, body)
        triangle = self._triangle(target.loops)
        if not triangle:
            return made

        def keep(names: Sequence[str]) -> str:
            return self._kept(triangle, target.loops, names[0], names[1], kind)

        return self._generic(target.loops, [target], [made], target, out, keep)

    def _scaled(self, access: Access, factor: Expression) -> str:
        """A tensor of elements times numbers."""
        kind = _tensor_of(access)
        empty = self.value(f"tensor.empty() : {kind}")
        tensor = self._tensor(access)
        return self._generic(
            access.loops, [access], [tensor], access, empty, lambda names: self._computed(factor, {access: names[0]})
        )

    def _generic(
        self,
        loops: Sequence[Loop],
        inputs: Sequence[Access],
        tensors: Sequence[str],
        target: Access,
        out: str,
        body: Any,
    ) -> str:
        """A structured operation; `body`: (names of the elements, the target's last) -> name of the result."""
        dims = {loop: f"d{i}" for i, loop in enumerate(loops)}
        maps = [
            f"affine_map<({', '.join(dims.values())}) -> ({', '.join(dims[loop] for loop in access.loops)})>"
            for access in (*inputs, target)
        ]
        kinds = [f'"{"parallel" if loop in target.loops else "reduction"}"' for loop in loops]
        ins = f"ins({', '.join(tensors)} : {', '.join(map(_tensor_of, inputs))}) " if inputs else ""
        kind, made = _tensor_of(target), self.new()
        names = [self.new() for _ in (*inputs, target)]
        self.line(
            f"{made} = linalg.generic {{indexing_maps = [{', '.join(maps)}], iterator_types = [{', '.join(kinds)}]}}"
            f" {ins}outs({out} : {kind}) {{"
        )
        pairs = zip(names, map(_element, (*inputs, target)))
        self.line(f"^bb0({', '.join(f'{name}: {element}' for name, element in pairs)}):")
        self.line(f"linalg.yield {body(names)} : {_element(target)}")
        self.line(f"}} -> {kind}")
        return made

    def _computed(self, expression: Expression, known: dict[Access, str]) -> str:
        """The name of an expression's value."""
        if isinstance(expression, Access):
            return known[expression]
        if isinstance(expression, Scalar):
            return self._argument(expression.value)
        if isinstance(expression, Constant):
            return self.constant(expression.literal, expression.kind)
        operands = ", ".join(self._computed(operand, known) for operand in expression.operands)
        taken, made = expression.kinds
        kinds = f"{taken} to {made}" if expression.name in CASTS else made
        return self.value(f"{expression.name} {operands} : {kinds}")

    # -- triangles ---------------------------------------------------------------------------------

    def _triangle(self, loops: Sequence[Loop]) -> list[tuple[Loop, Loop]]:
        """(triangular loop, the loop whose variable bounds it)."""
        return [(loop, loop.below) for loop in loops if loop.below is not None]

    def _kept(
        self, triangle: list[tuple[Loop, Loop]], loops: Sequence[Loop], inside: str, outside: str, kind: str
    ) -> str:
        """One value where all triangular loops run, another one elsewhere."""
        places = list(loops)
        for loop, below in triangle:
            row = self.value(f"linalg.index {places.index(below)} : index")
            column = self.value(f"linalg.index {places.index(loop)} : index")
            bound = self.add(row, loop.extent)
            is_inside = self.value(f"arith.cmpi slt, {column}, {bound} : index")
            inside = self.value(f"arith.select {is_inside}, {inside}, {outside} : {kind}")
        return inside

    # -- values from outside -----------------------------------------------------------------------

    def _argument(self, value: Any) -> str:
        for (name, _), given in zip(self.arguments, self.given):
            if given == value:
                return name
        self.arguments.append((f"%a{len(self.given)}", str(value.type)))
        self.given.append(value)
        return self.arguments[-1][0]

    def _tensor(self, access: Access, writable: bool = False) -> str:
        words = "restrict writable" if writable else "restrict"
        kind = f"{access.memref.type} to {_tensor_of(access)}"
        return self.value(f"bufferization.to_tensor {self._argument(access.memref)} {words} : {kind}")


def _check_extents(statement: Statement) -> None:
    """Refuses accesses that do not go over all of their memref; triangular loops go as far as the target does.

    Raises:
        NotRead: one does not.
    """
    found = {loop: loop.extent for loop in statement.loops if loop.below is None}
    for loop, extent in zip(statement.target.loops, statement.target.memref.type.shape):
        if loop.below is not None:
            if loop.below not in statement.target.loops or found[loop.below] - 1 + loop.extent > extent:
                raise NotRead("a triangle is larger than the memref")
            found[loop] = extent
    for access in statement.accesses():
        if [found[loop] for loop in access.loops] != list(access.memref.type.shape):
            raise NotRead("a nest goes over parts of a memref")


def _element(access: Access) -> str:
    return str(access.memref.type.element_type)


def _tensor_of(access: Access) -> str:
    return f"tensor<{''.join(f'{n}x' for n in access.memref.type.shape)}{_element(access)}>"
