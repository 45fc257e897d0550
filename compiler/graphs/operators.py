"""The one table of ATen operators: which TVM takes, under which conditions, and why it does not take the others.

A kernel is chosen on one input and serves all later ones, so an operator is taken only if its lowering is right for
every value that a later call may bring: NaN and infinities, zero divisors, negative and illegal indices. The
conformance suite (`tests/compiler/pytorch/test_conformance.py`) holds each row against PyTorch; what fails there goes
to `LEFT`, with its reason.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx

Condition = Callable[[fx.Node], str]
"""Why a call of an operator cannot go to TVM; empty if it can."""

INTEGERS = (torch.int64, torch.int32)
"""Types that TVM indexes with."""


@dataclass(frozen=True)
class Operator:
    """What TVM does with an operator, whatever its overload.

    Attributes:
        conditions: each may refuse a call.
        indexed: argument positions of (tensor, dimension, index); indices must be in range for TVM's kernel to be
            called. A dimension of None is the first one.
    """

    conditions: tuple[Condition, ...] = ()
    indexed: tuple[int, int | None, int] | None = None


@dataclass(frozen=True)
class IndexUse:
    """A tensor of indices of a call.

    Attributes:
        index: the node that holds them.
        size: of the dimension that they point into; indices must be from 0 to below it.
    """

    index: fx.Node = field(compare=False)
    size: int


def operator_name(node: fx.Node) -> str:
    """`op.overload` of a node."""
    return str(node.target).removeprefix("aten.").removeprefix("prims.")


def arguments_of(node: fx.Node) -> tuple[Any, ...]:
    """A call's arguments; of which types they are is for its operator to say."""
    return node.args


def base_name(node: fx.Node) -> str:
    """`op` of a node, without its overload."""
    return operator_name(node).split(".")[0]


def reason_against(node: fx.Node) -> str:
    """Why a call cannot go to TVM by the table; empty if it can."""
    name = base_name(node)
    row = TAKEN.get(name)
    if row is None:
        return LEFT.get(name, "no lowering that was checked")
    return next((why for condition in row.conditions if (why := condition(node))), "")


def index_uses(node: fx.Node) -> list[IndexUse]:
    """The indices of a call of a taken operator that its lowering does not check."""
    if node.op != "call_function":
        return []
    if base_name(node) == "index":
        source, indices, *_ = arguments_of(node)
        value = tensor_of(source)
        return [IndexUse(i, int(value.shape[d])) for d, i in enumerate(indices) if isinstance(i, fx.Node)]
    row = TAKEN.get(base_name(node))
    if row is None or row.indexed is None:
        return []
    source, dim, index = row.indexed
    args = arguments_of(node)
    value = tensor_of(args[source])
    size = value.shape[0 if dim is None else args[dim]] if value.dim() else 1
    return [IndexUse(args[index], int(size))]


def origin_of(index: fx.Node) -> fx.Node:
    """The tensor that indices are a view or a copy of."""
    while index.op == "call_function":
        source = index.args[0] if index.args else None
        parts = index.target is operator.getitem and isinstance(source, fx.Node) and is_view(source)
        if not isinstance(source, fx.Node) or not (
            parts or is_view(index) or (base_name(index) in _MOVES_OF_INDICES and _is_integer(source))
        ):
            break
        index = source
    return index


def bounds_of(node: Any) -> tuple[int, int] | None:
    """Smallest and largest value that an integer tensor can have whatever the inputs are; None where they are not
    known.
    """
    if not isinstance(node, fx.Node) or node.op != "call_function":
        return None
    name, args = operator_name(node), arguments_of(node)
    if name.startswith("arange") and all(isinstance(a, int) for a in args):
        start, end, step = (0, args[0], 1) if len(args) == 1 else (*args, 1)[:3]
        values = range(start, end, step) if step else range(0)
        return (min(values), max(values)) if len(values) else None
    if name in ("full.default", "full_like.default") and isinstance(args[1], int):
        return args[1], args[1]
    if (
        name.split(".")[0] in _MOVES_OF_INDICES
        and _is_integer(node)
        and isinstance(args[0], fx.Node)
        and _is_integer(args[0])
    ):
        return bounds_of(args[0])
    known = bounds_of(args[0]) if args else None
    if known is not None and len(args) == 2 and isinstance(args[1], int) and not node.kwargs:
        low, high = known
        if name in ("add.Tensor", "add.Scalar"):
            return low + args[1], high + args[1]
        if name in ("sub.Tensor", "sub.Scalar"):
            return low - args[1], high - args[1]
    if name == "clamp.default" and len(args) == 3 and all(isinstance(a, int) for a in args[1:]):
        return args[1], args[2]
    return None


def is_within(use: IndexUse) -> bool:
    """Whether indices are in range whatever the inputs are."""
    known = bounds_of(use.index)
    return known is not None and known[0] >= 0 and known[1] < use.size


def tensor_of(node: Any) -> torch.Tensor:
    """The example value of a node that is a tensor."""
    value = node.meta["val"]
    assert isinstance(value, torch.Tensor)
    return value


def is_view(node: fx.Node) -> bool:
    """Whether eager's result of a call shares the memory of its first argument."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None:
        return False
    return any(a.alias_info is not None and not a.alias_info.is_write for a in schema.arguments)


# -- conditions -------------------------------------------------------------------------------------


def _value(node: Any) -> torch.Tensor | None:
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    return value if isinstance(value, torch.Tensor) else None


def _tensors(node: fx.Node) -> list[torch.Tensor]:
    return [value for source in node.all_input_nodes if (value := _value(source)) is not None]


def _is_integer(node: fx.Node) -> bool:
    value = _value(node)
    return value is not None and not (value.is_floating_point() or value.is_complex())


def _floats(node: fx.Node) -> str:
    values = [*_tensors(node), *([value] if (value := _value(node)) is not None else [])]
    strange = next((v.dtype for v in values if not v.is_floating_point()), None)
    return f"{strange}, of which PyTorch has another arithmetic" if strange is not None else ""


def _one_type(node: fx.Node) -> str:
    """A number beside a tensor takes the tensor's type in Relax, but may lift it in PyTorch; a tensor without axes the
    other way round.
    """
    types = {v.dtype for v in (*_tensors(node), _value(node)) if v is not None}
    return f"types are mixed: {', '.join(sorted(map(str, types)))}" if len(types) > 1 else ""


def _tensors_alike(node: fx.Node) -> str:
    types = {v.dtype for v in _tensors(node)}
    return f"types are mixed: {', '.join(sorted(map(str, types)))}" if len(types) > 1 else ""


def _booleans(node: fx.Node) -> str:
    return "" if all(v.dtype == torch.bool for v in _tensors(node)) else "numbers instead of booleans"


def _no_overflow(node: fx.Node) -> str:
    """Integers wrap around in PyTorch, and never overflow for TVM's simplifier: it takes `x + 1 > x` for true."""
    value = _value(node)
    return "" if value is not None and value.is_floating_point() else "integers that may wrap around"


def _numbers(node: fx.Node) -> str:
    return "booleans" if any(v.dtype == torch.bool for v in _tensors(node)) else ""


def _branches_alike(node: fx.Node) -> str:
    out = _value(node)
    branches = [_value(a) for a in node.args[1:]]
    return (
        ""
        if out is not None and all(v is not None and v.dtype == out.dtype for v in branches)
        else "branches of two types"
    )


def _indexes_first(node: fx.Node) -> str:
    """Relax takes the indices as those of the first dimensions."""
    given = [i is not None for i in arguments_of(node)[1]]
    return "" if given == sorted(given, reverse=True) else "dimensions that are not indexed before those that are"


def _whole(node: fx.Node) -> str:
    return "fractions" if any(v.is_floating_point() for v in _tensors(node)) else ""


def _plain(node: fx.Node) -> str:
    return f"arguments {sorted(node.kwargs)}" if node.kwargs else ""


def _scalar_compares(node: fx.Node) -> str:
    scalars = [a for a in node.args if isinstance(a, float)]
    return "a fraction beside integers" if scalars and any(not t.is_floating_point() for t in _tensors(node)) else ""


def _no_zero(node: fx.Node) -> str:
    """TVM's simplifier makes 0 of `x * 0`, and a product by 0 is NaN where x is not finite; it fails on `x / 0`."""
    return (
        "a factor or divisor of zero"
        if any(isinstance(a, (int, float)) and (a == 0 or a != a) for a in node.args)
        else ""
    )


def _no_zero_term(node: fx.Node) -> str:
    """TVM's simplifier makes x of `x + 0`, which is 0 where x is -0."""
    value = _value(node)
    floats = value is not None and value.is_floating_point()
    return "a term of zero" if floats and any(isinstance(a, (int, float)) and a == 0 for a in node.args) else ""


def _alpha_alone(node: fx.Node) -> str:
    if set(node.kwargs) - {"alpha"} or (
        node.kwargs and (_one_type(node) or not all(isinstance(a, fx.Node) for a in node.args))
    ):
        return f"arguments {sorted(node.kwargs)}"
    return "a factor of zero" if node.kwargs.get("alpha", 1) == 0 else ""


def _true_division(node: fx.Node) -> str:
    return "a rounding mode" if node.kwargs.get("rounding_mode") is not None else ""


def _bounds_are_numbers(node: fx.Node) -> str:
    bounds = [a for a in arguments_of(node)[1:] if a is not None]
    if any(not isinstance(a, (int, float)) for a in bounds):
        return "bounds that are tensors"
    return "a bound that is not a number" if any(math.isnan(a) for a in bounds) else ""


def _power_is_simple(node: fx.Node) -> str:
    return (
        ""
        if len(node.args) == 2 and node.args[1] in POWERS and not isinstance(node.args[1], bool)
        else "a power other than " + ", ".join(map(str, POWERS))
    )


def _converts_exactly(node: fx.Node) -> str:
    """What a float becomes that the other type does not hold differs between vectors and single numbers."""
    source, out = _value(node.args[0]), _value(node)
    if source is None or out is None or set(node.kwargs) - {"dtype", "layout", "device", "pin_memory", "non_blocking"}:
        return "a copy into another memory format"
    if source.is_floating_point() and not out.is_floating_point() and out.dtype != torch.bool:
        return f"{source.dtype} to {out.dtype}"
    return (
        "integers to narrower ones"
        if not out.is_floating_point() and out.dtype != torch.bool and out.itemsize < source.itemsize
        else ""
    )


def _only_the_first_output(node: fx.Node) -> str:
    """Relax leaves out the statistics of a norm."""
    used = any(user.target is operator.getitem and arguments_of(user)[1] > 0 for user in node.users)
    return "statistics that Relax's translation leaves out" if used else ""


def _one_scale(node: fx.Node) -> str:
    return "scales other than 1" if any(scale != 1 for scale in node.args[2:]) else ""


def _not_transposed(node: fx.Node) -> str:
    """TVM spreads the input with zeros between, which make NaN of infinite weights."""
    return "transposed" if node.args[6] else ""


def _small_windows(node: fx.Node) -> str:
    """Windows of up to four elements, all within the input; wider ones would be TVM's reduction, which loses NaN."""
    args = [*node.args, *([], [0, 0], [1, 1], False)[len(node.args) - 2 :]]
    fits = (
        math.prod(args[1]) <= 4
        and len(args[1]) == 2
        and not any(args[3])
        and all(d == 1 for d in args[4])
        and not args[5]
    )
    return "" if fits else "large windows: TVM's maxima lose NaN"


def _no_divisor(node: fx.Node) -> str:
    return "a divisor of its own" if len(node.args) > 6 and node.args[6] is not None else ""


def _one_place(node: fx.Node) -> str:
    value, index = _value(node.args[0]), _value(node.args[2])
    source = _value(node.args[3])
    fits = (
        value is not None
        and value.dim()
        and index is not None
        and index.numel() == 1
        and source is not None
        and source.dtype == value.dtype
    )
    return "" if fits else "several places"


def _indices_are_integers(node: fx.Node) -> str:
    row = TAKEN[base_name(node)]
    args = arguments_of(node)
    indices = args[1] if row.indexed is None else [args[row.indexed[2]]]
    types = {value.dtype for i in indices if (value := _value(i)) is not None}
    return "" if types <= set(INTEGERS) else f"indices of {', '.join(sorted(map(str, types)))}"


def _fills(node: fx.Node) -> str:
    return (
        "" if all(isinstance(a, (int, float, bool, list, tuple)) for a in node.args) else "a value that is not a number"
    )


# -- the table ----------------------------------------------------------------------------------------

POWERS = (2, 3, 0.5, -0.5, -1)

MOVES = frozenset(
    {
        "_to_copy",
        "alias",
        "clone",
        "detach",
        "expand",
        "permute",
        "select",
        "slice",
        "squeeze",
        "t",
        "transpose",
        "unsqueeze",
        "view",
    }
)
"""Operators that give elements of one tensor, as they are; there are others of the kind."""

_MOVES_OF_INDICES = MOVES | {"_unsafe_view", "flip", "repeat", "reshape"}

_VIEWS = (
    "view",
    "reshape",
    "permute",
    "transpose",
    "expand",
    "squeeze",
    "unsqueeze",
    "slice",
    "select",
    "alias",
    "detach",
    "split",
    "split_with_sizes",
    "unbind",
)
_COPIES = ("clone", "cat", "stack", "flip", "repeat", "constant_pad_nd", "roll")
_ELEMENTWISE_FLOAT = (
    "exp",
    "erf",
    "sigmoid",
    "tanh",
    "sqrt",
    "rsqrt",
    "sin",
    "cos",
    "silu",
    "gelu",
    "hardswish",
    "hardsigmoid",
    "relu6",
    "leaky_relu",
    "log",
)

TAKEN: dict[str, Operator] = {
    **dict.fromkeys(("mm", "bmm", "addmm", "baddbmm"), Operator((_floats, _one_type, _plain))),
    "convolution": Operator((_floats, _one_type, _plain, _not_transposed)),
    **dict.fromkeys(_VIEWS, Operator()),
    **dict.fromkeys(_COPIES, Operator((_one_type,))),
    "_to_copy": Operator((_converts_exactly,)),
    **dict.fromkeys(("full", "arange", "scalar_tensor"), Operator((_fills,))),
    "full_like": Operator(),
    **dict.fromkeys(_ELEMENTWISE_FLOAT, Operator((_floats,))),
    **dict.fromkeys(("abs", "neg", "relu"), Operator((_one_type, _no_overflow))),
    "add": Operator((_no_overflow, _alpha_alone, _one_type, _no_zero_term)),
    "sub": Operator((_no_overflow, _plain, _one_type)),
    "rsub": Operator((_no_overflow, _plain, _one_type, _no_zero_term)),
    "mul": Operator((_no_overflow, _plain, _one_type, _no_zero)),
    "div": Operator((_true_division, _floats, _one_type, _no_zero)),
    "reciprocal": Operator((_floats,)),
    "pow": Operator((_floats, _power_is_simple)),
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "hardtanh"), Operator((_one_type, _bounds_are_numbers))),
    "elu": Operator((_floats, _one_scale)),
    **dict.fromkeys(("maximum", "minimum"), Operator((_one_type, _numbers))),
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge"), Operator((_tensors_alike, _numbers, _scalar_compares))),
    "isnan": Operator((_tensors_alike,)),
    **dict.fromkeys(("logical_not", "logical_and", "logical_or"), Operator((_booleans,))),
    **dict.fromkeys(("bitwise_not", "bitwise_and", "bitwise_or"), Operator((_one_type, _whole))),
    "where": Operator((_branches_alike,)),
    "masked_fill": Operator(),
    **dict.fromkeys(("sum", "mean"), Operator((_floats, _plain))),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax"), Operator((_floats, _one_type))),
    **dict.fromkeys(("native_layer_norm", "native_group_norm"), Operator((_floats, _only_the_first_output))),
    "avg_pool2d": Operator((_floats, _no_divisor)),
    "max_pool2d_with_indices": Operator((_floats, _only_the_first_output, _small_windows)),
    **dict.fromkeys(("avg_pool1d", "_adaptive_avg_pool2d", "adaptive_avg_pool1d"), Operator((_floats,))),
    **dict.fromkeys(("upsample_nearest2d", "pixel_shuffle"), Operator()),
    "embedding": Operator((_indices_are_integers,), indexed=(0, None, 1)),
    "index_select": Operator((_indices_are_integers,), indexed=(0, 1, 2)),
    "gather": Operator((_indices_are_integers,), indexed=(0, 1, 2)),
    "index_copy": Operator((_indices_are_integers, _one_place), indexed=(0, 1, 2)),
    "index": Operator((_indices_are_integers, _indexes_first)),
}  # fmt: skip

_RANDOM = "it needs PyTorch's random numbers"
_NOT_A_NUMBER = "TVM's maxima and minima lose NaN and start from the largest finite number"
_REMAINDERS = "TVM's quotients and remainders differ for zero, infinite and negative numbers"
_INDEXES = "TVM's kernel does not check indices"
_ORDER = "TVM orders NaN otherwise"

LEFT: dict[str, str] = {
    **dict.fromkeys(
        (
            "bernoulli",
            "dropout",
            "dropout_",
            "native_dropout",
            "exponential",
            "rand",
            "randn",
            "rand_like",
            "randn_like",
        ),
        _RANDOM,
    ),
    **dict.fromkeys(("empty", "empty_like", "empty_permuted"), "its values are whatever stood in memory"),
    **dict.fromkeys(
        ("amax", "amin", "max", "min", "max_pool1d", "max_pool2d", "max_pool3d", "max_pool3d_with_indices"),
        _NOT_A_NUMBER,
    ),
    **dict.fromkeys(("argmax", "argmin", "sort", "argsort", "topk", "median"), _ORDER),
    **dict.fromkeys(("floor_divide", "fmod", "remainder"), _REMAINDERS),
    **dict.fromkeys(("scatter", "index_put", "take", "slice_scatter", "one_hot", "masked_select"), _INDEXES),
    **dict.fromkeys(("sinh", "cosh"), "TVM has no machine code for it on CPUs"),
    **dict.fromkeys(("var", "std", "var_mean"), "PyTorch computes it in double precision, without overflow"),
    "_local_scalar_dense": "it makes a Python number",
    "_scaled_dot_product_flash_attention_for_cpu": "PyTorch has a fused kernel",
    "log1p": "TVM computes log(1 + x), which loses small numbers",
    "grid_sampler_2d": "TVM rounds positions otherwise",
    **dict.fromkeys(("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"), "TVM filters otherwise"),
    **dict.fromkeys(("nll_loss_forward", "nll_loss2d_forward"), "PyTorch's kernel checks the targets"),
}
