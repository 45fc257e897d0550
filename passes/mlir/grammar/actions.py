"""What can be done to an MLIR module: the closed grammar of transforms and passes.

An `MlirAction` is one frozen value: a key of `ACTIONS`, the operation that it works on, and typed options. It prints in
the manner of MLIR's pass pipelines, `tile{on=linalg.matmul:0 sizes=8,32,0}`, and parses back; `script` gives its text
in the transform dialect, `passes` its text for the pass manager. What is not in the tables of this file is no action,
whoever proposes it, and no text of a proposal reaches MLIR.

Operations are named by kind and position: `linalg.matmul:1` is the second matmul of the module as MLIR walks it (inner
operations first), `linalg:0` the first structured operation of any name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Union

from foretune.errors import IllegalActionError
from foretune.passes.mlir.grammar.dot_instructions import DOT_INSTRUCTIONS
from foretune.passes.mlir.grammar.options import CONTRACTS, MATHS, REDUCTIONS, TRANSPOSES, LoweringOptions
from foretune.trace import Action, Trace

OptionValue = Union[bool, int, str, tuple[int, ...]]
ANY = "!transform.any_op"

STRUCTURED, LOOPS, PADS, PACKS = "structured", "loops", "pads", "packs"
TARGETS: dict[str, tuple[str, ...]] = {
    STRUCTURED: (
        "linalg",
        "linalg.generic",
        "linalg.matmul",
        "linalg.batch_matmul",
        "linalg.matvec",
        "linalg.vecmat",
        "linalg.dot",
        "linalg.batch_matvec",
        "linalg.contract",
        "linalg.conv_1d_nwc_wcf",
        "linalg.conv_2d_nhwc_hwcf",
        "linalg.conv_2d_nchw_fchw",
        "linalg.conv_2d_nhwc_fhwc",
        "linalg.conv_2d",
        "linalg.depthwise_conv_2d_nhwc_hwc",
        "linalg.depthwise_conv_1d_nwc_wc",
        "linalg.pooling_nhwc_max",
        "linalg.pooling_nhwc_sum",
        "linalg.pooling_nchw_max",
        "linalg.fill",
        "linalg.copy",
        "linalg.transpose",
        "linalg.broadcast",
        "linalg.reduce",
        "linalg.map",
        "linalg.elementwise",
        "linalg.add",
        "linalg.sub",
        "linalg.mul",
        "linalg.div",
        "linalg.max",
        "linalg.exp",
        "linalg.softmax",
        "linalg.mmt4d",
    ),
    LOOPS: ("scf.for", "affine.for"),
    PADS: ("tensor.pad",),
    PACKS: ("linalg.pack", "linalg.unpack"),
}
"""Kinds of operations that actions work on."""

NOT_STRUCTURED = frozenset(
    (
        "linalg.yield",
        "linalg.index",
        "linalg.softmax",
        "linalg.pack",
        "linalg.unpack",
        "linalg.winograd_filter_transform",
        "linalg.winograd_input_transform",
        "linalg.winograd_output_transform",
    )
)
"""Operations of the dialect that `linalg` does not count."""

_MAX_INDEX, _MAX_SIZE, _MAX_RANK, _MAX_TEXT, _MAX_ACTIONS = 255, 1 << 16, 12, 400, 128


# -- options -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ints:
    """A list of integers; so many where `count` says it, and a permutation of 0, 1, ... where that is asked for."""

    least: int = 0
    most: int = _MAX_SIZE
    permutation: bool = False
    count: int = 0

    def check(self, value: object) -> bool:
        """Whether a value is one."""
        if (
            not isinstance(value, tuple)
            or not 0 < len(value) <= _MAX_RANK
            or not all(type(v) is int and self.least <= v <= self.most for v in value)
        ):
            return False
        if self.count and len(value) != self.count:
            return False
        return not self.permutation or sorted(value) == list(range(len(value)))

    def parse(self, text: str) -> OptionValue:
        """Reads `8,32,0`."""
        if not re.fullmatch(r"-?\d{1,9}(,-?\d{1,9})*", text):
            raise ValueError(text)
        return tuple(int(v) for v in text.split(","))

    def __str__(self) -> str:
        return (
            "a permutation such as 1,0,2"
            if self.permutation
            else f"{self.count or ''} integers of {self.least}..{self.most} such as 8,32,0".strip()
        )


@dataclass(frozen=True)
class Int:
    """An integer."""

    least: int
    most: int

    def check(self, value: object) -> bool:
        """Whether a value is one."""
        return type(value) is int and self.least <= value <= self.most

    def parse(self, text: str) -> OptionValue:
        """Reads `4`."""
        if not re.fullmatch(r"-?\d{1,9}", text):
            raise ValueError(text)
        return int(text)

    def __str__(self) -> str:
        return f"{self.least}..{self.most}"


@dataclass(frozen=True)
class Word:
    """One of some words."""

    words: tuple[str, ...]

    def check(self, value: object) -> bool:
        """Whether a value is one."""
        return isinstance(value, str) and value in self.words

    def parse(self, text: str) -> OptionValue:
        """Reads a word."""
        return text

    def __str__(self) -> str:
        return "|".join(self.words)


@dataclass(frozen=True)
class Switch:
    """True or false."""

    def check(self, value: object) -> bool:
        """Whether a value is one."""
        return isinstance(value, bool)

    def parse(self, text: str) -> OptionValue:
        """Reads `true` or `false`."""
        return {"true": True, "false": False}.get(text, text)

    def __str__(self) -> str:
        return "true|false"


OptionKind = Union[Ints, Int, Word, Switch]
Lines = list[str]


@dataclass(frozen=True)
class ActionKind:
    """A transform or pass of the grammar.

    Attributes:
        help: what it does, for people.
        on: what it works on, a key of `TARGETS`; empty for the whole module.
        options: name -> what it may be.
        needed: options that must be given.
        script: (options, the target's handle, prefix of new names) -> lines of the transform dialect; None of passes.
        passes: options -> texts for the pass manager.
    """

    help: str
    on: str = ""
    options: Mapping[str, OptionKind] = field(default_factory=dict)
    needed: tuple[str, ...] = ()
    script: Callable[[Mapping[str, Any], str, str], Lines] | None = None
    passes: Callable[[Mapping[str, Any]], tuple[str, ...]] = lambda options: ()


# -- texts of the transform dialect ----------------------------------------------------------------


def _list(values: Any) -> str:
    return f"[{', '.join(str(v) for v in values)}]"


def _results(num: int) -> str:
    return f"({', '.join([ANY] * num)})" if num != 1 else ANY


def _tile(o: Mapping[str, Any], t: str, p: str) -> Lines:
    loops = sum(size > 0 for size in o["sizes"])
    order = f" interchange = {_list(o['interchange'])}" if "interchange" in o else ""
    left = f"%{p}t, %{p}l:{loops}" if loops else f"%{p}t"
    return [
        f"{left} = transform.structured.tile_using_for {t} tile_sizes {_list(o['sizes'])}{order} : ({ANY}) ->"
        f" {_results(1 + loops)}"
    ]


def _fuse(o: Mapping[str, Any], t: str, p: str) -> Lines:
    loops = sum(size > 0 for size in o["sizes"])
    order = f" interchange {_list(o['interchange'])}" if "interchange" in o else ""
    return [
        f"%{p}t, %{p}l:{loops} = transform.structured.fuse {t} tile_sizes {_list(o['sizes'])}{order} {{apply_cleanup}}"
        f" : ({ANY}) -> {_results(1 + loops)}"
    ]


def _one(text: str) -> Callable[[Mapping[str, Any], str, str], Lines]:
    """An operation with one handle in and `{results}` out; `{name}` in braces are options."""

    def script(o: Mapping[str, Any], t: str, p: str) -> Lines:
        shown = {
            k: _list(v) if isinstance(v, tuple) else str(v).lower() if isinstance(v, bool) else v for k, v in o.items()
        }
        return [text.format(t=t, p=p, ANY=ANY, **shown)]

    return script


def _pad(o: Mapping[str, Any], t: str, p: str) -> Lines:
    element = o.get("element", "f32")
    kinds = [o.get("input", element)] * (o.get("operands", 3) - 1) + [element]
    values = ", ".join(f"{'0.0' if kind.startswith(('f', 'b')) else '0'} : {kind}" for kind in kinds)
    dims = list(range(len(o["multiples"])))
    multiples = f" pad_to_multiple_of {_list(o['multiples'])}" if any(m > 1 for m in o["multiples"]) else ""
    nofold = f" nofold_flags = {_list(o['nofold'])}," if "nofold" in o else ""
    return [
        f"%{p}a, %{p}b, %{p}c = transform.structured.pad {t}{multiples} {{padding_values = [{values}],"
        f" padding_dimensions = {_list(dims)},{nofold}"
        f' copy_back_op = "none"}} : ({ANY}) -> ({ANY}, {ANY}, {ANY})'
    ]


def _pack_transpose(o: Mapping[str, Any], t: str, p: str) -> Lines:
    inner = f" inner_perm = {_list(o['inner'])}" if "inner" in o else ""
    outer = f" outer_perm = {_list(o['outer'])}" if "outer" in o else ""
    return [
        f"%{p}u = transform.get_consumers_of_result {t}[0] : ({ANY}) -> {ANY}",
        (
            f"%{p}a, %{p}b, %{p}c = transform.structured.pack_transpose {t} with_compute_op(%{p}u){outer}{inner} :"
            f" ({ANY}, {ANY}) -> ({ANY}, {ANY}, {ANY})"
        ),
    ]


def _lower_packs(o: Mapping[str, Any], t: str, p: str) -> Lines:
    pack, unpack = '!transform.op<"linalg.pack">', '!transform.op<"linalg.unpack">'
    ops = [f'!transform.op<"{name}">' for name in ("tensor.pad", "tensor.expand_shape", "linalg.transpose")]
    uns = [
        f'!transform.op<"{name}">'
        for name in ("tensor.empty", "linalg.transpose", "tensor.collapse_shape", "tensor.extract_slice")
    ]
    return [
        f'%{p}p = transform.structured.match ops{{["linalg.pack"]}} in {t} : ({ANY}) -> {pack}',
        (
            f"transform.foreach %{p}p : {pack} {{ ^bb0(%{p}o: {pack}): %{p}x:3 = transform.structured.lower_pack %{p}o"
            f" : ({pack}) -> ({', '.join(ops)}) }}"
        ),
        f'%{p}q = transform.structured.match ops{{["linalg.unpack"]}} in {t} : ({ANY}) -> {unpack}',
        (
            f"transform.foreach %{p}q : {unpack} {{ ^bb0(%{p}n: {unpack}): %{p}y:4 = transform.structured.lower_unpack"
            f" %{p}n : ({unpack}) -> ({', '.join(uns)}) }}"
        ),
    ]


def _each_function(*lines: str) -> Callable[[Mapping[str, Any], str, str], Lines]:
    """Lines for all functions, whose handle is `{f}`."""

    def script(o: Mapping[str, Any], t: str, p: str) -> Lines:
        shown = {
            k: _list(v) if isinstance(v, tuple) else str(v).lower() if isinstance(v, bool) else v for k, v in o.items()
        }
        match = f'%{p}f = transform.structured.match ops{{["func.func"]}} in {t} : ({ANY}) -> {ANY}'
        return [match, *(line.format(f=f"%{p}f", p=p, ANY=ANY, **shown) for line in lines)]

    return script


def _patterns(*names: str) -> Callable[[Mapping[str, Any], str, str], Lines]:
    """Patterns for all functions, to a fixed point."""
    return _each_function(
        "transform.apply_patterns to {f} {{ "
        + " ".join(f"transform.apply_patterns.{name}" for name in names)
        + " }} : {ANY}"
    )


def _promote(o: Mapping[str, Any], t: str, p: str) -> Lines:
    full = ", use_full_tiles_by_default" if o.get("full", False) else ""
    return [
        f"%{p}t = transform.structured.promote {t} {{operands_to_promote = {_list(o['operands'])}, alignment ="
        f" {o.get('alignment', 64)}{full}{', use_alloca' if o.get('stack', False) else ''}}} : ({ANY}) -> {ANY}"
    ]


def _hoist_pad(o: Mapping[str, Any], t: str, p: str) -> Lines:
    order = f", transpose by {_list(o['transpose'])}" if "transpose" in o else ""
    return [f"%{p}t = transform.structured.hoist_pad {t} by {o['loops']} loops{order} : ({ANY}) -> {ANY}"]


def _pass(name: str, **fixed: str) -> Callable[[Mapping[str, Any]], tuple[str, ...]]:
    """A pass of the module; options keep their names, with `-` for `_`."""

    def passes(o: Mapping[str, Any]) -> tuple[str, ...]:
        shown = {
            **fixed,
            **{
                k.replace("_", "-"): (
                    ",".join(map(str, v)) if isinstance(v, tuple) else str(v).lower() if isinstance(v, bool) else v
                )
                for k, v in o.items()
            },
        }
        inner = f"{name}{{{' '.join(f'{k}={v}' for k, v in shown.items())}}}" if shown else name
        return (inner,)

    return passes


def _function_pass(name: str, **fixed: str) -> Callable[[Mapping[str, Any]], tuple[str, ...]]:
    inner = _pass(name, **fixed)
    return lambda o: (f"func.func({inner(o)[0]})",)


_SIZES, _ORDER, _OPERANDS = Ints(0), Ints(0, _MAX_RANK - 1, permutation=True), Ints(0, 7)
_FACTOR = Int(2, 64)
_NUMBERS = ("f16", "bf16", "f32", "f64", "i8", "i16", "i32", "i64")

ACTIONS: dict[str, ActionKind] = {
    # structured operations, on tensors or memrefs
    "tile": ActionKind(
        "Tile into loops, the outermost first.", STRUCTURED, {"sizes": _SIZES, "interchange": _ORDER}, ("sizes",), _tile
    ),
    "fuse": ActionKind(
        "Tile, and fuse the producers of the operands into the loops.",
        STRUCTURED,
        {"sizes": _SIZES, "interchange": _ORDER},
        ("sizes",),
        _fuse,
    ),
    "tile-reduction": ActionKind(
        "Tile a reduction into partial results and a merge.",
        STRUCTURED,
        {"sizes": _SIZES},
        ("sizes",),
        _one(
            "%{p}f, %{p}s, %{p}c, %{p}l = transform.structured.tile_reduction_using_for {t} by tile_sizes = {sizes} :"
            " ({ANY}) -> ({ANY}, {ANY}, {ANY}, {ANY})"
        ),
    ),
    "split-reduction": ActionKind(
        "Split a reduction by a factor into a parallel dimension.",
        STRUCTURED,
        {"factor": Int(2, 1024), "dimension": Int(0, _MAX_RANK), "inner": Switch()},
        ("factor", "dimension"),
        lambda o, t, p: [
            f"%{p}a, %{p}b, %{p}c, %{p}d = transform.structured.split_reduction {t} {{split_factor = {o['factor']},"
            f" insert_split_dimension = {o['dimension']}{', inner_parallel' if o.get('inner') else ''}}} : ({ANY}) ->"
            f" ({ANY}, {ANY}, {ANY}, {ANY})"
        ],
    ),
    "interchange": ActionKind(
        "Reorder the loops of a generic operation.",
        STRUCTURED,
        {"order": _ORDER},
        ("order",),
        _one("%{p}t = transform.structured.interchange {t} iterator_interchange = {order} : ({ANY}) -> {ANY}"),
    ),
    "generalize": ActionKind(
        "Named operation to linalg.generic.",
        STRUCTURED,
        script=_one("%{p}t = transform.structured.generalize {t} : ({ANY}) -> {ANY}"),
    ),
    "specialize": ActionKind(
        "linalg.generic to a named operation.",
        STRUCTURED,
        script=_one("%{p}t = transform.structured.specialize {t} : ({ANY}) -> {ANY}"),
    ),
    "decompose": ActionKind(
        "Window of two dimensions to one of one dimension, where an extent is 1.",
        STRUCTURED,
        script=_one("%{p}t = transform.structured.decompose {t} : ({ANY}) -> {ANY}"),
    ),
    "decompose-aggregate": ActionKind(
        "Aggregate (softmax) to simpler operations.",
        STRUCTURED,
        script=_one("%{p}t = transform.structured.decompose_interface {t} : ({ANY}) -> {ANY}"),
    ),
    "gather-columns": ActionKind(
        "Convolution to a matrix product over gathered columns, by a copy without arithmetic on indices.",
        STRUCTURED,
    ),
    "dot-product": ActionKind(
        "Product of narrow numbers by an instruction that sums groups of neighbours into lanes of 32 bits: tiles of so"
        " many rows and vectors, and so many rows for all columns before the next ones.",
        STRUCTURED,
        {
            "by": Word(tuple(DOT_INSTRUCTIONS)),
            "rows": Int(1, 64),
            "vectors": Int(1, 16),
            "bits": Int(128, 512),
            "block": Int(1, 1 << 16),
        },
        ("by", "rows", "vectors", "bits"),
    ),
    "widen-operands": ActionKind(
        "Product of narrow numbers to one of copies of its operands that are widened once.", STRUCTURED
    ),
    "img2col": ActionKind(
        "Convolution to a matrix product over gathered columns.",
        STRUCTURED,
        script=_one("%{p}a, %{p}b = transform.structured.convert_conv2d_to_img2col {t} : ({ANY}) -> ({ANY}, {ANY})"),
    ),
    "transpose-conv": ActionKind(
        "Convolution with filters fhwc to one with hwcf.",
        STRUCTURED,
        script=_one("%{p}t = transform.structured.transpose_conv2d {t} : ({ANY}) -> {ANY}"),
    ),
    "transpose-matmul": ActionKind(
        "Matrix product of a transposed operand.",
        STRUCTURED,
        {"operand": Word(("lhs", "rhs"))},
        ("operand",),
        _one("%{p}t = transform.structured.transpose_matmul {t} <{operand}> : ({ANY}) -> {ANY}"),
    ),
    "flatten": ActionKind(
        "Elementwise operation to one dimension.",
        STRUCTURED,
        script=_one("%{p}t = transform.structured.flatten_elementwise {t} : ({ANY}) -> {ANY}"),
    ),
    "pad": ActionKind(
        "Pad the operands to multiples; `nofold` makes copies of operands that need no padding; `input`: type of all"
        " operands but the last, where it is another one.",
        STRUCTURED,
        {
            "multiples": Ints(1),
            "nofold": Ints(0, 1),
            "operands": Int(1, 8),
            "element": Word(_NUMBERS),
            "input": Word(_NUMBERS),
        },
        ("multiples",),
        _pad,
    ),
    "pack": ActionKind(
        "Data layout with inner tiles of the given sizes; 0 leaves a dimension.",
        STRUCTURED,
        {"sizes": _SIZES},
        ("sizes",),
        _one("%{p}t = transform.structured.pack {t} packed_sizes = {sizes} : ({ANY}) -> {ANY}"),
    ),
    "pack-greedily": ActionKind(
        "Data layout of matrix products found inside an operation.",
        STRUCTURED,
        {"sizes": Ints(1, count=3), "order": Ints(0, 2, permutation=True, count=3)},
        ("sizes",),
        lambda o, t, p: [
            f"%{p}t = transform.structured.pack_greedily {t} matmul_packed_sizes = {_list(o['sizes'])}"
            f" matmul_inner_dims_order = {_list(o.get('order', (0, 1, 2)))} : ({ANY}) -> {ANY}"
        ],
    ),
    "pack-transpose": ActionKind(
        "Permute the outer or inner dimensions of a packed operand.",
        PACKS,
        {"outer": _ORDER, "inner": _ORDER},
        (),
        _pack_transpose,
    ),
    "lower-packs": ActionKind("Packing and unpacking to reshapes and transpositions.", script=_lower_packs),
    "hoist-pad": ActionKind(
        "Build a padded operand before so many loops, as a packed array.",
        PADS,
        {"loops": Int(1, 8), "transpose": _ORDER},
        ("loops",),
        _hoist_pad,
    ),
    "promote": ActionKind(
        "Copy operands (of memrefs) to small buffers of their own.",
        STRUCTURED,
        {"operands": _OPERANDS, "alignment": Int(1, 4096), "stack": Switch(), "full": Switch()},
        ("operands",),
        _promote,
    ),
    "vectorize": ActionKind(
        "Vectorise one operation; with `sizes`, by masked vectors of these extents.",
        STRUCTURED,
        {"sizes": Ints(1, 1024)},
        (),
        lambda o, t, p: [
            f"transform.structured.vectorize {t}{' vector_sizes ' + _list(o['sizes']) if 'sizes' in o else ''}"
            f" {{create_named_contraction}} : {ANY}"
        ],
    ),
    "vectorize-all": ActionKind(
        "Vectorise whatever is small and static.",
        script=_each_function(
            "%{p}v = transform.structured.vectorize_children_and_apply_patterns {f}"
            " {{fold_type_extensions_into_contract}} : ({ANY}) -> {ANY}"
        ),
    ),
    # loops
    "unroll": ActionKind(
        "Unroll a loop.",
        LOOPS,
        {"factor": _FACTOR},
        ("factor",),
        _one("transform.loop.unroll {t} {{ factor = {factor} }} : {ANY}"),
    ),
    "unroll-and-jam": ActionKind(
        "Unroll a loop and join the copies of what is inside.",
        LOOPS,
        {"factor": _FACTOR},
        ("factor",),
        _one("transform.loop.unroll_and_jam {t} {{ factor = {factor} }} : {ANY}"),
    ),
    "peel": ActionKind(
        "Split off the part of a loop that does not fill its step.",
        LOOPS,
        {"front": Switch()},
        (),
        lambda o, t, p: [
            f'%{p}c = transform.cast {t} : {ANY} to !transform.op<"scf.for">',
            (
                f"%{p}a, %{p}b = transform.loop.peel %{p}c {{peel_front = {str(o.get('front', False)).lower()}}} :"
                f' (!transform.op<"scf.for">) -> ({ANY}, {ANY})'
            ),
        ],
    ),
    "coalesce": ActionKind(
        "A nest of loops to one loop.", LOOPS, script=_one("%{p}t = transform.loop.coalesce {t} : ({ANY}) -> {ANY}")
    ),
    "drop-loop": ActionKind(
        "Take away a loop of one iteration.", LOOPS, script=_one("transform.loop.promote_if_one_iteration {t} : {ANY}")
    ),
    "hoist-subsets": ActionKind(
        "Keep parts of tensors that a loop reads and writes at one place in values.",
        LOOPS,
        script=_one("transform.loop.hoist_loop_invariant_subsets {t} : {ANY}"),
    ),
    # vectors, in all functions
    "hoist-transfers": ActionKind(
        "Move reads before loops and writes behind them, of vectors that stay at one place.",
        script=_each_function("%{p}h = transform.structured.hoist_redundant_vector_transfers {f} : ({ANY}) -> {ANY}"),
    ),
    "hoist-broadcasts": ActionKind(
        "Move broadcasts of vectors out of loops.",
        script=_each_function("%{p}h = transform.structured.hoist_redundant_vector_broadcasts {f} : ({ANY}) -> {ANY}"),
    ),
    "hoist-all-subsets": ActionKind(
        "`hoist-subsets` of every loop.",
        script=lambda o, t, p: [  # in the module: a handle of several functions cannot be looked into
            f'%{p}l = transform.structured.match ops{{["scf.for"]}} in {t} : ({ANY}) -> {ANY}',
            f"transform.loop.hoist_loop_invariant_subsets %{p}l : {ANY}",
        ],
    ),
    "lower-contraction": ActionKind(
        "vector.contract to simpler operations.",
        options={"by": Word(("outerproduct", "dot", "parallelarith", "llvmintr"))},
        needed=("by",),
        script=_each_function(
            "transform.apply_patterns to {f} {{ transform.apply_patterns.vector.lower_contraction lowering_strategy ="
            " {by} }} : {ANY}"
        ),
    ),
    "lower-multi-reduction": ActionKind(
        "vector.multi_reduction to simpler operations.",
        options={"by": Word(("innerparallel", "innerreduction"))},
        needed=("by",),
        script=_each_function(
            "transform.apply_patterns to {f} {{ transform.apply_patterns.vector.lower_multi_reduction lowering_strategy"
            " = {by} }} : {ANY}"
        ),
    ),
    "lower-transpose": ActionKind(
        "vector.transpose to simpler operations.",
        options={"by": Word(("eltwise", "flat_transpose", "shuffle_1d", "shuffle_16x16"))},
        needed=("by",),
        script=_each_function(
            "transform.apply_patterns to {f} {{ transform.apply_patterns.vector.lower_transpose lowering_strategy ="
            " {by} }} : {ANY}"
        ),
    ),
    "lower-transfer": ActionKind(
        "Transfers of vectors to loads and stores of one dimension.",
        options={"rank": Int(1, 4)},
        script=lambda o, t, p: _each_function(
            "transform.apply_patterns to {f} {{ transform.apply_patterns.vector.lower_transfer max_transfer_rank ="
            f" {o.get('rank', 1)} }}}} : {{ANY}}"
        )({}, t, p),
    ),
    **{
        name: ActionKind(text, script=_patterns(*patterns))
        for name, text, patterns in (
            ("lower-outerproduct", "vector.outerproduct to fused multiply-adds.", ("vector.lower_outerproduct",)),
            ("lower-shape-cast", "vector.shape_cast to inserts and extracts.", ("vector.lower_shape_cast",)),
            ("lower-broadcast", "vector.broadcast to simpler ones.", ("vector.lower_broadcast",)),
            (
                "lower-masks",
                "Masks to constants and selects.",
                (
                    "vector.lower_masks",
                    "vector.lower_create_mask",
                    "vector.lower_masked_transfers",
                    "vector.materialize_masks",
                ),
            ),
            (
                "mask-transfers",
                "Masks around transfers of vectors to masks of the transfers.",
                ("vector.lower_masked_transfers",),
            ),
            (
                "permute-transfers",
                "Transfers with permutations to plain ones and transpositions.",
                ("vector.transfer_permutation_patterns",),
            ),
            (
                "drop-unit-dims",
                "Vectors without dimensions of extent 1.",
                ("vector.cast_away_vector_leading_one_dim", "vector.drop_inner_most_unit_dims_from_xfer_ops"),
            ),
            (
                "drop-unit-dims-by-cast",
                "Vectors without dimensions of extent 1, by casts of shape.",
                ("vector.drop_unit_dims_with_shape_cast",),
            ),
            (
                "reduction-to-contract",
                "Products under reductions to vector.contract.",
                ("vector.reduction_to_contract",),
            ),
            (
                "sink",
                "Broadcasts and transpositions behind elementwise operations.",
                ("vector.sink_ops", "vector.sink_mem_ops"),
            ),
            (
                "fold-slices",
                "Slices and subviews into the transfers that read them.",
                ("tensor.fold_tensor_subset_ops_into_vector_transfers", "memref.fold_memref_alias_ops"),
            ),
            (
                "merge-slices",
                "Neighbouring slices to one.",
                ("tensor.merge_consecutive_insert_extract_slice", "tensor.reassociative_reshape_folding"),
            ),
            (
                "fold-pack-empty",
                "Packing of empty tensors away.",
                ("linalg.fold_pack_unpack_into_empty", "tensor.fold_tensor_empty"),
            ),
            (
                "fold-unit-extents",
                "Structured operations without dimensions of extent 1.",
                ("linalg.fold_unit_extent_dims_via_slices",),
            ),
            (
                "tidy-tiling",
                "Bounds and slices after tiling.",
                ("linalg.tiling_canonicalization", "scf.for_loop_canonicalization", "canonicalization"),
            ),
        )
    },
    # passes of the whole module
    "canonicalize": ActionKind("Local simplifications.", passes=_pass("canonicalize")),
    "cse": ActionKind("Equal expressions once.", passes=_pass("cse")),
    "licm": ActionKind("Invariant code out of loops.", passes=_pass("loop-invariant-code-motion")),
    "inline": ActionKind("Calls by what they call.", passes=_pass("inline")),
    "fuse-elementwise": ActionKind(
        "Chains of elementwise operations to one.",
        passes=lambda o: ("linalg-fuse-elementwise-ops", "canonicalize", "cse"),
    ),
    "generalize-all": ActionKind(
        "All named operations to linalg.generic.", passes=lambda o: ("func.func(linalg-generalize-named-ops)",)
    ),
    "specialize-all": ActionKind(
        "linalg.generic to named operations where they fit.",
        passes=lambda o: ("func.func(linalg-specialize-generic-ops)",),
    ),
    "inline-scalars": ActionKind(
        "Scalar operands into the bodies of operations.", passes=lambda o: ("func.func(linalg-inline-scalar-operands)",)
    ),
    "peel-loops": ActionKind("Peel every loop.", passes=lambda o: ("func.func(scf-for-loop-peeling)", "canonicalize")),
    "expand-exp": ActionKind("math.exp of float32 to a polynomial, which vectorises."),
    "expand-functions": ActionKind(
        "math.erf, math.tanh and math.log of float32 to rational functions and polynomials, which vectorise."
    ),
    "expand-math": ActionKind(
        "Functions to simpler ones, such as tanh to exp.",
        options={"op": Word(("tanh", "sinh", "cosh", "powf", "exp2f", "rsqrt", "fpowi"))},
        needed=("op",),
        passes=lambda o: (f"func.func(math-expand-ops{{ops={o['op']}}})",),
    ),
    "raise-to-products": ActionKind(
        "Loop nests over memrefs that accumulate products of matrices to structured operations on tensors."
    ),
    "bufferize": ActionKind("Tensors to memrefs, in one shot."),
    "to-loops": ActionKind(
        "Structured operations to scf loops.", passes=lambda o: ("func.func(convert-linalg-to-loops)",)
    ),
    "to-affine-loops": ActionKind(
        "Structured operations to affine loops.", passes=lambda o: ("func.func(convert-linalg-to-affine-loops)",)
    ),
    "raise-to-affine": ActionKind(
        "Loads and stores to affine ones where they are.", passes=lambda o: ("func.func(affine-raise-from-memref)",)
    ),
    "affine-tile": ActionKind(
        "Tile affine loop nests.",
        options={"tile_sizes": Ints(1, 4096), "separate": Switch()},
        needed=("tile_sizes",),
        passes=_function_pass("affine-loop-tile"),
    ),
    "affine-unroll": ActionKind(
        "Unroll innermost affine loops.",
        options={"unroll_factor": Int(2, 64)},
        needed=("unroll_factor",),
        passes=_function_pass("affine-loop-unroll"),
    ),
    "affine-unroll-jam": ActionKind(
        "Unroll affine loops and join the copies.",
        options={"unroll_jam_factor": Int(2, 16)},
        needed=("unroll_jam_factor",),
        passes=_function_pass("affine-loop-unroll-jam"),
    ),
    "affine-fusion": ActionKind(
        "Fuse affine loops.",
        options={"mode": Word(("greedy", "producer", "sibling")), "maximal": Switch()},
        passes=lambda o: (
            f"func.func(affine-loop-fusion{{mode={o.get('mode', 'greedy')} maximal={int(o.get('maximal', False))}}})",
        ),
    ),
    "affine-scalrep": ActionKind("Forward stores to loads.", passes=_function_pass("affine-scalrep")),
    "affine-licm": ActionKind(
        "Invariant code out of affine loops.", passes=_function_pass("affine-loop-invariant-code-motion")
    ),
    "affine-vectorize": ActionKind(
        "Vectorise affine loops.",
        options={"virtual_vector_size": Ints(2, 256), "vectorize_reductions": Switch()},
        needed=("virtual_vector_size",),
        passes=_function_pass("affine-super-vectorize"),
    ),
    "affine-coalesce": ActionKind(
        "Nests of affine loops to one loop.", passes=_function_pass("affine-loop-coalescing")
    ),
    "affine-copy": ActionKind(
        "Copies to small buffers, from the given depth on.",
        options={"fast_mem_capacity": Int(1, 1 << 16), "skip_non_unit_stride_loops": Switch()},
        passes=_function_pass("affine-data-copy-generate", **{"generate-dma": "false", "fast-mem-space": "0"}),
    ),
    # how it ends
    "lower": ActionKind(
        "How the default lowering goes on from here.",
        options={
            "contract": Word(CONTRACTS),
            "transpose": Word(TRANSPOSES),
            "math": Word(MATHS),
            "reductions": Word(REDUCTIONS),
        },
    ),
}
"""All actions, by name."""


@dataclass(frozen=True)
class MlirAction:
    """One transform or pass.

    Attributes:
        name: a key of `ACTIONS`.
        on: kind and position of the operation, such as `linalg.matmul:0`; empty for the whole module.
        options: (option, value), by name.
    """

    name: str
    on: str = ""
    options: tuple[tuple[str, OptionValue], ...] = ()

    def __post_init__(self) -> None:
        kind = ACTIONS.get(self.name) if isinstance(self.name, str) else None
        if kind is None:
            raise IllegalActionError(f"there is no action {_shown(self.name)}; `foretune mlir passes` lists them")
        if bool(kind.on) != bool(self.on):
            raise IllegalActionError(
                f"action {self.name} works on"
                f" {'one of ' + ', '.join(TARGETS[kind.on][:6]) + ', ...' if kind.on else 'the whole module'}, but got"
                f" on={_shown(self.on)}"
            )
        if kind.on:
            _parse_target(self.name, kind, self.on)
        object.__setattr__(self, "options", tuple(sorted(self.options)))
        names = [name for name, _ in self.options]
        if len(set(names)) < len(names):
            raise IllegalActionError(f"action {self.name} has an option twice: {names}")
        known = dict(kind.options)
        for name, value in self.options:
            if name not in known or not known[name].check(value):
                takes = ", ".join(f"{n}={o}" for n, o in known.items()) or "no options"
                raise IllegalActionError(f"action {self.name} takes {takes}, but got {_shown(name)}={_shown(value)}")
        missing = [name for name in kind.needed if name not in names]
        if missing:
            raise IllegalActionError(f"action {self.name} needs {', '.join(missing)}")

    @property
    def kind(self) -> ActionKind:
        """What the grammar says of it."""
        return ACTIONS[self.name]

    @property
    def target(self) -> tuple[str, int] | None:
        """(kind of the operation, its position); None for the whole module."""
        return _parse_target(self.name, self.kind, self.on) if self.on else None

    def script(self, count: int = 1, prefix: str = "") -> list[str]:
        """Its lines of the transform dialect, where `%r` is the module; none of a pass.

        Args:
            count: how many operations of the target's kind the module has: a handle can only be split into a known
                number.
            prefix: of the names of handles.
        """
        if self.kind.script is None:
            return []
        if self.target is None:
            return self.kind.script(dict(self.options), "%r", prefix)
        name, index = self.target
        what = "interface{LinalgOp}" if name == "linalg" else f'ops{{["{name}"]}}'
        lines, handle = (
            [f"%{prefix}match = transform.structured.match {what} in %r : ({ANY}) -> {ANY}"],
            f"%{prefix}match",
        )
        if count > 1:
            lines.append(f"%{prefix}one:{count} = transform.split_handle %{prefix}match : ({ANY}) -> {_results(count)}")
            handle = f"%{prefix}one#{index}"
        return lines + self.kind.script(dict(self.options), handle, prefix)

    def passes(self) -> tuple[str, ...]:
        """Its texts for the pass manager; none of a transform."""
        return tuple(self.kind.passes(dict(self.options)))

    def trace_action(self) -> Action:
        """It as the noun that every domain shares: the operation is an attribute."""
        return Action(self.name, attrs=(self.on, *((name, value) for name, value in self.options)))

    @classmethod
    def from_trace_action(cls, action: Action) -> MlirAction:
        """Reads what `trace_action` made."""
        if (
            not action.attrs
            or not isinstance(action.attrs[0], str)
            or not all(isinstance(a, tuple) and len(a) == 2 for a in action.attrs[1:])
        ):
            raise IllegalActionError("an action's attributes must be its operation and pairs of option and value")
        return cls(action.op, action.attrs[0], tuple((str(n), v) for n, v in action.attrs[1:]))  # type: ignore[misc]

    @classmethod
    def parse(cls, text: object) -> MlirAction:
        """Reads an action as it prints.

        Raises:
            IllegalActionError: the grammar does not have it.
        """
        if not isinstance(text, str) or len(text) > _MAX_TEXT:
            raise IllegalActionError(f"an action must be a short text, but got {_shown(text)}")
        match = re.fullmatch(r"([a-z0-9-]+)(?:\{([^{}]*)\})?", text.strip())
        if match is None or match[1] not in ACTIONS:
            raise IllegalActionError(f"there is no action {_shown(text)}; `foretune mlir passes` lists them")
        kind, on, options = ACTIONS[match[1]], "", []
        for word in (match[2] or "").split():
            name, equals, value = word.partition("=")
            if name == "on" and equals:
                on = value
                continue
            try:
                options.append((name, dict(kind.options)[name].parse(value)))
            except (KeyError, ValueError):
                options.append((name, value))  # refused below, with what it takes
        return cls(match[1], on, tuple(options))

    def __str__(self) -> str:
        words = [f"on={self.on}"] if self.on else []
        words += [
            f"{n}={','.join(map(str, v)) if isinstance(v, tuple) else str(v).lower() if isinstance(v, bool) else v}"
            for n, v in self.options
        ]
        return f"{self.name}{{{' '.join(words)}}}" if words else self.name


@dataclass(frozen=True)
class Schedule:
    """Actions in order: what a candidate does to a module before the default lowering takes over.

    Attributes:
        actions: in order.
    """

    actions: tuple[MlirAction, ...] = ()

    def __post_init__(self) -> None:
        if len(self.actions) > _MAX_ACTIONS:
            raise IllegalActionError(f"a schedule may have {_MAX_ACTIONS} actions, but got {len(self.actions)}")

    @property
    def lowering(self) -> LoweringOptions:
        """What the last `lower` says."""
        said = [action for action in self.actions if action.name == "lower"]
        return LoweringOptions(**{**asdict(LoweringOptions()), **dict(said[-1].options if said else ())})

    @classmethod
    def of(cls, *texts: str) -> Schedule:
        """A schedule from texts of actions."""
        return cls(tuple(MlirAction.parse(text) for text in texts))

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Reads a schedule as it prints: actions separated by semicolons or ends of lines."""
        return cls.of(*(part for part in re.split(r"[;\n]", text) if part.strip()))

    def trace(self) -> Trace:
        """The schedule as a trace."""
        return Trace(tuple(action.trace_action() for action in self.actions))

    @classmethod
    def from_trace(cls, trace: Trace) -> Schedule:
        """Reads what `trace` made."""
        return cls(tuple(MlirAction.from_trace_action(action) for action in trace.actions))

    def to_json(self) -> list[str]:
        """The texts of its actions."""
        return [str(action) for action in self.actions]

    @classmethod
    def from_json(cls, rows: Any) -> Schedule:
        """Reads what `to_json` wrote."""
        if not isinstance(rows, (list, tuple)):
            raise IllegalActionError(f"a schedule must be a list of texts, but got {_shown(rows)}")
        return cls.of(*rows)

    def script(self, counts: Iterable[int] = ()) -> str:
        """One transform module that does the whole schedule; passes stand in it as `transform.apply_registered_pass`.

        The two actions `bufferize` and `lower` stand for pipelines; `lowering.BUFFERIZE` and
        `lowering.lowering_pipeline` have their texts. Rewrites that upstream has no transform for (`gather-columns`,
        `dot-product`, `widen-operands`, `raise-to-products`, `expand-exp`, `expand-functions`) stand in it as comments.

        Args:
            counts: of each action's target kind, as `MlirSession.build` tells; 1 where nothing is told.
        """
        lines: list[str] = []
        root = "%r"
        for step, (action, count) in enumerate(zip(self.actions, (*counts, *([1] * len(self.actions))))):
            lines.append(f"// {action}")
            lines += [line.replace("%r ", f"{root} ") for line in action.script(count, f"s{step}_")]
            for number, text in enumerate(action.passes()):
                some, root = _registered(text, root, f"s{step}_{number}")
                lines += some
        inner = "\n".join(f"    {line}" for line in lines)
        return (
            "module attributes {transform.with_named_sequence} {\n  transform.named_sequence @__transform_main(%r:"
            f" {ANY} {{transform.consumed}}) {{\n{inner}\n    transform.yield\n  }}\n}}\n"
        )

    def __str__(self) -> str:
        return "; ".join(map(str, self.actions))


def _registered(text: str, root: str, prefix: str) -> tuple[list[str], str]:
    """(lines that run a pass, the handle of the module afterwards)."""
    match = re.fullmatch(r"(func\.func\()?([a-z0-9-]+)(?:\{([^{}]*)\})?\)?", text)
    if match is None:
        raise IllegalActionError(f"a pass must be written `name` or `func.func(name)`, but got {text!r}")
    options = f" with options = {{ {_attributes(match[3])} }}" if match[3] else ""
    if not match[1]:
        return [
            f'%{prefix}o = transform.apply_registered_pass "{match[2]}"{options} to {root} : ({ANY}) -> {ANY}'
        ], f"%{prefix}o"
    functions = f'%{prefix}f = transform.structured.match ops{{["func.func"]}} in {root} : ({ANY}) -> {ANY}'
    return [
        functions,
        f'%{prefix}o = transform.apply_registered_pass "{match[2]}"{options} to %{prefix}f : ({ANY}) -> {ANY}',
    ], root


def _attributes(options: str) -> str:
    """Options of a pass as a dictionary of attributes."""
    pairs = [word.split("=", 1) for word in options.split()]
    return ", ".join(
        f'"{name}" = '
        + (
            value
            if value in ("true", "false")
            else f"[{value}]"
            if "," in value
            else value
            if value.isdigit()
            else f'"{value}"'
        )
        for name, value in pairs
    )


def _parse_target(name: str, kind: ActionKind, on: object) -> tuple[str, int]:
    match = re.fullmatch(r"([a-z0-9_.]+):(\d{1,3})", on) if isinstance(on, str) else None
    if match is None or match[1] not in TARGETS[kind.on] or int(match[2]) > _MAX_INDEX:
        raise IllegalActionError(
            f"action {name} works on one of {', '.join(TARGETS[kind.on])}, each with a position of 0..{_MAX_INDEX}"
            f" behind a colon, but got {_shown(on)}"
        )
    return match[1], int(match[2])


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
