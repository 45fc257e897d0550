"""Nests of `affine.for` and `scf.for` over memrefs as statements with loops around them, where that says all they do.

A nest is read only if every operation in it is known: loops from 0 in steps of 1, loads and stores whose subscripts are
plain loop variables, and arithmetic. A sum that the innermost loop carries in a value becomes two statements, one that
stores what it begins with and one that adds to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mlir import ir

LOOPS = ("affine.for", "scf.for")
_LOADS, _STORES = ("affine.load", "memref.load"), ("affine.store", "memref.store")
_YIELDS = ("affine.yield", "scf.yield")
SUMS = ("arith.addf", "arith.addi")
PRODUCTS = ("arith.mulf", "arith.muli")
CASTS = ("arith.extf", "arith.extsi", "arith.extui")
ARITHMETIC = (*SUMS, *PRODUCTS, *CASTS, "arith.subf", "arith.subi", "arith.divf")


class NotRead(ValueError):
    """A nest does something that statements do not say."""


@dataclass(eq=False)
class Loop:
    """A loop from 0 in steps of 1.

    Attributes:
        extent: its iterations; of a triangular one, what is added to the variable of the loop that bounds it.
        below: that loop; None where the extent is known.
    """

    extent: int
    below: Loop | None = None


@dataclass(frozen=True)
class Access:
    """An element of a memref, at the variables of some loops."""

    memref: Any
    loops: tuple[Loop, ...]


@dataclass(frozen=True)
class Scalar:
    """A value from outside of the nest."""

    value: Any


@dataclass(frozen=True)
class Constant:
    """A number.

    Attributes:
        literal, kind: as MLIR writes them.
    """

    literal: str
    kind: str


@dataclass(frozen=True)
class Arithmetic:
    """An operation of `ARITHMETIC`.

    Attributes:
        name: of the operation.
        operands: of it.
        kinds: types of an operand and of the result.
    """

    name: str
    operands: tuple[Expression, ...]
    kinds: tuple[str, str]


Expression = Access | Scalar | Constant | Arithmetic


@dataclass(frozen=True)
class Statement:
    """A store.

    Attributes:
        loops: around it, the outermost first.
        target: where to.
        value: what.
    """

    loops: tuple[Loop, ...]
    target: Access
    value: Expression

    def accesses(self) -> Iterator[Access]:
        """All elements that it reads or writes."""
        yield self.target
        yield from accesses(self.value)


def accesses(expression: Expression) -> Iterator[Access]:
    """The elements that an expression reads."""
    if isinstance(expression, Access):
        yield expression
    elif isinstance(expression, Arithmetic):
        for operand in expression.operands:
            yield from accesses(operand)


def read_nest(root: Any) -> list[Statement]:
    """The statements of a loop, in the order in which they stand.

    Raises:
        NotRead: it has something else; the message says what.
    """
    if len(root.results):
        raise NotRead("the nest gives a value to what stands behind it")
    reader = _Reader()
    reader.loop(root, ())
    reader.check_loads()
    return reader.statements


def check_distributable(statements: list[Statement]) -> None:
    """Whether each statement may run to its end, in loops of its own, before the next one begins.

    It may if of all loops that two statements share, different iterations touch different elements of what one of them
    writes: then a statement depends on an earlier one in the same iteration only, and those keep their order.

    Raises:
        NotRead: it may not.
    """
    for q, later in enumerate(statements):
        for earlier in statements[:q]:
            shared = [a for a, b in zip(earlier.loops, later.loops) if a is b]
            for memref in (earlier.target.memref, later.target.memref):
                before, after = ([a for a in s.accesses() if a.memref == memref] for s in (earlier, later))
                if before and after and not all(_moves(loop, [*before, *after]) for loop in shared):
                    raise NotRead("iterations of a loop depend on each other by more than one statement")


def _moves(loop: Loop, uses: list[Access]) -> bool:
    """Whether there is a dimension that a loop's variable indexes in all of some accesses."""
    return any(all(use.loops[d] is loop for use in uses) for d in range(len(uses[0].loops)))


@dataclass(frozen=True)
class _Carried:
    """What a loop carries out of its last iteration."""

    start: Expression
    added: Expression
    name: str
    kind: str
    loops: tuple[Loop, ...]
    loads: tuple[Any, ...]


class _Accumulator:
    """What a loop carries into an iteration."""


class _Reader:
    def __init__(self) -> None:
        self.statements: list[Statement] = []
        self._values: dict[Any, Any] = {}
        self._variables: dict[Any, Loop] = {}
        self._time = 0
        self._loads: dict[Any, tuple[Any, int, tuple[Loop, ...]]] = {}  # value -> (memref, time, loops)
        self._stores: list[tuple[Any, int]] = []
        self._used: list[tuple[Any, int, tuple[Loop, ...]]] = []  # (loaded value, time of the store, its loops)

    def loop(self, op: Any, around: tuple[Loop, ...]) -> None:
        """Reads a loop and what is in it."""
        loop, given = (_affine_bounds if op.name == "affine.for" else _scf_bounds)(op, self._variables)
        block = op.regions[0].blocks[0]
        if len(given) > 1:
            raise NotRead("a loop carries several values")
        self._variables[block.arguments[0]] = loop
        start = self._expression(given[0]) if given else None
        if start is not None:
            self._values[block.arguments[1]] = _Accumulator()
        before = len(self.statements)
        self._block(block, (*around, loop))
        if start is not None:
            if len(self.statements) > before:
                raise NotRead("a loop both stores and carries a value")
            loads = (given[0], *self._operands(block))
            self._values[op.results[0]] = self._carried(block, start, (*around, loop), loads)

    def check_loads(self) -> None:
        """Refuses values that were loaded before something else was stored where they came from."""
        for value, used, loops in self._used:
            memref, loaded, around = self._loads[value]
            times = [time for stored, time in self._stores if stored == memref]
            if loops != around and times:
                raise NotRead("a value is loaded outside of the loop that uses it, and stored to in the nest")
            if any(loaded < time < used for time in times):
                raise NotRead("a value is loaded, and overwritten before it is used")

    def _block(self, block: Any, loops: tuple[Loop, ...]) -> None:
        for one in block.operations:
            op = one.operation
            self._time += 1
            if op.name in LOOPS:
                self.loop(op, loops)
            elif op.name in _LOADS:
                access = Access(op.operands[0], self._subscripts(op, 1))
                self._values[op.results[0]] = access
                self._loads[op.results[0]] = (access.memref, self._time, loops)
            elif op.name in _STORES:
                self._store(op, Access(op.operands[1], self._subscripts(op, 2)), loops)
            elif op.name == "arith.constant":
                literal, _, kind = str(op.attributes["value"]).partition(" : ")
                self._values[op.results[0]] = Constant(literal, kind)
            elif op.name in ARITHMETIC:
                operands = tuple(self._expression(v, accumulator=True) for v in op.operands)
                kinds = (str(op.operands[0].type), str(op.results[0].type))
                self._values[op.results[0]] = Arithmetic(op.name, operands, kinds)
            elif op.name not in _YIELDS:
                raise NotRead(f"{op.name} is no arithmetic, load or store")

    def _store(self, op: Any, target: Access, loops: tuple[Loop, ...]) -> None:
        self._stores.append((target.memref, self._time))
        value = self._values.get(op.operands[0])
        if not isinstance(value, _Carried):
            self._add(Statement(loops, target, self._expression(op.operands[0])), self._operands_of(op), loops)
            return
        if value.loops[:-1] != loops:
            raise NotRead("what a loop carries is stored inside of another loop")
        if value.start != target:
            if not isinstance(value.start, (Scalar, Constant)):
                raise NotRead("a sum begins with something that is neither a number nor what it is added to")
            self._add(Statement(loops, target, value.start), [], loops)
        total = Arithmetic(value.name, (target, value.added), (value.kind, value.kind))
        self._add(Statement(value.loops, target, total), list(value.loads[1:]), value.loops)
        if value.start == target:
            self._used.append((value.loads[0], self._time, loops))

    def _add(self, statement: Statement, loaded: list[Any], loops: tuple[Loop, ...]) -> None:
        self.statements.append(statement)
        self._used += [(value, self._time, loops) for value in loaded]

    def _operands(self, block: Any) -> list[Any]:
        """The loaded values that a block's last operation depends on."""
        return self._operands_of(block.operations[len(block.operations) - 1].operation)

    def _operands_of(self, op: Any) -> list[Any]:
        found, left = [], [v for v in op.operands if not isinstance(v.type, ir.MemRefType)]
        while left:
            value = left.pop()
            if value in self._loads:
                found.append(value)
            elif isinstance(self._values.get(value), Arithmetic):
                left += value.owner.operands
        return found

    def _subscripts(self, op: Any, first: int) -> tuple[Loop, ...]:
        indices = list(op.operands)[first:]
        if op.name.startswith("affine."):
            amap = op.attributes["map"].value
            if amap.n_symbols or not all(isinstance(e, ir.AffineDimExpr) for e in amap.results):
                raise NotRead("a subscript is no plain loop variable")
            indices = [indices[ir.AffineDimExpr(e).position] for e in amap.results]
        if not all(index in self._variables for index in indices):
            raise NotRead("a subscript is no plain loop variable")
        return tuple(self._variables[index] for index in indices)

    def _expression(self, value: Any, accumulator: bool = False) -> Any:
        found = self._values.get(value)
        if found is None:
            if value in self._variables:
                raise NotRead("a loop variable is computed with")
            return Scalar(value)
        if isinstance(found, _Carried) or (isinstance(found, _Accumulator) and not accumulator):
            raise NotRead("what a loop carries is computed with")
        return found

    def _carried(self, block: Any, start: Expression, loops: tuple[Loop, ...], loads: tuple[Any, ...]) -> _Carried:
        """What comes out of a loop that adds to what it carries."""
        yielded = self._values.get(block.operations[len(block.operations) - 1].operation.operands[0])
        if not isinstance(yielded, Arithmetic) or yielded.name not in SUMS:
            raise NotRead("a loop carries something other than a sum")
        mine = [isinstance(operand, _Accumulator) for operand in yielded.operands]
        if sum(mine) != 1:
            raise NotRead("a loop carries something other than a sum")
        added = yielded.operands[mine.index(False)]
        if not _is_complete(added):
            raise NotRead("what a loop carries is used twice")
        return _Carried(start, added, yielded.name, yielded.kinds[1], loops, loads)


def _is_complete(expression: Any) -> bool:
    """Whether an expression does without what a loop carries."""
    if isinstance(expression, Arithmetic):
        return all(map(_is_complete, expression.operands))
    return not isinstance(expression, _Accumulator)


def _affine_bounds(op: Any, variables: dict[Any, Loop]) -> tuple[Loop, list[Any]]:
    """(a loop, what its first iteration is given)."""
    lows, highs, _ = list(op.attributes["operandSegmentSizes"])
    operands = list(op.operands)
    low, high = (op.attributes[name].value for name in ("lowerBoundMap", "upperBoundMap"))
    if op.attributes["step"].value != 1 or len(low.results) != 1 or len(high.results) != 1:
        raise NotRead("a loop has another step than 1, or several bounds")
    if _number(low.results[0]) != 0:
        raise NotRead("a loop begins with something other than 0")
    given, expression = operands[lows + highs :], high.results[0]
    extent = _number(expression)
    if extent is not None:
        return Loop(extent), given
    added = 0
    if isinstance(expression, ir.AffineAddExpr):
        number = _number(expression.rhs)
        expression, added = (expression.lhs, number) if number is not None else (expression, 0)
    if high.n_symbols or high.n_dims != 1 or not isinstance(expression, ir.AffineDimExpr):
        raise NotRead("a loop's bound is neither a number nor an outer variable and a number")
    below = variables.get(operands[lows])
    if below is None or below.below is not None:
        raise NotRead("a loop's bound is no variable of a loop of known extent")
    return Loop(added, below), given


def _scf_bounds(op: Any, variables: dict[Any, Loop]) -> tuple[Loop, list[Any]]:
    """As `_affine_bounds`; bounds are numbers only."""
    operands = list(op.operands)
    low, high, step = (_constant(value) for value in operands[:3])
    if low != 0 or high is None or step != 1:
        raise NotRead("a loop does not go from 0 to a number in steps of 1")
    return Loop(high), operands[3:]


def _number(expression: Any) -> int | None:
    return ir.AffineConstantExpr(expression).value if isinstance(expression, ir.AffineConstantExpr) else None


def _constant(value: Any) -> int | None:
    owner = getattr(value.owner, "operation", None)
    if owner is None or owner.name != "arith.constant":
        return None
    return ir.IntegerAttr(owner.attributes["value"]).value
