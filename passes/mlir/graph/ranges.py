"""How far loops go: the bounds of each kind of loop of the dialects, as linear forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from foretune.passes.mlir.graph.linear import UNKNOWN, Form, Scope, map_forms, static_list

_MOST_VALUES = 4096  # of a loop's variable, over which a minimum is averaged
_LESS, _LESS_EQUAL, _GREATER, _GREATER_EQUAL, _UNEQUAL = (2, 6), (3, 7), (4, 8), (5, 9), (1,)  # predicates of cmpi


@dataclass(frozen=True)
class Range:
    """Where the variable of a loop goes.

    Attributes:
        low: its first value.
        high: the first one that is too large.
        step: what an iteration adds.
    """

    low: Form
    high: Form
    step: float = 1.0


@dataclass(frozen=True)
class LoopShape:
    """What a loop operation of the dialects does.

    Attributes:
        kind: `affine` or `scf`.
        ranges: of its variables, the outermost first.
        carried: values that its first iteration is given, for the block's arguments behind the variables.
    """

    kind: str
    ranges: list[Range]
    carried: list[Any]


def loop_shape(op: Any, scope: Scope) -> LoopShape:
    """The variables of an operation of `categories.LOOPS`."""
    return _SHAPES[op.name](op, list(op.operands), scope)


def _scf_for(op: Any, operands: list[Any], scope: Scope) -> LoopShape:
    low, high, step = (scope.form(v) for v in operands[:3])
    return LoopShape("scf", [Range(low, high, scope.mean(step) or 1.0)], operands[3:])


def _affine_for(op: Any, operands: list[Any], scope: Scope) -> LoopShape:
    lows, highs, _ = list(op.attributes["operandSegmentSizes"])
    forms = [scope.form(v) for v in operands]
    low = chosen(map_forms(op.attributes["lowerBoundMap"].value, forms[:lows], scope), max, scope)
    high = chosen(map_forms(op.attributes["upperBoundMap"].value, forms[lows : lows + highs], scope), min, scope)
    return LoopShape("affine", [Range(low, high, float(op.attributes["step"].value))], operands[lows + highs :])


def _scf_parallel(op: Any, operands: list[Any], scope: Scope) -> LoopShape:
    rank = next(iter(op.attributes["operandSegmentSizes"]))
    lows, highs, steps = ([scope.form(v) for v in operands[i * rank : (i + 1) * rank]] for i in range(3))
    return LoopShape(
        "scf",
        [Range(low, high, scope.mean(step) or 1.0) for low, high, step in zip(lows, highs, steps)],
        operands[3 * rank :],
    )


def _scf_forall(op: Any, operands: list[Any], scope: Scope) -> LoopShape:
    sizes, given = list(op.attributes["operandSegmentSizes"]), iter(operands)
    columns = [
        [Form(float(n)) if n is not None else scope.form(next(given)) for n in static_list(op.attributes[name])]
        for name in ("staticLowerBound", "staticUpperBound", "staticStep")
    ]
    return LoopShape(
        "scf",
        [Range(low, high, scope.mean(step) or 1.0) for low, high, step in zip(*columns)],
        operands[sum(sizes[:3]) :],
    )


def _affine_parallel(op: Any, operands: list[Any], scope: Scope) -> LoopShape:
    lows, highs = op.attributes["lowerBoundsMap"].value, op.attributes["upperBoundsMap"].value
    forms = [scope.form(v) for v in operands]
    below = _groups(map_forms(lows, forms[: lows.n_inputs], scope), op.attributes["lowerBoundsGroups"], max, scope)
    above = _groups(
        map_forms(highs, forms[lows.n_inputs : lows.n_inputs + highs.n_inputs], scope),
        op.attributes["upperBoundsGroups"],
        min,
        scope,
    )
    steps = [float(step.value) for step in op.attributes["steps"]]
    return LoopShape("affine", [Range(*each) for each in zip(below, above, steps)], [])


def _groups(forms: list[Form], sizes: Any, choose: Callable, scope: Scope) -> list[Form]:
    """One form for each variable of several whose bounds stand in one map."""
    left = iter(forms)
    return [chosen([next(left) for _ in range(int(size))], choose, scope) for size in sizes]


_SHAPES = {
    "scf.for": _scf_for,
    "affine.for": _affine_for,
    "scf.parallel": _scf_parallel,
    "scf.forall": _scf_forall,
    "affine.parallel": _affine_parallel,
}


def chosen(forms: list[Form], choose: Callable[[Iterable[float]], float], scope: Scope) -> Form:
    """The smallest or largest of some forms, on average; where one loop alone moves them, over all values of its
    variable.
    """
    if len(forms) == 1:
        return forms[0]
    known = [form for form in forms if form.known]
    loops = {loop for form in known for loop, _ in form.coefficients}
    if len(known) == len(forms) and len(loops) == 1:
        [loop] = loops
        start, step, trip = scope.spans.get(loop, (0.0, 0.0, 0.0))
        if 1 <= trip <= _MOST_VALUES:
            values = [start + k * step for k in range(math.ceil(trip))]
            return Form(
                sum(
                    choose(
                        form.constant + form.coefficients[0][1] * v if form.coefficients else form.constant
                        for form in forms
                    )
                    for v in values
                )
                / len(values)
            )
    means = [mean for mean in map(scope.mean, known) if mean is not None]
    return Form(choose(means)) if means else UNKNOWN


def chosen_of_two(op: Any, scope: Scope) -> Form | None:
    """What a minimum, a maximum, or a select between two values that are compared, gives on average; None of another
    select.
    """
    operands = list(op.operands)
    if "select" not in op.name:
        return chosen([scope.form(v) for v in operands], min if "min" in op.name else max, scope)
    test = getattr(operands[0].owner, "operation", operands[0].owner)
    if getattr(test, "name", "") not in ("arith.cmpi", "llvm.icmp"):
        return None
    compared, picked = list(test.operands), operands[1:]
    predicate = int(test.attributes["predicate"].value)
    less, greater = predicate in (*_LESS, *_LESS_EQUAL), predicate in (*_GREATER, *_GREATER_EQUAL)
    if compared == picked[::-1]:
        less, greater = greater, less
    elif compared != picked:
        return None
    return chosen([scope.form(v) for v in picked], min if less else max, scope) if less or greater else None


def while_range(op: Any, scope: Scope) -> tuple[int, int, Range] | None:
    """The variable of an `scf.while` that counts to a bound: its position among the arguments of the first region, that
    in the second, its range.
    """
    before, after = op.regions[0].blocks[0], op.regions[1].blocks[0]
    condition, end = (block.operations[len(block.operations) - 1].operation for block in (before, after))
    test = getattr(condition.operands[0].owner, "operation", condition.operands[0].owner)
    if getattr(test, "name", "") != "arith.cmpi":
        return None
    predicate, arguments, passed = (
        int(test.attributes["predicate"].value),
        list(before.arguments),
        list(condition.operands)[1:],
    )
    for i, argument in enumerate(arguments):
        if test.operands[0] != argument or argument not in passed:
            continue
        inner, bound = passed.index(argument), test.operands[1]
        step = _added(end.operands[i], after.arguments[inner], scope)
        low, high = scope.form(op.operands[i]), scope.form(bound)
        if (
            step
            and low.known
            and high.known
            and predicate in (*_LESS, *_LESS_EQUAL, *_GREATER, *_GREATER_EQUAL, *_UNEQUAL)
        ):
            beyond = 0.0 if predicate in (*_LESS, *_GREATER, *_UNEQUAL) else math.copysign(1.0, step)
            return i, inner, Range(low, high.plus(Form(beyond)), step)
    return None


def _added(value: Any, to: Any, scope: Scope) -> float:
    """The constant that a value adds to another; 0 if it is no such sum."""
    made = getattr(value.owner, "operation", value.owner)
    if getattr(made, "name", "") not in ("arith.addi", "arith.subi"):
        return 0.0
    a, b = made.operands
    other = b if a == to else a if b == to and made.name == "arith.addi" else None
    form = _constant(other, scope) if other is not None else None
    return 0.0 if form is None else -form if made.name == "arith.subi" else form


def _constant(value: Any, scope: Scope) -> float | None:
    form = scope.form(value)
    if form.known:
        return form.constant if not form.coefficients else None
    owner = getattr(value.owner, "operation", value.owner)
    return float(owner.attributes["value"].value) if getattr(owner, "name", "") == "arith.constant" else None
