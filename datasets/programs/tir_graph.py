"""TIR -> ProgramGraph: blocks, loops and buffers of an unscheduled task, and how they access each other.

The module is read by class and attribute names alone, so that TVM's own objects and the JSON that any
TVM release has written (`tir_json.py`) go the same way.

Node features (see `BLOCK_FEATURES`, `LOOP_FEATURES`, `BUFFER_FEATURES`) and edges:

- `in` loop -> block: the loop is around the block
- `nest` outer loop -> inner loop
- `read` buffer -> block, `write` block -> buffer
- `access` loop -> buffer, for each dimension of each access that moves with the loop; features
  `ACCESS_FEATURES`. The coefficients give footprints of tiles exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from foretune.errors import UnsupportedError
from foretune.program import Edge, Node, ProgramGraph

BLOCK_FEATURES = (
    "is_reduction", "num_spatial", "num_reduce", "log2_iterations", "adds", "muls", "divs", "math_calls", "min_max",
    "compares", "int_divs", "loads", "has_branch", "output_bytes", "is_float",
)  # fmt: skip
LOOP_FEATURES = ("log2_extent", "is_reduce", "depth", "num_inner", "log2_power_of_two", "log2_odd_part")
BUFFER_FEATURES = ("log2_bytes", "log2_elements", "num_dims", "element_bytes", "is_input", "is_output", "is_float")
ACCESS_FEATURES = ("block", "is_write", "dim", "coefficient", "stride", "is_linear")

_ARITHMETIC = {"Add": "adds", "Sub": "adds", "Mul": "muls", "Div": "divs", "Max": "min_max", "Min": "min_max"}
_COMPARES = {"EQ", "NE", "LT", "LE", "GT", "GE", "And", "Or", "Not", "Select"}
_INT_DIVISIONS = {"FloorDiv", "FloorMod", "Mod", "Div"}
_BRANCH = ".if_then_else"


def program_graph(mod: Any) -> ProgramGraph:
    """Reads the structure of an unscheduled TIR module with one function, `main`.

    Raises:
        UnsupportedError: a shape is symbolic, or a block is not directly under its loops.
    """
    func = mod["main"]
    builder = _GraphBuilder(set(func.params))
    builder.visit(func.body.block.body, ())
    return builder.finish()


@dataclass
class _GraphBuilder:
    parameters: set
    nodes: list[Node] = field(default_factory=lambda: [Node("root", "root", ())])
    edges: list[Edge] = field(default_factory=list)
    buffers: dict = field(default_factory=dict)
    written: set = field(default_factory=set)

    def visit(self, stmt, loops: tuple) -> None:
        name = type(stmt).__name__
        if name == "For":
            self.visit(stmt.body, (*loops, stmt))
        elif name == "SeqStmt":
            for child in stmt.seq:
                self.visit(child, loops)
        elif name == "SBlockRealize":
            self._block(stmt, loops)
        elif name in ("AttrStmt", "LetStmt", "IfThenElse"):
            self.visit(stmt.body if name != "IfThenElse" else stmt.then_case, loops)
        else:
            raise UnsupportedError(f"cannot read the structure of a TIR statement of type {name}")

    def _block(self, realize, loops: tuple) -> None:
        block = realize.block
        kinds = [int(v.iter_type) for v in block.iter_vars]
        extents = [_const(v.dom.extent) for v in block.iter_vars]
        stats, accesses = _body_statistics(block)
        is_reduction = any(kind == 2 for kind in kinds)
        output = block.writes[0].source if block.writes else None
        features = {
            "is_reduction": float(is_reduction),
            "num_spatial": sum(kind == 0 for kind in kinds),
            "num_reduce": sum(kind == 2 for kind in kinds),
            "log2_iterations": sum(math.log2(max(1, e)) for e in extents),
            "output_bytes": _element_bytes(output.dtype) if output is not None else 0,
            "is_float": float(output is not None and "float" in str(output.dtype)),
            **stats,
        }
        node = self._add(Node("block", str(block.name_hint), tuple(float(features[k]) for k in BLOCK_FEATURES)))
        iter_of_loop = {}
        for iter_var, value in zip(block.iter_vars, realize.iter_values):
            iter_of_loop[str(value)] = iter_var
        outer = None
        loop_nodes = {}
        for depth, loop in enumerate(loops):
            extent = _const(loop.extent)
            iter_var = iter_of_loop.get(str(loop.loop_var))
            two = (extent & -extent).bit_length() - 1 if extent > 0 else 0
            loop_features = (
                math.log2(max(1, extent)), float(iter_var is not None and int(iter_var.iter_type) == 2), depth,
                len(loops) - depth - 1, two, math.log2(max(1, extent >> two)),
            )  # fmt: skip
            index = self._add(Node("loop", f"{block.name_hint}/{depth}", tuple(float(f) for f in loop_features)))
            self.edges.append(Edge(index, node, "in"))
            if outer is not None:
                self.edges.append(Edge(outer, index, "nest"))
            outer = index
            if iter_var is not None:
                loop_nodes[iter_var.var] = index
        for buffer, indices, is_write in accesses:
            self._access(node, loop_nodes, buffer, indices, is_write)

    def _access(self, block: int, loop_nodes: dict, buffer, indices, is_write: bool) -> None:
        node = self._buffer(buffer)
        self.edges.append(Edge(block, node, "write") if is_write else Edge(node, block, "read"))
        if is_write:
            self.written.add(buffer)
        stride = 1
        strides = []
        for extent in reversed([_const(d) for d in buffer.shape]):
            strides.insert(0, stride)
            stride *= extent
        for dim, (index, dim_stride) in enumerate(zip(indices, strides)):
            coefficients, is_linear = _linear(index)
            for var, coefficient in coefficients.items():
                if coefficient and var in loop_nodes:
                    features = (
                        block,
                        float(is_write),
                        dim,
                        coefficient,
                        abs(coefficient) * dim_stride,
                        float(is_linear),
                    )
                    self.edges.append(Edge(loop_nodes[var], node, "access", tuple(float(f) for f in features)))

    def _buffer(self, buffer) -> int:
        if buffer not in self.buffers:
            self.buffers[buffer] = self._add(Node("buffer", str(buffer.name), ()))
        return self.buffers[buffer]

    def _add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def finish(self) -> ProgramGraph:
        for buffer, index in self.buffers.items():
            elements = math.prod(_const(d) for d in buffer.shape)
            size = _element_bytes(buffer.dtype)
            is_parameter, is_written = buffer in self.parameters, buffer in self.written
            features = (
                math.log2(max(1, elements * size)), math.log2(max(1, elements)), len(buffer.shape), size,
                float(is_parameter and not is_written), float(is_parameter and is_written),
                float("float" in str(buffer.dtype)),
            )  # fmt: skip
            self.nodes[index] = Node("buffer", str(buffer.name), tuple(float(f) for f in features))
        unique = list(dict.fromkeys(self.edges))
        return ProgramGraph(tuple(self.nodes), tuple(unique))


def _const(extent) -> int:
    value = getattr(extent, "value", extent)
    if not isinstance(value, int):
        raise UnsupportedError(f"symbolic extent {extent} is not supported in a tuning task")
    return value


def _element_bytes(dtype) -> float:
    digits = "".join(c for c in str(dtype).split("x")[0] if c.isdigit())
    return max(1.0, int(digits or 8) / 8)


def _body_statistics(block) -> tuple[dict[str, float], list]:
    """Counts the arithmetic of one iteration and lists (buffer, indices, is_write)."""
    stats: dict[str, float] = dict.fromkeys(
        ("adds", "muls", "divs", "math_calls", "min_max", "compares", "int_divs", "loads", "has_branch"), 0.0
    )
    accesses: list = []

    def visit(node) -> None:
        name = type(node).__name__
        if name == "BufferStore":
            accesses.append((node.buffer, list(node.indices), True))
            visit(node.value)
            for index in node.indices:
                visit(index)
        elif name == "TensorLoad":
            stats["loads"] += 1
            accesses.append((node.source, list(node.indices), False))
            for index in node.indices:
                visit(index)
        elif name == "SeqStmt":
            for child in node.seq:
                visit(child)
        elif name in ("IfThenElse", "AttrStmt", "LetStmt", "For", "Evaluate"):
            for attribute in ("condition", "value", "then_case", "else_case", "body"):
                child = getattr(node, attribute, None)
                if child is not None and not isinstance(child, (int, str)):
                    visit(child)
        elif name == "Call":
            operator = str(getattr(node.op, "name", ""))
            if operator.endswith(_BRANCH):
                stats["has_branch"] = 1.0
            else:
                stats["math_calls"] += 1
            for argument in node.args:
                visit(argument)
        elif hasattr(node, "a") and hasattr(node, "b"):
            is_float = "float" in str(node.ty)
            if name in _COMPARES:
                stats["compares"] += 1
            elif is_float and name in _ARITHMETIC:
                stats[_ARITHMETIC[name]] += 1
            elif name in _INT_DIVISIONS:
                stats["int_divs"] += 1
            visit(node.a)
            visit(node.b)
        elif name == "Select":
            stats["compares"] += 1
            for child in (node.condition, node.true_value, node.false_value):
                visit(child)
        elif name in ("Cast", "Not"):
            visit(node.value if name == "Cast" else node.a)

    visit(block.body)
    return stats, accesses


def _linear(expr) -> tuple[dict, bool]:
    """Coefficients of the variables in an index, and whether the index is exactly linear in them."""
    name = type(expr).__name__
    if name in ("Var", "SizeVar"):
        return {expr: 1}, True
    if name == "IntImm":
        return {}, True
    if name in ("Add", "Sub"):
        left, left_exact = _linear(expr.a)
        right, right_exact = _linear(expr.b)
        sign = 1 if name == "Add" else -1
        total = dict(left)
        for var, coefficient in right.items():
            total[var] = total.get(var, 0) + sign * coefficient
        return total, left_exact and right_exact
    if name == "Mul":
        for factor, other in ((expr.a, expr.b), (expr.b, expr.a)):
            if type(factor).__name__ == "IntImm":
                coefficients, exact = _linear(other)
                return {v: c * int(factor.value) for v, c in coefficients.items()}, exact
    if name == "FloorDiv" and type(expr.b).__name__ == "IntImm":
        coefficients, _ = _linear(expr.a)
        return {v: c / int(expr.b.value) for v, c in coefficients.items()}, False
    if name == "FloorMod":
        coefficients, _ = _linear(expr.a)
        return coefficients, False
    if name == "Cast":
        return _linear(expr.value)
    return {}, False
