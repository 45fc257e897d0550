"""Lowerings of ATen operators that Relax's importer lacks or gets wrong.

TVM's maxima lose NaN, and its simplifier takes floats for real numbers: it makes `x == x` true, `x - x` and `(x + y) -
x` 0 and y, `not (x < y)` `y <= x`. So comparisons, differences and clamps are written here in forms that it leaves
alone, and that LLVM makes the same instructions of. Norms are computed around their mean, where Relax's lose all digits
of numbers far from zero.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

import foretune.compiler.tir._tvm  # noqa: F401 - makes TVM ready

Convert = Callable[[torch.fx.Node, Any], Any]
"""(node, Relax's importer) -> Relax's variable."""

_NEGATIVE = -1.0


def lowerings() -> dict[str, Convert]:
    """`op.overload` -> its translation, which goes before Relax's own."""
    from tvm import tirx

    found: dict[str, Convert] = {
        "relu.default": _unary("relu", lambda x: tirx.Select(x < _like(0, x), _like(0, x), x)),
        "relu6.default": _unary("clip", lambda x: _clamp(x, 0, 6)),
        "hardtanh.default": _unary("clip", lambda x, low=-1.0, high=1.0: _clamp(x, low, high)),
        "clamp.default": _unary("clip", lambda x, low=None, high=None: _clamp(x, low, high)),
        "clamp_min.default": _unary("clip", lambda x, low: _clamp(x, low, None)),
        "clamp_max.default": _unary("clip", lambda x, high: _clamp(x, None, high)),
        "hardsigmoid.default": _unary("hardsigmoid", lambda x: _clamp(x + _like(3, x), 0, 6) / _like(6, x)),
        "hardswish.default": _unary("hardswish", lambda x: x * _clamp(x + _like(3, x), 0, 6) / _like(6, x)),
        "elu.default": _unary("elu", _elu),
        "gelu.default": _gelu,
        "_to_copy.default": _to_copy,
        "max_pool2d_with_indices.default": _max_pool,
        "add.Tensor": _add,
        "maximum.default": _binary("maximum", lambda a, b: _extreme(a, b, a > b)),
        "minimum.default": _binary("minimum", lambda a, b: _extreme(a, b, a < b)),
        "index_copy.default": _index_copy,
        "_safe_softmax.default": _safe_softmax,
        "native_layer_norm.default": _layer_norm,
        "native_group_norm.default": _group_norm,
    }
    for overload in ("Tensor", "Scalar"):
        found |= {
            f"sub.{overload}": _binary("subtract", _difference),
            f"rsub.{overload}": _binary("subtract", lambda a, b: _difference(b, a)),
            f"eq.{overload}": _binary("equal", _equal),
            f"ne.{overload}": _binary("not_equal", lambda a, b: _not(_equal(a, b))),
            f"bitwise_and.{overload}": _binary("bitwise_and", lambda a, b: a & b),
            f"bitwise_or.{overload}": _binary("bitwise_or", lambda a, b: a | b),
        }
    found |= {
        "logical_and.default": _binary("logical_and", lambda a, b: a & b),
        "logical_or.default": _binary("logical_or", lambda a, b: a | b),
        "logical_not.default": _unary("logical_not", _not),
        "bitwise_not.default": _unary("bitwise_not", lambda x: _not(x) if _type(x) == "bool" else ~x),
        "pow.Tensor_Scalar": _unary("power", _power),
    }
    return found


# -- single numbers ----------------------------------------------------------------------------------


def _like(value: float, x: Any) -> Any:
    from tvm import tirx

    return tirx.const(value, _type(x))


def _clamp(x: Any, low: float | None, high: float | None) -> Any:
    from tvm import tirx

    if low is not None:
        x = tirx.Max(_like(low, x), x)  # the bound first: it must be larger to be taken, which it is not than NaN
    return x if high is None else tirx.Min(_like(high, x), x)


def _extreme(a: Any, b: Any, wins: Any) -> Any:
    """The one of two that wins; NaN where one of them is."""
    from tvm import tirx

    return tirx.Select(tirx.Or(wins, tirx.isnan(a)) if _is_float(a) else wins, a, b)


def _difference(a: Any, b: Any) -> Any:
    return a + b * _like(_NEGATIVE, b) if _is_float(a) else a - b


def _equal(a: Any, b: Any) -> Any:
    from tvm import tirx

    equal = tirx.EQ(a, b)
    return tirx.Select(tirx.isnan(a), tirx.const(False, "bool"), equal) if _is_float(a) else equal


def _not(x: Any) -> Any:
    from tvm import tirx

    return tirx.Select(x, tirx.const(False, "bool"), tirx.const(True, "bool"))


def _elu(x: Any, alpha: float = 1.0, *_: float) -> Any:
    from tvm import tirx

    small = x + x * x * (_like(0.5, x) + x * _like(1 / 6, x))  # of exp(x) - 1, which loses the digits of small numbers
    negative = tirx.Select(x > _like(-0.01, x), small, tirx.exp(x) - _like(1, x))
    return tirx.Select(x >= _like(0, x), x, negative * _like(alpha, x))


def _power(x: Any, exponent: float) -> Any:
    from tvm import tirx

    if exponent == 2:
        return x * x
    if exponent == 3:
        return x * x * x
    if exponent == -1:
        return _like(1, x) / x
    root = tirx.sqrt(x)
    return root if exponent > 0 else _like(1, x) / root


def _is_float(x: Any) -> bool:
    return _type(x).startswith("float")


def _type(x: Any) -> str:
    """Of a number or a tensor; TVM's expressions have a type, its tensors a dtype."""
    return str(x.dtype if hasattr(x, "dtype") else x.ty)


# -- tensors -----------------------------------------------------------------------------------------


def _unary(name: str, expression: Callable[..., Any]) -> Convert:
    """A translation of an operator on one tensor, element by element; Python's numbers go to the expression as they
    are.
    """

    def convert(node: torch.fx.Node, importer: Any) -> Any:
        from tvm import te, topi

        numbers = node.args[1:]

        def compute(x: Any) -> Any:
            return te.compute(x.shape, lambda *i: expression(x(*i), *numbers), name=f"T_{name}", tag=topi.tag.ELEMWISE)

        return importer.block_builder.emit_te(compute, importer.env[node.args[0]], primfunc_name_hint=name)

    return convert


def _binary(name: str, expression: Callable[[Any, Any], Any]) -> Convert:
    """A translation of an operator on two operands, broadcast, element by element; a number takes the type of the
    tensor beside it.
    """

    def convert(node: torch.fx.Node, importer: Any) -> Any:
        from tvm import te, tirx, topi

        operands, shape = node.args[:2], [int(d) for d in node.meta["val"].shape]
        places = [k for k, operand in enumerate(operands) if isinstance(operand, torch.fx.Node)]

        def compute(*tensors: Any) -> Any:
            def element(*index: Any) -> Any:
                values = [
                    tirx.const(operand, _type(tensors[0])) if k not in places else None
                    for k, operand in enumerate(operands)
                ]
                for k, tensor in zip(places, tensors):
                    values[k] = tensor(*_broadcast(index, tensor.shape))
                return expression(*values)

            return te.compute(tuple(shape), element, name=f"T_{name}", tag=topi.tag.BROADCAST)

        return importer.block_builder.emit_te(
            compute, *[importer.env[operands[k]] for k in places], primfunc_name_hint=name
        )

    return convert


def arguments_of(node: torch.fx.Node) -> tuple[Any, ...]:
    """A call's arguments; of which types they are is for its operator to say."""
    return node.args


def keywords_of(node: torch.fx.Node) -> Mapping[str, Any]:
    """The same for those by name."""
    return node.kwargs


def _broadcast(index: Sequence[Any], shape: Sequence[Any]) -> list[Any]:
    """Where an element of the result is in an operand of fewer or shorter axes."""
    own = index[len(index) - len(shape) :]
    return [0 if int(extent) == 1 else i for i, extent in zip(own, shape)]


def _add(node: torch.fx.Node, importer: Any) -> Any:
    """Relax's own addition, which leaves out the factor `alpha` of the second operand."""
    from tvm import relax

    if "alpha" in node.kwargs:
        alpha: Any = keywords_of(node)["alpha"]
        return _binary("add", lambda a, b: a + b * _like(alpha, b))(node, importer)
    return importer._binary_op(relax.op.add, operator.add)(node)


def _to_copy(node: torch.fx.Node, importer: Any) -> Any:
    """Relax's own conversion, but for floats to booleans: what is not zero is true, NaN as well."""

    if node.kwargs.get("dtype") == torch.bool:
        return _unary("not_zero", lambda x: _not(_equal(x, _like(0, x))))(node, importer)
    return importer._to_copy(node)


def _max_pool(node: torch.fx.Node, importer: Any) -> Any:
    """The first output of `max_pool2d_with_indices` over small windows, written out, so that NaN is not lost; nobody
    uses the second.
    """
    from tvm import te, topi

    x, kernel, *rest = arguments_of(node)
    stride = (rest[0] if rest else None) or kernel
    shape = tuple(int(d) for d in node.meta["val"][0].shape)

    def compute(x: Any) -> Any:
        def element(*index: Any) -> Any:
            *lead, row, column = index
            best: Any = None
            for i in range(kernel[0]):
                for j in range(kernel[1]):
                    value = x(*lead, row * stride[0] + i, column * stride[1] + j)
                    best = value if best is None else _extreme(value, best, value > best)
            return best

        return te.compute(shape, element, name="T_max_pool", tag=topi.tag.INJECTIVE)

    return importer.block_builder.emit_te(compute, importer.env[x], primfunc_name_hint="max_pool2d")


def _gelu(node: torch.fx.Node, importer: Any) -> Any:
    """GELU by the error function; of infinity it is NaN where oneDNN computes PyTorch's."""
    from tvm import relax, tirx

    if node.kwargs.get("approximate", "none") != "none":
        return importer.block_builder.emit(relax.op.nn.gelu_tanh(importer.env[node.args[0]]))
    value = node.meta["val"]
    strict = value.dtype == torch.float32 and bool(torch.nn.functional.gelu(torch.full((16,), math.inf)).isnan().any())

    def expression(x: Any) -> Any:
        error = tirx.erf(x * _like(math.sqrt(0.5), x))
        y = x * _like(0.5, x) * (_like(1, x) + error)
        # nothing for finite numbers, infinity times zero for the other: a choice by value would cost a third more
        return y + x * _like(1e-30, x) * (_like(1, x) - error * error) if strict else y

    return _unary("gelu", expression)(node, importer)


def _index_copy(node: torch.fx.Node, importer: Any) -> Any:
    """One row, such as a new token's in a cache, is a choice between two tensors, which fuses."""
    from tvm import te, tirx, topi

    x, axis, place, source = arguments_of(node)
    axis %= node.meta["val"].dim()
    inputs = [importer.env[operand] for operand in (x, place, source)]

    def compute(x: Any, place: Any, source: Any) -> Any:
        def element(*index: Any) -> Any:
            row = place(*[0] * len(place.shape))
            at_row = [0 if k == axis else i for k, i in enumerate(index)]
            return tirx.Select(tirx.EQ(tirx.Cast(_type(row), index[axis]), row), source(*at_row), x(*index))

        return te.compute(x.shape, element, name="T_index_copy", tag=topi.tag.INJECTIVE)

    return importer.block_builder.emit_te(compute, *inputs, primfunc_name_hint="index_copy")


def _safe_softmax(node: torch.fx.Node, importer: Any) -> Any:
    """Softmax in attention: where a query has no key at all it is 0, not NaN."""
    from tvm import te, tirx

    axis = arguments_of(node)[1] % node.meta["val"].dim()

    def compute(x: Any) -> Any:
        lead = tuple(extent for k, extent in enumerate(x.shape) if k != axis)

        def reduced(name: str, reduce: Callable[..., Any], source: Any) -> Any:
            along = te.reduce_axis((0, x.shape[axis]), name="k")
            return te.compute(lead, lambda *i: reduce(source(*i[:axis], along, *i[axis:]), axis=along), name=name)

        def without(index: Sequence[Any]) -> list[Any]:
            return [i for k, i in enumerate(index) if k != axis]

        largest = reduced("T_softmax_maxelem", te.max, x)
        powers: Any = te.compute(x.shape, lambda *i: tirx.exp(x(*i) - largest(*without(i))), name="T_softmax_exp")
        total = reduced("T_softmax_expsum", te.sum, powers)

        def element(*index: Any) -> Any:
            sum_ = total(*without(index))
            return tirx.Select(tirx.EQ(sum_, _like(0, x)), _like(0, x), powers(*index) / sum_)

        return te.compute(x.shape, element, name="T_softmax_norm")

    return importer.block_builder.emit_te(compute, importer.env[node.args[0]], primfunc_name_hint="softmax")


def _layer_norm(node: torch.fx.Node, importer: Any) -> Any:
    """The first output of `native_layer_norm(x, normalized_shape, weight, bias, eps)`; nobody uses the statistics."""
    from tvm import te, tirx

    x, normalized, weight, bias, eps = arguments_of(node)
    num_axes = len(normalized)
    size = math.prod(int(d) for d in normalized)
    affine = [importer.env[operand] for operand in (weight, bias) if operand is not None]

    def compute(x: Any, *affine: Any) -> Any:
        lead, inner = tuple(x.shape[: len(x.shape) - num_axes]), tuple(x.shape[len(x.shape) - num_axes :])
        scale = tirx.const(1.0 / size, _type(x))

        def total(name: str, value: Callable[..., Any]) -> Any:
            axes = [te.reduce_axis((0, d), name=f"k{k}") for k, d in enumerate(inner)]
            return te.compute(lead, lambda *i: te.sum(value(i, axes), axis=axes), name=name)

        sums = total("total", lambda i, k: x(*i, *k))
        squares = total("squares", lambda i, k: _square(x(*i, *k) - sums(*i) * scale))

        def element(*index: Any) -> Any:
            i, k = index[: len(lead)], index[len(lead) :]
            value = (x(*index) - sums(*i) * scale) * tirx.rsqrt(squares(*i) * scale + tirx.const(eps, _type(x)))
            return _affine(value, affine, weight is not None, bias is not None, k)

        return te.compute(x.shape, element, name="T_layer_norm")

    return importer.block_builder.emit_te(compute, importer.env[x], *affine, primfunc_name_hint="layer_norm")


def _group_norm(node: torch.fx.Node, importer: Any) -> Any:
    """The first output of `native_group_norm(x, weight, bias, N, C, HxW, groups, eps)`."""
    from tvm import te, tirx

    x, weight, bias, _, channels, inner_size, groups, eps = arguments_of(node)
    per_group = channels // groups
    affine = [importer.env[operand] for operand in (weight, bias) if operand is not None]

    def compute(x: Any, *affine: Any) -> Any:
        spatial = tuple(x.shape[2:])
        scale = tirx.const(1.0 / (per_group * inner_size), _type(x))

        def total(name: str, value: Callable[..., Any]) -> Any:
            axes = [te.reduce_axis((0, d), name=f"k{k}") for k, d in enumerate((per_group, *spatial))]
            return te.compute((x.shape[0], groups), lambda n, g: te.sum(value(n, g, axes), axis=axes), name=name)

        sums = total("total", lambda n, g, k: x(n, g * per_group + k[0], *k[1:]))
        squares = total("squares", lambda n, g, k: _square(x(n, g * per_group + k[0], *k[1:]) - sums(n, g) * scale))

        def element(n: Any, c: Any, *rest: Any) -> Any:
            g = tirx.floordiv(c, per_group)
            tensors = list(affine)
            factor = tirx.rsqrt(squares(n, g) * scale + tirx.const(eps, _type(x)))
            factor = factor * tensors.pop(0)(c) if weight is not None else factor
            term = (
                sums(n, g) * scale * factor * tirx.const(_NEGATIVE, _type(x))
            )  # as PyTorch does, which shows where weights are infinite
            return x(n, c, *rest) * factor + (term + tensors.pop(0)(c) if bias is not None else term)

        return te.compute(x.shape, element, name="T_group_norm")

    return importer.block_builder.emit_te(compute, importer.env[x], *affine, primfunc_name_hint="group_norm")


def _square(x: Any) -> Any:
    return x * x


def _affine(value: Any, tensors: Sequence[Any], has_weight: bool, has_bias: bool, index: Sequence[Any]) -> Any:
    tensors = list(tensors)
    if has_weight:
        value = value * tensors.pop(0)(*index)
    return value + tensors.pop(0)(*index) if has_bias else value
