"""The structure of an MLIR module as a graph, at any stage from linalg to the LLVM dialect.

Three kinds of nodes. A *loop* has an extent; structured operations count as the nest of loops that they would be
lowered to, and loops of control flow are found as natural loops. A *statement* is all that runs in the body of one loop
outside its inner loops: counts of operations by category, element types, and how its memory accesses move with the
loops around it. A *buffer* is what accesses share. Nothing depends on names or layout of the text, and nodes stand in
an order that follows from what they are, not from where they are in the text, so that renaming values, reformatting and
reordering independent operations give the same graph.

Runs where MLIR's bindings are loaded; walking a module of a hundred operations takes a millisecond or two.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from mlir import ir

from foretune.errors import UnsupportedError
from foretune.passes.mlir.grammar.actions import NOT_STRUCTURED
from foretune.passes.mlir.grammar.structured import read_structured
from foretune.passes.mlir.grammar.types import identity_layout, is_memory, shape_of
from foretune.passes.mlir.graph import control_flow
from foretune.passes.mlir.graph.categories import CATEGORIES, CATEGORY_OF, KNOWN_DIALECTS, LOOPS, SKIPPED
from foretune.passes.mlir.graph.features import (
    ACCESS_KINDS,
    CHUNKED,
    INNER_LOOPS,
    KINDS,
    LIMITS,
    LOOP_FEATURES,
    POWERS,
    RESTS,
    STATEMENT_FEATURES,
)
from foretune.passes.mlir.graph.functions import Functions, read_functions, unknown_dialect
from foretune.passes.mlir.graph.linear import UNKNOWN, Form, Reference, Scope, element_bits, map_forms, view
from foretune.passes.mlir.graph.module_facts import NARROW, FactsSoFar, ModuleFacts
from foretune.passes.mlir.graph.ranges import Range, chosen, chosen_of_two, loop_shape, while_range
from foretune.passes.mlir.graph.scalars import loop_scalars
from foretune.program import Edge, Node, ProgramGraph

_UNKNOWN_TRIP = 8.0
_MAX_DEPTH = 64
_MAX_CALLS = 2000
_FLOAT_OPS = [CATEGORIES.index(c) for c in ("fadd", "fmul", "fdiv", "fminmax", "fma", "sqrt", "libm")]
_NO_LOOP = [0.0] * len(LOOP_FEATURES)
_INDEX = {name: i for i, name in enumerate(STATEMENT_FEATURES)}


@dataclass(eq=False)
class _Loop:
    trip: float
    kind: str
    step: float = 1.0
    carried: int = 0
    reduced: bool = False
    triangular: bool = False
    parent: _Loop | None = None
    number: int = 0
    statements: list[_Statement] = field(default_factory=list)
    loops: list[_Loop] = field(default_factory=list)
    features: list[float] = field(default_factory=list)


@dataclass(eq=False)
class _Statement:
    chain: tuple[_Loop, ...]
    counts: np.ndarray = field(default_factory=lambda: np.zeros(len(CATEGORIES)))
    vectors: np.ndarray = field(default_factory=lambda: np.zeros(len(CATEGORIES)))
    chunks: dict[str, float] = field(default_factory=lambda: dict.fromkeys(CHUNKED, 0.0))
    lanes: float = 1.0
    bits: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    accesses: list[tuple[bool, Reference, Form, float]] = field(default_factory=list)
    structured: bool = False
    ops: list[Any] = field(default_factory=list)  # of the bindings, for explanations


_WITHOUT_REGIONS = ("llvm.", "arith.", "math.")
_GROUP_OF_CHUNK = {CATEGORIES.index(c): group for group, names in CHUNKED.items() for c in names}


@dataclass(frozen=True)
class ModuleGraph:
    """What a module is, as the cost model sees it.

    Attributes:
        graph: its structure.
        statements: for each statement, in the order of the nodes, the operations that it stands for and the extents of
            the loops around it.
        facts: what the structure leaves out.
    """

    graph: ProgramGraph
    statements: list[tuple[list[Any], tuple[float, ...]]]
    facts: ModuleFacts


def program_graph(module: ir.Module) -> ProgramGraph:
    """The graph of a module.

    Raises:
        UnsupportedError: it has operations of a dialect that is not modelled.
    """
    return read_module(module).graph


def read_module(module: ir.Module, values: Sequence[int] = ()) -> ModuleGraph:
    """The graph of a module, what its statements stand for, and what the graph leaves out; see `program_graph`.

    Args:
        module: it.
        values: of the integer arguments of functions that are called from outside, from left to right.
    """
    functions = read_functions(module)
    walker = _Walker(functions, values)
    walker.facts.functions = len(functions.roots)
    for root in functions.roots:
        walker.scope = Scope(roots=walker.scope.roots)
        walker.function(root)
    return ModuleGraph(*_assemble(walker.statements, walker.arguments), walker.facts.frozen())


class _Walker:
    def __init__(self, functions: Functions, values: Sequence[int] = ()) -> None:
        self.scope = Scope()
        self.loops: list[_Loop] = []
        self.statements: list[_Statement] = []
        self.arguments: set[int] = set()
        self.facts = FactsSoFar()
        self._functions, self._values = functions, values
        self._callers: list[Any] = []
        self._calls = 0
        self._kinds: dict[Any, tuple[float, float, str]] = {}

    # -- structure ---------------------------------------------------------------------------------

    def function(self, root: Any) -> None:
        """A function that is called from outside."""
        blocks = list(root.regions[0].blocks)
        end = blocks[-1].operations[len(blocks[-1].operations) - 1].operation
        self.facts.returned += sum(_words(v.type) for v in end.operands) if end.name == "func.return" else 0
        for argument in blocks[0].arguments:
            if is_memory(argument.type) or str(argument.type).startswith("!llvm.ptr"):
                self._look_at(argument.type)
                self.arguments.add(self.scope.reference(argument).root)
        given = dict(
            zip((a for a in blocks[0].arguments if isinstance(a.type, (ir.IndexType, ir.IntegerType))), self._values)
        )
        self.scope.forms.update({argument: Form(float(value)) for argument, value in given.items()})
        for scalar in loop_scalars(root):
            if scalar.value is not None and blocks[0].arguments[scalar.position] not in given:
                self.scope.forms[blocks[0].arguments[scalar.position]] = Form(float(scalar.value))
                self.facts.note(
                    f"argument {scalar.position} of @{root.attributes['sym_name'].value} is taken as {scalar.value}:"
                    f" {scalar.why}"
                )
        self._callers = [root]
        if len(blocks) == 1:
            self._block(blocks[0], self._statement(()))
            return
        self._control_flow(blocks, ())

    def call(self, op: Any, statement: _Statement) -> None:
        """What a function does, as often as it is called; a call of what is not in the module stays one."""
        name, callee = self._functions.callee(self._callers[-1], op)
        if callee is None:
            self.facts.outside.add(name or "a pointer")
            return
        if callee in self._callers or self._calls >= _MAX_CALLS:
            self.facts.note(
                (
                    f"@{name} calls itself, which is counted once"
                    if callee in self._callers
                    else f"more than {_MAX_CALLS} calls: the others are counted as calls only"
                ),
                wide=True,
            )
            return
        self._calls += 1
        statement.counts[_CALL] -= 1  # LLVM inlines most
        statement.ops.pop()
        blocks = list(callee.regions[0].blocks)
        for argument, given in zip(blocks[0].arguments, op.operands):
            self.scope.forms[argument] = self.scope.form(given)
            if is_memory(given.type) or str(given.type).startswith("!llvm.ptr"):
                self.scope.references[argument] = self.scope.reference(given)
        self._callers.append(callee)
        if len(blocks) == 1:
            self._block(blocks[0], statement)
        else:
            self._control_flow(blocks, statement.chain)
        self._callers.pop()
        end = blocks[-1].operations[len(blocks[-1].operations) - 1].operation
        for result, given in zip(op.results, end.operands if end.name in ("func.return", "llvm.return") else ()):
            self.scope.forms[result] = self.scope.form(given)
            if given in self.scope.references:
                self.scope.references[result] = self.scope.references[given]

    def _statement(self, chain: tuple[_Loop, ...]) -> _Statement:
        if len(chain) > _MAX_DEPTH:
            raise UnsupportedError(f"loops may be nested {_MAX_DEPTH} deep, but are nested deeper")
        made = _Statement(chain)
        self.statements.append(made)
        if chain:
            chain[-1].statements.append(made)
        return made

    def _loop(self, chain: tuple[_Loop, ...], loop: _Loop) -> tuple[_Loop, ...]:
        loop.parent = chain[-1] if chain else None
        loop.number = len(self.loops)
        self.loops.append(loop)
        if chain:
            chain[-1].loops.append(loop)
        return (*chain, loop)

    def _control_flow(self, blocks: list[Any], chain: tuple[_Loop, ...]) -> None:
        """Blocks with branches: their natural loops, then each block's operations with the innermost loop around it."""
        found = control_flow.natural_loops(blocks)
        statement_of: dict[int, _Statement] = {-1: self._statement(chain)}
        chains: dict[int, tuple[_Loop, ...]] = {-1: chain}
        for i, natural in enumerate(found):  # outer ones first
            loop = _Loop(_UNKNOWN_TRIP, "cfg")
            chains[i] = self._loop(chains[natural.parent], loop)
            statement_of[i] = self._statement(chains[i])
        pending = set(range(len(found)))
        for b, block in enumerate(blocks):
            inner = control_flow.innermost(found, b)
            for i in [i for i in pending if found[i].header == b]:
                pending.discard(i)
                self._induction(blocks, found[i], chains[i][-1])
            self._block(block, statement_of[inner])

    def _induction(self, blocks: list[Any], natural: Any, loop: _Loop) -> None:
        """Finds the loop's variable, extent and step, and what else it carries."""
        carried = control_flow.carried(blocks, natural, self.scope.forms)
        loop.carried = carried.others
        if carried.variable is not None:
            start, bound = (
                carried.start,
                self.scope.form(carried.bound) if not isinstance(carried.bound, Form) else carried.bound,
            )
            low, high = self.scope.mean(start), self.scope.mean(bound)
            if low is None or high is None or not carried.step:
                self.facts.unknown_trip(
                    blocks[natural.header].operations[0].operation, _UNKNOWN_TRIP, "a loop of blocks"
                )
            else:
                loop.trip, loop.step = max(0.0, math.ceil((high - low) / carried.step)), carried.step
                loop.triangular = bool(start.coefficients or bound.coefficients)
                self.scope.forms[carried.variable] = Form(0.0, ((loop.number, 1.0),))
                self.scope.middles[loop.number] = low + (loop.trip - 1) / 2 * carried.step
                self.scope.spans[loop.number] = (low, carried.step, loop.trip)
        else:
            self.facts.unknown_trip(blocks[natural.header].operations[0].operation, _UNKNOWN_TRIP, "a loop of blocks")

    # -- operations ----------------------------------------------------------------------------------

    def _block(self, block: Any, statement: _Statement) -> None:
        for view_ in block.operations:
            op = view_.operation
            name = op.name
            if name in LOOPS:
                self._count_loop(op, name, statement)
            elif name.startswith("linalg.") and name not in NOT_STRUCTURED:
                self._structured(op, statement)
            else:
                self._plain(op, name, statement)

    def _plain(self, op: Any, name: str, statement: _Statement) -> None:
        category = CATEGORY_OF.get(name)
        if category is None:
            if name == "func.return":  # what a tensor becomes that is returned is an argument, too
                self.arguments.update(self.scope.references[v].root for v in op.operands if v in self.scope.references)
            if name == "scf.reduce":  # what iterations are combined by
                for region in op.regions:
                    self._block(region.blocks[0], statement)
                return
            if name in SKIPPED:
                return
            if name.split(".", 1)[0] not in KNOWN_DIALECTS:
                raise UnsupportedError(unknown_dialect(name))
            if name.startswith("transform."):
                return
            category = len(CATEGORIES) - 1
            self.facts.unknown_operations.add(name)
        self._count(op, category, statement)
        handler = _HANDLERS.get(name)
        if handler is not None and handler(self, op, statement):
            return
        if not name.startswith(_WITHOUT_REGIONS):
            for region in op.regions:  # the branches of an if, the body of a mask
                for block in region.blocks:
                    self._block(block, statement)

    def _count(self, op: Any, category: int, statement: _Statement) -> None:
        statement.counts[category] += 1
        statement.ops.append(op)
        results = op.results
        kind = results[0].type if len(results) else op.operands[0].type if len(op.operands) else None
        if kind is None:
            return
        lanes, chunks, bits = self._kinds.get(kind) or self._look_at(kind)
        if lanes:
            statement.vectors[category] += 1
            statement.lanes = max(statement.lanes, lanes)
            group = _GROUP_OF_CHUNK.get(category)
            if group is not None:
                statement.chunks[group] += chunks
        if category < 25 and category != 18:
            statement.bits[bits] += 1

    def _look_at(self, kind: Any) -> tuple[float, float, str]:
        """(lanes of a vector, 0 of anything else; registers of 512 bits that it takes; which numbers it holds)."""
        lanes = float(math.prod(kind.shape)) if isinstance(kind, ir.VectorType) else 0.0
        if isinstance(kind, ir.RankedTensorType) and "sparse" in str(kind.encoding or ""):
            raise UnsupportedError(
                f"{kind} is sparse: the cost model knows dense tensors only; run --sparsifier or"
                " --sparse-tensor-conversion of mlir-opt first"
            )
        element = str(getattr(kind, "element_type", kind))
        if (element in NARROW and (element != "i1" or is_memory(kind))) or element.startswith(
            "complex"
        ):  # comparisons give i1, too
            self.facts.elements.add(element)
        self._kinds[kind] = (lanes, max(1.0, lanes * element_bits(kind) / 512) if lanes else 0.0, _type_group(kind))
        return self._kinds[kind]

    def _count_loop(self, op: Any, name: str, statement: _Statement) -> None:
        shape = loop_shape(op, self.scope)
        block = op.regions[0].blocks[0]
        inner = self._enter(op, shape.kind, shape.ranges, list(block.arguments), len(shape.carried), statement)
        for argument, init, result in zip(
            list(block.arguments)[len(shape.ranges) :], shape.carried, list(op.results) + [None] * len(shape.carried)
        ):
            if is_memory(init.type):
                self.scope.references[argument] = self.scope.reference(init)
                if result is not None:
                    self.scope.references[result] = self.scope.reference(init)
        self._block(block, inner)

    def _enter(
        self, op: Any, kind: str, ranges: list[Range], variables: list[Any], carried: int, statement: _Statement
    ) -> _Statement:
        """The statement inside of one or more new loops."""
        statement.counts[CATEGORIES.index("loop")] += 1
        chain = statement.chain
        for at, variable in zip(ranges, variables):
            first, last = self.scope.mean(at.low), self.scope.mean(at.high)
            if first is not None and last is not None and at.step:
                trip = max(0.0, (last - first) / at.step)
                averaged = not (float(first).is_integer() and float(last).is_integer())
            else:
                trip, averaged = _UNKNOWN_TRIP, False
                self.facts.unknown_trip(op, _UNKNOWN_TRIP)
            triangular = bool(at.low.coefficients or at.high.coefficients)
            loop = _Loop(
                trip if triangular or averaged else float(math.ceil(trip - 1e-9)),
                kind,
                at.step,
                carried,
                False,
                triangular,
            )
            chain = self._loop(chain, loop)
            self.scope.forms[variable] = Form(0.0, ((loop.number, 1.0),))
            self.scope.middles[loop.number] = (first or 0.0) + max(0.0, loop.trip - 1) / 2 * at.step
            self.scope.spans[loop.number] = (first or 0.0, at.step, loop.trip)
        inner = self._statement(chain)
        inner.ops.append(op)
        return inner

    def while_loop(self, op: Any, statement: _Statement) -> bool:
        """A loop with a condition of its own: so often as its counter tells."""
        before, after = op.regions[0].blocks[0], op.regions[1].blocks[0]
        for argument, given in zip(before.arguments, op.operands):
            if is_memory(given.type):
                self.scope.references[argument] = self.scope.reference(given)
        statement.counts[_BRANCH] -= 1
        statement.ops.pop()
        found = while_range(op, self.scope)
        at = found[2] if found is not None else Range(UNKNOWN, UNKNOWN)
        variable = before.arguments[found[0]] if found is not None else None
        inner = self._enter(op, "scf", [at], [variable], len(op.operands) - (found is not None), statement)
        if found is not None:
            self.scope.forms[after.arguments[found[1]]] = self.scope.forms[variable]
        self._block(before, inner)
        self._block(after, inner)
        return True

    def _structured(self, op: Any, statement: _Statement) -> None:
        read = read_structured(op)
        operands = list(op.operands)
        references = [self.scope.reference(v) if is_memory(v.type) else None for v in operands]
        extents: list[float] = [*read.extents]
        for amap, reference in zip(read.maps, references):
            for expr, extent in zip(amap.results, reference.extents if reference is not None else ()):
                if isinstance(expr, ir.AffineDimExpr) and extents[expr.position] < 0:
                    extents[expr.position] = extent
        inner, forms = self._nest(op, extents, read.reduced, statement)
        self._structured_body(op, read, operands, references, forms, inner)
        if len(op.results):
            for result, out in zip(op.results, operands[len(operands) - read.num_outputs :]):
                self.scope.references[result] = self.scope.reference(out)

    def _nest(
        self, op: Any, extents: Sequence[float], reduced: frozenset[int], statement: _Statement
    ) -> tuple[_Statement, list[Form]]:
        """The statement in a nest of loops from 0, and its variables."""
        chain, forms = statement.chain, []
        for d, extent in enumerate(extents):
            if extent < 0:
                self.facts.unknown_trip(op, _UNKNOWN_TRIP)
            loop = _Loop(float(extent) if extent >= 0 else _UNKNOWN_TRIP, "structured", reduced=d in reduced)
            chain = self._loop(chain, loop)
            forms.append(Form(0.0, ((loop.number, 1.0),)))
            self.scope.middles[loop.number] = max(0.0, loop.trip - 1) / 2
            self.scope.spans[loop.number] = (0.0, 1.0, loop.trip)
        inner = self._statement(chain)
        inner.structured = True
        inner.ops.append(op)
        return inner, forms

    def _copy(self, op: Any, source: Any, target: Any, extents: Sequence[float], statement: _Statement) -> _Statement:
        """Elements written one by one: those of `source` where there is one."""
        inner, forms = self._nest(op, extents, frozenset(), statement)
        for store, value in ((False, source), (True, target)):
            if value is not None:
                reference = self.scope.reference(value)
                inner.counts[_STORE if store else _LOAD] += 1
                inner.accesses.append(
                    (store, reference, self.scope.position(reference, forms), element_bits(value.type) / 8)
                )
                inner.bits[_type_group(value.type)] += 1
                self._look_at(value.type)
        return inner

    def pad(self, op: Any, statement: _Statement) -> bool:
        """A buffer that is filled, and then written over in its middle."""
        result, source = op.results[0], op.operands[0]
        self._copy(op, None, result, _shape(result), statement)
        self._copy(op, source, result, _shape(source), statement)
        return True

    def generate(self, op: Any, statement: _Statement) -> bool:
        """Elements that are computed from their indices."""
        result = op.results[0]
        inner = self._copy(op, None, result, _shape(result), statement)
        block = op.regions[0].blocks[0] if len(op.regions) else None
        for variable, loop in zip(block.arguments if block is not None else (), inner.chain[len(statement.chain) :]):
            self.scope.forms[variable] = Form(0.0, ((loop.number, 1.0),))
        if block is not None:
            self._block(block, inner)
        return True

    def concat(self, op: Any, statement: _Statement) -> bool:
        """Tensors that are copied behind each other."""
        for source in op.operands:
            self._copy(op, source, op.results[0], _shape(source), statement)
        return True

    def repack(self, op: Any, statement: _Statement) -> bool:
        """Elements that are written block by block, or read so: neighbours on one side are far apart on the other."""
        source, target = op.operands[0], op.operands[1]
        packs = op.name == "linalg.pack"
        inner, forms = self._nest(op, _shape(target if packs else source), frozenset(), statement)
        for store, value in ((False, source), (True, target)):
            reference = self.scope.reference(value)
            where = self.scope.position(reference, forms) if store == packs else UNKNOWN
            inner.counts[_STORE if store else _LOAD] += 1
            inner.accesses.append((store, reference, where, element_bits(value.type) / 8))
            inner.bits[_type_group(value.type)] += 1
            self._look_at(value.type)
        for result in op.results:
            self.scope.references[result] = self.scope.reference(target)
        return True

    def copy(self, op: Any, statement: _Statement) -> bool:
        """Memory that lies together is copied by the C library, other memory by loops."""
        source, target = op.operands[0], op.operands[1]
        shape = shape_of(source.type)
        if shape is None or any(n < 0 for n in shape):
            self.facts.unknown_trip(op, _UNKNOWN_TRIP)
        elif any(memref.layout != identity_layout(memref) for memref in (source.type, target.type)):
            self._copy(op, source, target, shape, statement)
        else:
            self._library_copy(math.prod(shape) * element_bits(source.type) / 8, statement)
        return True

    def prints(self, op: Any, statement: _Statement) -> None:
        """What is printed, number by number."""
        numbers = float(sum(math.prod(shape_of(v.type) or [1]) for v in op.operands))
        self.facts.printed += numbers
        self.facts.printed_runs += numbers * math.prod(loop.trip for loop in statement.chain)

    def pointer_copy(self, op: Any, statement: _Statement) -> bool:
        """A copy of so many bytes, by the C library."""
        size = self.scope.mean(self.scope.form(op.operands[2]))
        if size is None:
            self.facts.unknown_trip(op, _UNKNOWN_TRIP)
        else:
            self._library_copy(size, statement)
        return True

    def _library_copy(self, num_bytes: float, statement: _Statement) -> None:
        self.facts.library_bytes += num_bytes * math.prod(loop.trip for loop in statement.chain)
        self.facts.largest_copy = max(self.facts.largest_copy, num_bytes)

    def _structured_body(
        self, op: Any, read: Any, operands: list[Any], references: list[Any], forms: list[Form], inner: _Statement
    ) -> None:
        if len(op.regions) and len(op.regions[0].blocks):
            block = op.regions[0].blocks[0]
            used = {v for o in block.operations for v in o.operation.operands}
            arguments = list(block.arguments)
            before = len(inner.ops)
            self._block(block, inner)
            del inner.ops[before:]
        else:
            used, arguments = set(), []
        first_out = len(operands) - read.num_outputs
        for i, (amap, operand, reference) in enumerate(zip(read.maps, operands, references)):
            if reference is None:
                continue
            where, size = (
                self.scope.position(reference, map_forms(amap, forms, self.scope)),
                element_bits(operand.type) / 8,
            )
            if i >= len(arguments) or arguments[i] in used:
                inner.counts[CATEGORIES.index("load")] += 1
                inner.accesses.append((False, reference, where, size))
            if i >= first_out:
                inner.counts[CATEGORIES.index("store")] += 1
                inner.accesses.append((True, reference, where, size))
                inner.bits[_type_group(operand.type)] += 1

    # -- what single operations tell ---------------------------------------------------------------

    def constant(self, op: Any, statement: _Statement) -> None:
        """A number; of vectors and tensors nothing is known."""
        value = op.attributes["value"] if "value" in op.attributes else None  # noqa: SIM401 - attributes have no get
        if isinstance(value, ir.IntegerAttr):
            self.scope.forms[op.results[0]] = Form(float(value.value))

    def add(self, op: Any, statement: _Statement) -> None:
        """A sum or difference of index values."""
        a, b = (self.scope.form(v) for v in op.operands)
        if a.known or b.known:
            self.scope.forms[op.results[0]] = a.plus(b, -1.0 if "sub" in op.name else 1.0)

    def multiply(self, op: Any, statement: _Statement) -> None:
        """A product with a constant, or a shift."""
        a, b = (self.scope.form(v) for v in op.operands)
        if "shl" in op.name:
            b = Form(2.0**b.constant, (), b.known and not b.coefficients and 0 <= b.constant < 63)
        if b.known and not b.coefficients:
            self.scope.forms[op.results[0]] = a.times(b.constant)
        elif a.known and not a.coefficients:
            self.scope.forms[op.results[0]] = b.times(a.constant)

    def same(self, op: Any, statement: _Statement) -> None:
        """A cast; those between what two passes have left may be of nothing, or of several values."""
        if len(op.operands) != 1:
            return
        source = op.operands[0]
        if source in self.scope.forms:
            self.scope.forms[op.results[0]] = self.scope.forms[source]
        if is_memory(source.type):
            base = self.scope.reference(source)
            kind = op.results[0].type
            if len(shape_of(kind) or ()) == len(base.strides):
                known = base.extents or tuple(map(float, shape_of(source.type) or ()))
                self.scope.references[op.results[0]] = replace(base, extents=known)
            else:
                fresh = self.scope.new_root(kind)
                self.scope.references[op.results[0]] = Reference(base.root, base.offset, fresh.strides, base.num_bytes)

    def allocate(self, op: Any, statement: _Statement) -> None:
        """A buffer whose unknown extents are operands."""
        kind = op.results[0].type
        count = sum(extent < 0 for extent in shape_of(kind) or ())
        if count:
            self.scope.references[op.results[0]] = self.scope.new_root(
                kind, [self.scope.mean(self.scope.form(v)) for v in list(op.operands)[:count]]
            )

    def dimension(self, op: Any, statement: _Statement) -> None:
        """An extent of a tensor or memref."""
        index = self.scope.form(op.operands[1])
        if index.known and not index.coefficients:
            self.scope.forms[op.results[0]] = self.scope.extent(op.operands[0], int(index.constant))

    def apply(self, op: Any, statement: _Statement) -> None:
        """An affine map of index values; of a minimum or maximum, the mean."""
        forms = map_forms(op.attributes["map"].value, [self.scope.form(v) for v in op.operands], self.scope)
        if op.name == "affine.apply":
            self.scope.forms[op.results[0]] = forms[0]
        else:
            self.scope.forms[op.results[0]] = chosen(forms, min if op.name == "affine.min" else max, self.scope)

    def choose(self, op: Any, statement: _Statement) -> None:
        """The smaller or larger of two index values."""
        form = chosen_of_two(op, self.scope)
        if form is not None:
            self.scope.forms[op.results[0]] = form

    def subview(self, op: Any, statement: _Statement) -> None:
        """A part of a buffer."""
        self.scope.references[op.results[0]] = view(self.scope, op, op.operands[0])

    def insert_slice(self, op: Any, statement: _Statement) -> None:
        """A part of a tensor is replaced; most bufferize in place."""
        self.scope.references[op.results[0]] = self.scope.reference(op.operands[1])

    def load_or_store(self, op: Any, statement: _Statement) -> None:
        """An access of `memref`, `affine`, `vector` or `tensor`."""
        name, operands = op.name, list(op.operands)
        store = CATEGORY_OF[name] == _STORE
        if name == "tensor.insert" or store:
            at, rest, value = operands[1], operands[2:], operands[0].type
        else:
            at, rest, value = operands[0], operands[1:], op.results[0].type
        if name in ("vector.maskedstore", "vector.scatter", "vector.compressstore"):
            at, rest, value = operands[0], operands[1:], operands[-1].type
        reference = self.scope.reference(at)
        forms = [self.scope.form(v) for v in rest]
        if "map" in op.attributes:
            forms = map_forms(op.attributes["map"].value, forms, self.scope)
        size = element_bits(value) / 8 * (float(math.prod(value.shape)) if isinstance(value, ir.VectorType) else 1.0)
        statement.accesses.append(
            (store, reference, self.scope.position(reference, forms[: len(reference.strides)]), size)
        )
        if store and len(op.results):
            self.scope.references[op.results[0]] = reference

    def pointer(self, op: Any, statement: _Statement) -> None:
        """An address of the LLVM dialect: the form counts elements of the type that is stepped over."""
        base = self.scope.reference(op.operands[0])
        raw, rest = list(op.attributes["rawConstantIndices"]), iter(list(op.operands)[1:])
        forms = [self.scope.form(next(rest, None)) if v == -(2**31) else Form(float(v)) for v in raw]
        where = base.offset.plus(forms[0]) if len(forms) == 1 else base.offset.plus(UNKNOWN)
        self.scope.references[op.results[0]] = Reference(base.root, where, (1.0,), base.num_bytes)

    def pointer_access(self, op: Any, statement: _Statement) -> None:
        """A load or store of the LLVM dialect."""
        store = CATEGORY_OF[op.name] == _STORE
        operands = list(op.operands)
        at, value = (operands[1], operands[0].type) if store else (operands[0], op.results[0].type)
        reference = self.scope.reference(at)
        size = element_bits(value) / 8 * (float(math.prod(value.shape)) if isinstance(value, ir.VectorType) else 1.0)
        statement.accesses.append((store, reference, reference.offset, size))

    def pointer_part(self, op: Any, statement: _Statement) -> None:
        """A member of a descriptor: pointers lead to one buffer, whatever the member."""
        source = op.operands[0]
        if source in self.scope.references:
            self.scope.references[op.results[0]] = self.scope.references[source]

    def descriptor(self, op: Any, statement: _Statement) -> None:
        """A descriptor with another member set: it stands for the pointer put into it."""
        container, value = op.operands[0], op.operands[1]
        if str(value.type).startswith("!llvm.ptr"):
            self.scope.references[op.results[0]] = self.scope.reference(value)
        elif container in self.scope.references:
            self.scope.references[op.results[0]] = self.scope.references[container]


_LOAD, _STORE, _CALL, _BRANCH = (CATEGORIES.index(name) for name in ("load", "store", "call", "branch"))
_HANDLERS = {
    **dict.fromkeys(("arith.constant", "llvm.mlir.constant", "index.constant"), _Walker.constant),
    **dict.fromkeys(("arith.addi", "arith.subi", "llvm.add", "llvm.sub", "index.add", "index.sub"), _Walker.add),
    **dict.fromkeys(("arith.muli", "llvm.mul", "index.mul", "arith.shli", "llvm.shl"), _Walker.multiply),
    **dict.fromkeys(
        (
            "arith.index_cast",
            "arith.index_castui",
            "builtin.unrealized_conversion_cast",
            "llvm.sext",
            "llvm.zext",
            "llvm.trunc",
            "memref.cast",
            "tensor.cast",
            "memref.collapse_shape",
            "memref.expand_shape",
            "tensor.collapse_shape",
            "tensor.expand_shape",
            "bufferization.to_tensor",
            "bufferization.to_buffer",
            "memref.memory_space_cast",
        ),
        _Walker.same,
    ),
    **dict.fromkeys(
        (
            "arith.minsi",
            "arith.maxsi",
            "arith.minui",
            "arith.maxui",
            "arith.select",
            "llvm.select",
            "llvm.intr.smin",
            "llvm.intr.smax",
            "llvm.intr.umin",
            "llvm.intr.umax",
        ),
        _Walker.choose,
    ),
    **dict.fromkeys(("func.call", "llvm.call", "func.call_indirect"), _Walker.call),
    **dict.fromkeys(("llvm.intr.memcpy", "llvm.intr.memmove", "llvm.intr.memset"), _Walker.pointer_copy),
    **dict.fromkeys(("memref.alloc", "memref.alloca", "tensor.empty", "bufferization.alloc_tensor"), _Walker.allocate),
    **dict.fromkeys(("memref.dim", "tensor.dim"), _Walker.dimension),
    "scf.while": _Walker.while_loop,
    "tensor.pad": _Walker.pad,
    "tensor.generate": _Walker.generate,
    "tensor.splat": _Walker.generate,
    "tensor.concat": _Walker.concat,
    **dict.fromkeys(("linalg.pack", "linalg.unpack"), _Walker.repack),
    "memref.copy": _Walker.copy,
    "vector.print": _Walker.prints,
    **dict.fromkeys(("affine.apply", "affine.min", "affine.max"), _Walker.apply),
    **dict.fromkeys(("memref.subview", "tensor.extract_slice"), _Walker.subview),
    "tensor.insert_slice": _Walker.insert_slice,
    **dict.fromkeys(
        [
            n
            for n, c in CATEGORY_OF.items()
            if c in (_LOAD, _STORE) and not n.startswith("llvm.") and n not in ("memref.prefetch", "memref.atomic_rmw")
        ],
        _Walker.load_or_store,
    ),
    **dict.fromkeys(
        [n for n, c in CATEGORY_OF.items() if c in (_LOAD, _STORE) and n.startswith("llvm.")], _Walker.pointer_access
    ),
    "llvm.getelementptr": _Walker.pointer,
    "llvm.extractvalue": _Walker.pointer_part,
    "llvm.insertvalue": _Walker.descriptor,
}


def _shape(value: Any) -> list[int]:
    """The extents of a tensor or memref whose rank is known."""
    return cast("list[int]", shape_of(value.type))


def _words(kind: Any) -> int:
    """Of a value that is returned; a memref is two pointers, an offset, extents and strides."""
    return 3 + 2 * kind.rank if isinstance(kind, ir.MemRefType) else 1


def _type_group(kind: Any) -> str:
    kind = getattr(kind, "element_type", kind)
    text = str(kind)
    return (
        text
        if text in ("f32", "f64", "i32")
        else "i64"
        if text in ("i64", "index") or text.startswith("!")
        else "narrow"
    )


# -- features ----------------------------------------------------------------------------------------


def _log(x: float) -> float:
    return math.log2(1 + max(0.0, x))


def _loop_features(loop: _Loop | None) -> list[float]:
    if loop is None:
        return _NO_LOOP
    if loop.features:
        return loop.features
    trip = loop.trip
    whole = trip == int(trip)
    loop.features = [
        1.0,
        _log(trip),
        min(trip, 64.0) / 16,
        *(float(whole and trip % p == 0) for p in POWERS),
        *(trip % p / p for p in RESTS),
        *(float(trip <= n) for n in LIMITS),
        _log(abs(loop.step)),
        min(loop.carried, 16) / 4,
        float(loop.reduced),
        *(float(loop.kind == k) for k in KINDS),
        float(loop.triangular),
    ]
    return loop.features


def _move(form: Form, loop: _Loop | None) -> str:
    """How an access moves with a loop."""
    if not form.known:
        return "unknown"
    step = abs(dict(form.coefficients).get(loop.number, 0.0) * loop.step) if loop is not None else 0.0
    return "invariant" if step == 0 else "contiguous" if step == 1 else "near" if step <= 16 else "far"


def _statement_features(statement: _Statement, arguments: set[int]) -> list[float]:
    """Features of a statement; `arguments` are the roots that callers own, which may overlap."""
    row = [0.0] * len(STATEMENT_FEATURES)
    chain = statement.chain
    inner, outer = (chain[-1] if chain else None), (chain[-2] if len(chain) > 1 else None)
    row[: len(CATEGORIES)] = statement.counts.tolist()
    row[len(CATEGORIES) : 2 * len(CATEGORIES)] = statement.vectors.tolist()
    put = row.__setitem__
    for group, chunks in statement.chunks.items():
        put(_INDEX[f"chunks.{group}"], chunks)
    put(_INDEX["log_lanes"], math.log2(statement.lanes))
    for group in ("f32", "f64", "i32", "i64", "narrow"):
        put(_INDEX[group], float(statement.bits[group]))
    operations = float(statement.counts.sum())
    runs = math.prod(loop.trip for loop in chain)
    put(_INDEX["operations"], operations)
    put(_INDEX["log_operations"], _log(operations))
    put(_INDEX["log_flops"], _log(runs * float(statement.counts[_FLOAT_OPS].sum())))
    read, written, offsets = set(), set(), defaultdict(set)
    footprint = largest = 0.0
    for store, reference, form, size in statement.accesses:
        word = "store" if store else "load"
        row[_INDEX[f"{word}.{_move(form, inner)}"]] += 1
        move = _move(form, outer)
        if move in ACCESS_KINDS[:3]:
            row[_INDEX[f"{word}.outer.{move}"]] += 1
        (written if store else read).add(reference.root)
        offsets[(reference.root, form.coefficients, form.known)].add((store, form.constant))
        largest = max(largest, reference.num_bytes)
        touched = size
        moving = dict(form.coefficients)
        for loop in chain:
            if moving.get(loop.number):
                touched *= max(1.0, loop.trip)
        footprint += min(touched, reference.num_bytes or touched)
    put(_INDEX["roots_read"], float(len(read)))
    put(_INDEX["roots_written"], float(len(written)))
    shared = {root for root in read | written if root in arguments}
    put(_INDEX["arguments_read"], float(len(read & shared)))
    put(_INDEX["arguments_written"], float(len(written & shared)))
    put(_INDEX["argument_pairs"], float(sum(len(shared - {root}) for root in written & shared)))
    put(_INDEX["log_footprint"], _log(footprint))
    put(_INDEX["log_largest"], _log(largest))
    put(
        _INDEX["accumulates"],
        float(sum(1 for group in offsets.values() for store, c in group if store and (False, c) in group)),
    )
    put(
        _INDEX["recurs"],
        float(
            sum(
                1
                for group in offsets.values()
                for store, c in group
                if store and any(not s and k != c for s, k in group)
            )
        ),
    )
    put(_INDEX["alias_pairs"], float(sum(len((read | written) - {root}) for root in written)))
    put(_INDEX["distinct_loads"], float(sum(len({c for s, c in group if not s}) for group in offsets.values())))
    put(_INDEX["depth"], float(len(chain)))
    put(_INDEX["log_runs"], math.log2(max(runs, 1.0)))
    put(_INDEX["inner_loops"], float(len(inner.loops)) if inner is not None else 0.0)
    put(_INDEX["log_body"], _log(operations * (inner.trip if inner is not None else 1.0)))
    put(_INDEX["structured"], float(statement.structured))
    at = _INDEX["loop0.there"]
    for i in range(INNER_LOOPS):
        row[at : at + len(LOOP_FEATURES)] = _loop_features(chain[-1 - i] if i < len(chain) else None)
        at += len(LOOP_FEATURES)
    row[at] = math.log2(max(1.0, math.prod(loop.trip for loop in chain[:-INNER_LOOPS])))
    return row


def _assemble(
    statements: list[_Statement], arguments: set[int]
) -> tuple[ProgramGraph, list[tuple[list[Any], tuple[float, ...]]]]:
    """Nodes in an order of their own: by features, then by what is around them."""
    rows = [(s, tuple(_statement_features(s, arguments))) for s in statements if s.counts.any() or s.accesses]
    order = sorted(range(len(rows)), key=lambda i: _key(rows[i][1], rows[i][0]))
    rows = [rows[i] for i in order]
    used = _used_loops(rows)
    nodes = [Node("statement", f"s{i}", row) for i, (_, row) in enumerate(rows)]
    signature = {id(loop): _signature(loop) for loop in used}
    loop_order = sorted(used, key=lambda loop: signature[id(loop)])
    position = {id(loop): len(nodes) + i for i, loop in enumerate(loop_order)}
    nodes += [Node("loop", f"l{i}", tuple(_loop_features(loop))) for i, loop in enumerate(loop_order)]
    edges = [Edge(position[id(s.chain[-1])], i, "has") for i, (s, _) in enumerate(rows) if s.chain]
    edges += [
        Edge(position[id(loop.parent)], position[id(loop)], "nests") for loop in loop_order if loop.parent is not None
    ]
    first_buffer = len(nodes)
    buffers: dict[int, int] = {}
    facts: list[list[float]] = []
    for i, (statement, _) in enumerate(rows):
        inner = statement.chain[-1] if statement.chain else None
        for store, reference, form, size in sorted(
            statement.accesses, key=lambda a: (a[0], a[3], a[2].known, a[2].constant, len(a[2].coefficients))
        ):
            if reference.root not in buffers:
                buffers[reference.root] = len(facts)
                facts.append([_log(reference.num_bytes), _log(size), 0.0, 0.0])
            facts[buffers[reference.root]][3 if store else 2] += 1
            edges.append(
                Edge(
                    i,
                    first_buffer + buffers[reference.root],
                    "writes" if store else "reads",
                    (float(ACCESS_KINDS.index(_move(form, inner))), _log(size)),
                )
            )
    nodes += [Node("buffer", f"b{i}", tuple(row)) for i, row in enumerate(facts)]
    return ProgramGraph(tuple(nodes), tuple(edges)), [(s.ops, tuple(loop.trip for loop in s.chain)) for s, _ in rows]


def _key(row: tuple[float, ...], statement: _Statement) -> tuple:
    return (row, tuple((loop.trip, loop.kind) for loop in statement.chain))


def _used_loops(rows: Iterable[tuple[_Statement, Any]]) -> list[_Loop]:
    found: dict[int, _Loop] = {}
    for statement, _ in rows:
        for loop in statement.chain:
            found.setdefault(id(loop), loop)
    return list(found.values())


def _signature(loop: _Loop) -> tuple:
    """What a loop is and what is in it, without names and order."""
    inside = sorted(tuple(s.counts.tolist()) for s in loop.statements)
    return (
        loop.trip,
        loop.kind,
        loop.step,
        loop.carried,
        loop.reduced,
        tuple(sorted(_signature(child) for child in loop.loops)),
        tuple(inside),
    )
