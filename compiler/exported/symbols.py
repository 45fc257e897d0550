"""Symbolic sizes in exported programs: sympy evaluates their text, so only plain arithmetic may come through.

PyTorch writes them in sympy's own form, such as `Add(Symbol('s0', positive=True, integer=True), Integer(1))`.
"""

from __future__ import annotations

import ast
import re

from foretune.errors import DataError

_SYMBOL = re.compile(r"[a-z]{1,4}\d{1,6}")
_FUNCTIONS = frozenset(
    [
        "Abs",
        "And",
        "CeilDiv",
        "CeilToInt",
        "CleanDiv",
        "Eq",
        "FloatTrueDiv",
        "FloorDiv",
        "FloorToInt",
        "Ge",
        "Gt",
        "Identity",
        "IntTrueDiv",
        "IsNonOverlappingAndDenseIndicator",
        "Le",
        "Lt",
        "Max",
        "Min",
        "Mod",
        "ModularIndexing",
        "Ne",
        "Not",
        "Or",
        "PythonMod",
        "RShift",
        "RoundDecimal",
        "RoundToInt",
        "ToFloat",
        "TruncToFloat",
        "TruncToInt",
        "Where",
        "ceiling",
        "floor",
        "Add",
        "Mul",
        "Equality",
        "Unequality",
        "GreaterThan",
        "LessThan",
        "StrictGreaterThan",
        "StrictLessThan",
        "Integer",
        "Rational",
        "Float",
        "Piecewise",
        "ExprCondPair",
        "Tuple",
        "Xor",
        "ITE",
        "log2",
        "sqrt",
        "OpaqueUnaryFn_sqrt",
        "BitwiseFn_bitwise_and",
        "BitwiseFn_bitwise_or",
    ]
)
_ASSUMPTIONS = frozenset(
    [
        "positive",
        "nonnegative",
        "negative",
        "nonpositive",
        "zero",
        "nonzero",
        "integer",
        "real",
        "finite",
        "commutative",
    ]
)
_NUMBER = re.compile(r"-?\d{1,30}(\.\d{0,30})?(e[-+]?\d{1,3})?")
_OPERATORS = (
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.FloorDiv,
    ast.Mod,
    ast.USub,
    ast.UAdd,
    ast.Eq,
    ast.NotEq,
    ast.Lt,
    ast.LtE,
    ast.Gt,
    ast.GtE,
    ast.BitAnd,
    ast.BitOr,
    ast.Invert,
)
_MOST_CHARACTERS, _LARGEST_POWER = 2000, 16
_POWERS = ("Pow", "PowByNatural", "FloatPow", "LShift")
_WORDS = ("True", "False", "true", "false", "int_oo", "oo")


def check_expression(text: str) -> None:
    """Checks the text of a symbolic size, such as `2*s0 + 1`.

    Raises:
        DataError: it is more than arithmetic on symbols and numbers.
    """
    if len(text) > _MOST_CHARACTERS:
        raise DataError(
            f"a symbolic size is {len(text)} characters long, more than the {_MOST_CHARACTERS} that are read"
        )
    try:
        tree = ast.parse(text, mode="eval")
        _check(tree.body, powers=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise DataError(f"the symbolic size {text[:80]!r} is more than arithmetic on symbols such as s0") from None


def _check(node: ast.expr, powers: bool) -> None:
    match node:
        case ast.Constant(value=bool() | int() | float() as value) if abs(value) < 2**63:
            return
        case ast.Name(id=name) if _SYMBOL.fullmatch(name) or name in _WORDS:
            return
        case ast.BinOp(left=base, op=ast.Pow(), right=ast.Constant(value=int() as power)) if (
            powers and 0 <= power <= _LARGEST_POWER
        ):
            return _check(base, powers=False)
        case ast.BinOp(op=operator) | ast.UnaryOp(op=operator) if isinstance(operator, _OPERATORS):
            pass
        case ast.Compare(ops=operators) if all(isinstance(operator, _OPERATORS) for operator in operators):
            pass
        case ast.Call(func=ast.Name(id="Symbol"), args=[ast.Constant(value=str() as name)], keywords=keywords) if (
            _SYMBOL.fullmatch(name)
        ):
            if not all(
                k.arg in _ASSUMPTIONS and isinstance(k.value, ast.Constant) and isinstance(k.value.value, bool)
                for k in keywords
            ):
                raise ValueError
            return
        case ast.Call(func=ast.Name(id="Float"), args=[ast.Constant(value=str() as number)], keywords=keywords) if (
            _NUMBER.fullmatch(number)
        ):
            if not all(
                k.arg == "precision" and isinstance(k.value, ast.Constant) and k.value.value in range(1, 200)
                for k in keywords
            ):
                raise ValueError
            return
        case ast.Call(func=ast.Name(id=name), args=[base, exponent], keywords=[]) if (
            powers and name in _POWERS and _is_small(exponent)
        ):
            return _check(base, powers=False)
        case ast.Call(func=ast.Name(id=name), keywords=[]) if name in _FUNCTIONS:
            pass
        case _:
            raise ValueError
    for child in node.args if isinstance(node, ast.Call) else ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            _check(child, powers)


def _is_small(exponent: ast.expr) -> bool:
    """Whether it is a small number, or a symbol, which sympy does not multiply out."""
    match exponent:
        case (
            ast.Constant(value=int() as power)
            | ast.Call(func=ast.Name(id="Integer"), args=[ast.Constant(value=int() as power)], keywords=[])
        ):
            return abs(power) <= _LARGEST_POWER
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as power)):
            return power <= _LARGEST_POWER
        case ast.Call(func=ast.Name(id="Integer"), args=[ast.UnaryOp() as argument], keywords=[]):
            return _is_small(argument)
        case ast.Call(func=ast.Name(id="Symbol")):
            _check(exponent, powers=False)
            return True
        case _:
            return False
