"""What code generation makes of scheduled loops: vector lanes, the unrolled body, chunks of work, reuse, and memory
traffic.

MetaSchedule's post-processing fuses the innermost loops into a vector loop as far as every access stays contiguous, the
outermost ones into a parallel loop until there are enough chunks, and unrolls outwards from the vector loop up to a
limit. All of it follows exactly from extents and strides. Points are many and loops few, so a compiled function takes
one point after the other.

Dimension letters: N points, L loops from the outermost in, B buffers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numba
import numpy as np

_LANES = 16.0  # yardsticks, not limits: a network weighs them by the hardware's features
_REGISTERS = 30.0
_LINE_BYTES = 64.0
_CACHES = (2.0**15, 2.0**19, 2.0**23)
NUM_BUFFERS = 4
_SHARED = 21
_PER_BUFFER = 9
_inner: Any = cast("Any", numba.njit)(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)
NUM_FEATURES = _SHARED + NUM_BUFFERS * _PER_BUFFER + 3 * len(_CACHES)


@dataclass(frozen=True)
class Limits:
    """What a trace allows post-processing.

    Attributes:
        vector: largest extent of a vector loop.
        parallel: chunks of work that are enough.
        unroll: [N] iterations that may be unrolled.
    """

    vector: float
    parallel: float
    unroll: np.ndarray


@dataclass(frozen=True)
class Access:
    """How the main block accesses a buffer.

    Attributes:
        element_bytes: of the buffer.
        dims: for each dimension, ((loop node, coefficient), ...).
        strides: elements between neighbours along each dimension.
    """

    element_bytes: float
    dims: tuple[tuple[tuple[int, float], ...], ...]
    strides: tuple[float, ...]

    def step(self, node: int) -> float:
        """Elements that one step of an original loop moves by; 0 where it does not move."""
        for dim, stride in zip(reversed(self.dims), reversed(self.strides)):
            for other, coefficient in dim:
                if other == node:
                    return abs(coefficient) * stride
        return 0.0

    def uses(self, node: int) -> bool:
        """Whether any index moves with a loop."""
        return any(other == node for dim in self.dims for other, _ in dim)

    def footprint(self, tile: dict[int, np.ndarray]) -> tuple[np.ndarray | float, np.ndarray | float]:
        """(elements that a tile touches, how many of them are contiguous); `tile` holds extents by loop node."""
        total: np.ndarray | float = 1.0
        run: np.ndarray | float = 1.0
        for size in self.sizes(tile):
            total, run = total * size, size
        return total, run

    def sizes(self, tile: dict[int, np.ndarray]) -> list[np.ndarray | float]:
        """How much of each dimension a tile touches."""
        sizes = []
        for dim in self.dims:
            size: np.ndarray | float = 1.0
            for node, coefficient in dim:
                if node in tile:
                    size = size + abs(coefficient) * (tile[node] - 1)
            sizes.append(np.maximum(size, 1.0))
        return sizes


def features(
    origins: Sequence[int],
    is_reduce: Sequence[bool],
    extents: np.ndarray,
    accesses: Sequence[Access],
    limits: Limits,
    is_alone: bool,
) -> np.ndarray:
    """Log-scaled features of the code for a block; what it writes comes first among its accesses.

    Args:
        origins: node of the original loop that each loop was made from, [L].
        is_reduce: [L].
        extents: [N, L].
        accesses: of the block, the written buffer first.
        limits: of post-processing.
        is_alone: whether its loops are its own, not those of a consumer that it is computed in.

    Returns:
        [N, NUM_FEATURES] float32.
    """
    loops, steps, uses, layout = _prepared(tuple(origins), tuple(accesses[:NUM_BUFFERS]))
    out = np.zeros((len(extents), NUM_FEATURES), np.float32)
    unroll = limits.unroll.astype(np.float32)
    _fill(
        extents.astype(np.float32),
        loops,
        np.array(is_reduce, bool),
        steps,
        uses,
        layout,
        np.float32(limits.vector),
        np.float32(limits.parallel),
        unroll,
        is_alone,
        out,
    )
    return out


class _Layout(NamedTuple):
    """The dimensions of all buffers, one after the other.

    Attributes:
        dims: [B + 1] where the dimensions of each buffer begin.
        entries: [dimensions + 1] where the loops of each dimension begin.
        node, coefficient: of each of these.
        element_bytes: [B].
    """

    dims: np.ndarray
    entries: np.ndarray
    node: np.ndarray
    coefficient: np.ndarray
    element_bytes: np.ndarray


@lru_cache(maxsize=4096)
def _prepared(
    origins: tuple[int, ...], accesses: tuple[Access, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, _Layout]:
    """(place of each loop's node among the nodes [L], steps of buffers by nodes [B, nodes], uses of nodes by buffers,
    dimensions).
    """
    nodes = {node: i for i, node in enumerate(dict.fromkeys(origins))}
    steps = np.array([[a.step(node) for node in nodes] for a in accesses], np.float32).reshape(
        len(accesses), len(nodes)
    )
    uses = np.array([[a.uses(node) for node in nodes] for a in accesses], bool).reshape(steps.shape)
    dims = [dim for a in accesses for dim in a.dims]
    index = [[(nodes[node], abs(coefficient)) for node, coefficient in dim if node in nodes] for dim in dims]
    entries = [entry for dim in index for entry in dim]
    layout = _Layout(
        np.cumsum([0] + [len(a.dims) for a in accesses]),
        np.cumsum([0] + [len(dim) for dim in index]),
        np.array([node for node, _ in entries], np.int64),
        np.array([coefficient for _, coefficient in entries], np.float32),
        np.array([a.element_bytes for a in accesses], np.float32),
    )
    return np.array([nodes[node] for node in origins], np.int64), steps, uses, layout


@numba.njit(nogil=True, cache=True)  # kept beside Python's own bytecode, and as trustworthy
def _fill(extents, loops, is_reduce, steps, uses, layout, max_vector, enough, max_unroll, is_alone, out):
    """Writes the features of all points: [N, L], [L], [L], [B, nodes], [B, nodes], ..., [N] -> [N, NUM_FEATURES]."""
    num_buffers, num_nodes = steps.shape
    depth = len(loops)
    strides = np.zeros((num_buffers, depth), np.float32)
    unit, tile = np.empty(num_nodes, np.float32), np.empty(num_nodes, np.float32)
    for p in range(len(extents)):
        extent, row = extents[p], out[p]
        unit[:] = 1
        for i in range(depth - 1, -1, -1):
            for b in range(num_buffers):
                strides[b, i] = steps[b, loops[i]] * unit[loops[i]] if extent[i] > 1 else 0
            unit[loops[i]] *= extent[i]
        vector, first = _vector_loop(extent, is_reduce, strides, max_vector, is_alone)
        chunks = _chunks(extent, is_reduce, first, enough)
        unrolled, body = _unrolled(extent, first, max_unroll[p])
        tile[:] = 1
        for i in range(body, depth):
            tile[loops[i]] *= extent[i]
        _body_features(extent, is_reduce, strides, layout, tile, vector, first, unrolled, body, chunks, row)
        tile[:] = 1
        _loop_features(extent, loops, uses, layout, tile, row)


@_inner
def _vector_loop(extent, is_reduce, strides, limit, is_alone):
    """Fuses innermost loops as far as each buffer stays contiguous or in place: (extent of the vector loop, outermost
    of its loops).
    """
    depth = len(extent)
    fusible = depth
    for b in range(len(strides)):
        count, previous, run = 0, np.float32(0), np.float32(0)
        for i in range(depth - 1, -1, -1):
            stride = strides[b, i]
            if stride != 0 and not ((stride == 1 or count == 0) if previous == 0 else stride == previous * run):
                break
            count += 1
            if stride != 0:
                previous, run = stride, extent[i]
        fusible = min(fusible, count)
    vector, first = np.float32(1), depth
    for i in range(depth - 1, -1, -1):
        if is_reduce[i] or depth - i > fusible or vector * extent[i] > limit:
            break
        vector, first = vector * extent[i], i
    if is_alone and fusible == depth:
        product = np.float32(1)
        for i in range(depth):
            if is_reduce[i]:
                return vector, first
            product *= extent[i]
        return min(limit, product), depth  # loops that are contiguous throughout are fused and split by the limit
    return vector, first


@_inner
def _chunks(extent, is_reduce, first, enough):
    """Fuses outermost loops until there are more than enough chunks; how many there are."""
    chunks = np.float32(1)
    for i in range(first):
        if is_reduce[i] or chunks > enough:
            break
        chunks *= extent[i]
    return chunks


@_inner
def _unrolled(extent, first, limit):
    """Unrolls outwards from the vector loop: (iterations of the unrolled body, outermost of its loops)."""
    unrolled, body = np.float32(1), first
    for i in range(first - 1, -1, -1):
        if unrolled * extent[i] > limit:
            break
        unrolled, body = unrolled * extent[i], i
    return unrolled, body


@_inner
def _footprint(layout, b, tile):
    """(elements of a buffer that a tile touches, how many of them are contiguous); `tile` holds extents by node."""
    total, run = np.float32(1), np.float32(1)
    for d in range(layout.dims[b], layout.dims[b + 1]):
        run = np.float32(1)
        for e in range(layout.entries[d], layout.entries[d + 1]):
            run += layout.coefficient[e] * (tile[layout.node[e]] - 1)
        run = max(run, np.float32(1))
        total *= run
    return total, run


@_inner
def _body_features(extent, is_reduce, strides, layout, tile, vector, first, unrolled, body, chunks, out):
    """Vector loop, registers and loads of the unrolled body, and what is around it; `tile` is the body's."""
    depth = len(extent)
    lanes = math.ceil(vector / _LANES)
    innermost = -1  # of the loops that move at all
    for i in range(depth):
        if extent[i] > 1:
            innermost = i
    work = lanes * unrolled
    loads = 0.0
    for b in range(len(strides)):
        stride = strides[b, innermost] if innermost >= 0 else np.float32(0)
        elements, _ = _footprint(layout, b, tile)
        contiguous = stride == 1 and vector > 1
        registers = math.ceil(elements / min(vector, _LANES)) if contiguous else elements
        column = _SHARED + b * _PER_BUFFER
        out[column] = math.log2(elements) / 8
        out[column + 1] = stride == 1
        out[column + 2] = stride == 0
        out[column + 3] = math.log2(1 + stride) / 8
        if b == 0:
            out[8] = math.log2(registers) / 4
            out[9] = registers > _REGISTERS
        else:
            loads += registers
    total, reductions, kept, ended = 0.0, 0.0, 0.0, False
    for i in range(depth - 1, -1, -1):
        size = math.log2(extent[i])
        total += size
        if i >= body:
            reductions += size * is_reduce[i]
        else:
            ended = ended or (not is_reduce[i] and size > 0)
            kept += 0.0 if ended else size * is_reduce[i]
    out[0] = math.log2(vector) / 4
    out[1] = vector == 1
    out[2] = vector % 16 == 0 and vector > 1
    out[3] = vector % 8 == 0 and vector > 1
    out[4] = (depth - first) / 4
    out[5] = math.log2(unrolled) / 8
    out[6] = math.log2(work) / 8
    out[7] = innermost >= 0 and is_reduce[innermost]
    out[10] = math.log2(max(loads, 1.0) / work) / 4
    out[11] = math.log2(vector / (lanes * _LANES)) / 4  # share of the lanes that do something
    out[12] = reductions / 4
    out[13] = kept / 8  # reduction loops right around the body: accumulators stay in registers
    out[14] = kept > 0 or reductions > 0
    out[15] = total / 16
    out[16] = (total - math.log2(vector * unrolled)) / 16  # bodies executed
    out[17] = math.log2(chunks) / 8
    out[18] = chunks == 1
    out[19] = math.ceil(chunks / 2) * 2 / chunks - 1  # idle share of two cores, a yardstick too
    out[20] = (total - math.log2(chunks)) / 16


@_inner
def _loop_features(extent, loops, uses, layout, tile, out):
    """Reuse of each buffer, and traffic through caches of several sizes, from the innermost loop out; `tile` is all
    ones.
    """
    num_buffers, num_caches = len(uses), len(_CACHES)
    size_bytes, lines, inner = (
        np.empty(num_buffers, np.float32),
        np.empty(num_buffers, np.float32),
        np.empty(num_buffers, np.float32),
    )
    touched = np.float32(0)
    for b in range(num_buffers):
        size_bytes[b] = layout.element_bytes[b]
        lines[b] = max(size_bytes[b], np.float32(_LINE_BYTES))
        touched += lines[b]
    reused = np.zeros(num_buffers, np.bool_)
    fits, traffic = np.zeros(num_caches, np.bool_), np.zeros((num_caches, num_buffers))
    total = 0.0
    for i in range(len(loops)):
        total += math.log2(extent[i])
    around = total  # iterations of the loops not yet inside, log2
    for i in range(len(loops) - 1, -1, -1):
        if extent[i] <= 1:
            continue
        node, size = loops[i], math.log2(extent[i])
        tile[node] *= extent[i]
        inner_touched, touched = touched, np.float32(0)
        for b in range(num_buffers):
            inner[b] = lines[b]
            if uses[b, node]:
                elements, run = _footprint(layout, b, tile)
                size_bytes[b] = elements * layout.element_bytes[b]
                lines[b] = elements / run * math.ceil(run * layout.element_bytes[b] / _LINE_BYTES) * _LINE_BYTES
            elif not reused[b]:
                reused[b] = True
                column = _SHARED + b * _PER_BUFFER
                out[column + 4] = (total - around) / 8  # iterations between uses
                out[column + 5] = math.log2(inner_touched) / 8
                out[column + 6] = size / 4
            touched += lines[b]
        for c in range(num_caches):  # the largest tile that fits is loaded once for each time that it is entered
            if not fits[c] and inner_touched <= _CACHES[c] < touched:
                fits[c] = True
                for b in range(num_buffers):
                    traffic[c, b] = math.log2(inner[b]) + (around if uses[b, node] else around - size)
        around -= size
    for b in range(num_buffers):
        column = _SHARED + b * _PER_BUFFER
        out[column + 7] = math.log2(size_bytes[b]) / 8
        out[column + 8] = reused[b]
    for c in range(num_caches):
        column = _SHARED + NUM_BUFFERS * _PER_BUFFER + 3 * c
        loaded, first = 0.0, 0.0
        for b in range(num_buffers):
            log_lines = traffic[c, b] if fits[c] else math.log2(lines[b])  # where everything fits, each line once
            loaded += 2.0**log_lines
            first = log_lines if b == 0 else first
        out[column] = (math.log2(loaded) - total) / 8
        out[column + 1] = (first - total) / 8
        out[column + 2] = fits[c]
