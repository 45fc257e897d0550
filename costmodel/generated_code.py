"""What code generation makes of scheduled loops: vector lanes, the unrolled body, chunks of work, reuse, and memory traffic.

MetaSchedule's post-processing fuses the innermost loops into a vector loop as far as every access stays contiguous, the
outermost ones into a parallel loop until there are enough chunks, and unrolls outwards from the vector loop up to a limit. All
of it follows exactly from extents and strides, for many points at a time.

Dimension letters: N points, L loops from the outermost in, B buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_LANES = 16.0  # yardsticks, not limits: a network weighs them by the hardware's features
_REGISTERS = 30.0
_LINE_BYTES = 64.0
_CACHES = (2.0**15, 2.0**19, 2.0**23)
NUM_BUFFERS = 4
_SHARED = 21
_PER_BUFFER = 9
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

    def stride(self, node: int, unit: np.ndarray) -> np.ndarray | float:
        """Elements that one step of a loop moves by, if `unit` steps of the original loop are made; 0 where it does not move."""
        for dim, stride in zip(reversed(self.dims), reversed(self.strides)):
            for other, coefficient in dim:
                if other == node:
                    return abs(coefficient) * stride * unit
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
    origins: Sequence[int], is_reduce: Sequence[bool], extents: np.ndarray, accesses: Sequence[Access], limits: Limits, is_alone: bool
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
    code = _Code(origins, is_reduce, extents.astype(np.float32), accesses[:NUM_BUFFERS])
    out = np.zeros((len(extents), NUM_FEATURES), np.float32)
    code.vectorise(limits.vector, is_alone)
    code.parallelise(limits.parallel)
    code.unroll(limits.unroll)
    code.body_features(out)
    code.loop_features(out)
    return out


class _Code:
    def __init__(self, origins: Sequence[int], is_reduce: Sequence[bool], extents: np.ndarray, accesses: Sequence[Access]) -> None:
        self.origins, self.is_reduce, self.extents, self.accesses = origins, is_reduce, extents, accesses
        self.count, self.depth = extents.shape
        self.log_extents = np.log2(extents)
        inside: dict[int, np.ndarray] = {}
        self.strides = np.zeros((len(accesses), self.depth, self.count), np.float32)
        for i in reversed(range(self.depth)):
            node = origins[i]
            unit = inside.get(node, np.ones(self.count, np.float32))
            for b, access in enumerate(accesses):
                self.strides[b, i] = np.where(extents[:, i] > 1, access.stride(node, unit), 0.0)
            inside[node] = unit * extents[:, i]

    def vectorise(self, limit: float, is_alone: bool) -> None:
        """Fuses innermost loops into a vector loop; `vector` is its extent [N], `first` the outermost of its loops [N]."""
        fusible = np.full(self.count, self.depth, np.float32)
        for strides in self.strides:
            fusible = np.minimum(fusible, self._contiguous_loops(strides))
        self.vector, self.first = np.ones(self.count, np.float32), np.full(self.count, self.depth)
        alive = np.ones(self.count, bool)
        for i in reversed(range(self.depth)):
            if self.is_reduce[i]:
                break
            grown = self.vector * self.extents[:, i]
            alive = alive & (self.depth - i <= fusible) & (grown <= limit)
            self.vector = np.where(alive, grown, self.vector)
            self.first = np.where(alive, i, self.first)
        if is_alone and not any(self.is_reduce):  # where all loops are contiguous they are fused and split by the limit
            split = fusible == self.depth
            self.vector = np.where(split, np.minimum(limit, self.extents.prod(1)), self.vector)
            self.first = np.where(split, self.depth, self.first)

    def parallelise(self, enough: float) -> None:
        """Fuses outermost loops until there are more than enough chunks; `chunks` is their number [N]."""
        self.chunks = np.ones(self.count, np.float32)
        alive = np.ones(self.count, bool)
        for i in range(self.depth):
            if self.is_reduce[i]:
                break
            alive = alive & (i < self.first)
            self.chunks = np.where(alive, self.chunks * self.extents[:, i], self.chunks)
            alive = alive & (self.chunks <= enough)

    def _contiguous_loops(self, strides: np.ndarray) -> np.ndarray:
        """How many of the innermost loops walk contiguously through a buffer, or not at all; [N]."""
        count, previous, extent = (np.zeros(self.count, np.float32) for _ in range(3))
        alive = np.ones(self.count, bool)
        for i in reversed(range(self.depth)):
            still = strides[i] == 0
            follows = np.where(previous == 0, (strides[i] == 1) | (count == 0), strides[i] == previous * extent)
            alive = alive & (still | follows)
            count += alive
            moved = alive & ~still
            previous, extent = np.where(moved, strides[i], previous), np.where(moved, self.extents[:, i], extent)
        return count

    def unroll(self, limit: np.ndarray) -> None:
        """Unrolls outwards from the vector loop; `body` is the outermost loop of the unrolled body [N]."""
        self.unrolled, self.body = np.ones(self.count, np.float32), self.first.copy()
        alive = limit > 0
        for i in reversed(range(self.depth)):
            outside = i < self.first
            grown = self.unrolled * self.extents[:, i]
            alive = alive & (~outside | (grown <= limit))
            take = alive & outside
            self.unrolled, self.body = np.where(take, grown, self.unrolled), np.where(take, i, self.body)

    def body_features(self, out: np.ndarray) -> None:
        """Vector loop, registers and loads of the unrolled body, and what is around it."""
        lanes = np.ceil(self.vector / _LANES)
        tile: dict[int, np.ndarray] = {}
        for i in range(self.depth):
            inside = np.where(i >= self.body, self.extents[:, i], 1.0)
            tile[self.origins[i]] = tile.get(self.origins[i], 1.0) * inside
        innermost = np.zeros((len(self.accesses), self.count), np.float32)  # stride along the innermost loop that moves at all
        moved, scalar_chain = np.zeros(self.count, bool), np.zeros(self.count, bool)
        for i in reversed(range(self.depth)):
            here = ~moved & (self.extents[:, i] > 1)
            innermost[:, here] = self.strides[:, i, here]
            scalar_chain |= here & bool(self.is_reduce[i])
            moved |= here
        work = lanes * self.unrolled
        loads = np.zeros(self.count, np.float32)
        for b, access in enumerate(self.accesses):
            elements = access.footprint(tile)[0] * np.ones(self.count, np.float32)
            contiguous = (innermost[b] == 1) & (self.vector > 1)
            registers = np.where(contiguous, np.ceil(elements / np.minimum(self.vector, _LANES)), elements)
            columns = out[:, _SHARED + b * _PER_BUFFER :]
            columns[:, 0] = np.log2(elements) / 8
            columns[:, 1] = innermost[b] == 1
            columns[:, 2] = innermost[b] == 0
            columns[:, 3] = np.log2(1 + innermost[b]) / 8
            if b == 0:
                out[:, 8] = np.log2(registers) / 4
                out[:, 9] = registers > _REGISTERS
            else:
                loads += registers
        out[:, 0] = np.log2(self.vector) / 4
        out[:, 1] = self.vector == 1
        out[:, 2] = (self.vector % 16 == 0) & (self.vector > 1)
        out[:, 3] = (self.vector % 8 == 0) & (self.vector > 1)
        out[:, 4] = (self.depth - self.first) / 4
        out[:, 5] = np.log2(self.unrolled) / 8
        out[:, 6] = np.log2(work) / 8
        out[:, 7] = scalar_chain
        out[:, 10] = np.log2(np.maximum(loads, 1) / work) / 4
        out[:, 11] = np.log2(self.vector / (lanes * _LANES)) / 4  # share of the lanes that do something
        reductions, kept, ended = np.zeros(self.count, np.float32), np.zeros(self.count, np.float32), np.zeros(self.count, bool)
        for i in reversed(range(self.depth)):
            size = self.log_extents[:, i]
            inside = i >= self.body
            reductions += np.where(inside, size * self.is_reduce[i], 0.0)
            ended = ended | (~inside & (not self.is_reduce[i]) & (size > 0))
            kept += np.where(~inside & ~ended, size * self.is_reduce[i], 0.0)
        out[:, 12] = reductions / 4
        out[:, 13] = kept / 8  # reduction loops right around the body: accumulators stay in registers
        out[:, 14] = (kept > 0) | (reductions > 0)
        out[:, 15] = self.log_extents.sum(1) / 16
        out[:, 16] = (self.log_extents.sum(1) - np.log2(self.vector * self.unrolled)) / 16  # bodies executed
        out[:, 17] = np.log2(self.chunks) / 8
        out[:, 18] = self.chunks == 1
        out[:, 19] = np.ceil(self.chunks / 2) * 2 / self.chunks - 1  # idle share of two cores, a yardstick too
        out[:, 20] = (self.log_extents.sum(1) - np.log2(self.chunks)) / 16

    def loop_features(self, out: np.ndarray) -> None:
        """Reuse of each buffer, and traffic through caches of several sizes, from the innermost loop out."""
        tile: dict[int, np.ndarray] = {}
        num_buffers = len(self.accesses)
        bytes_of = np.array([[access.element_bytes] for access in self.accesses], np.float32) * np.ones((num_buffers, self.count), np.float32)
        lines_of = np.maximum(bytes_of, _LINE_BYTES)
        reused = np.zeros((num_buffers, self.count), bool)
        total = self.log_extents.sum(1)
        around = total.copy()  # iterations of the loops not yet inside, log2
        fits = np.zeros((len(_CACHES), self.count), bool)
        traffic = np.zeros((len(_CACHES), num_buffers, self.count), np.float32)
        touched = lines_of.sum(0)
        for i in reversed(range(self.depth)):
            node, extent, log_extent = self.origins[i], self.extents[:, i], self.log_extents[:, i]
            wide = extent > 1
            if not wide.any():
                continue
            uses = [access.uses(node) for access in self.accesses]
            for b in range(num_buffers):
                first = wide & ~reused[b]
                if not uses[b] and first.any():
                    columns = out[:, _SHARED + b * _PER_BUFFER :]
                    columns[first, 4] = (total - around)[first] / 8  # iterations between uses
                    columns[first, 5] = np.log2(touched[first]) / 8
                    columns[first, 6] = log_extent[first] / 4
                    reused[b] |= wide
            inner, inner_touched = lines_of.copy(), touched
            tile[node] = tile.get(node, 1.0) * extent
            for b, access in enumerate(self.accesses):
                if uses[b]:
                    elements, run = access.footprint(tile)
                    bytes_of[b] = elements * access.element_bytes
                    lines_of[b] = elements / run * np.ceil(run * access.element_bytes / _LINE_BYTES) * _LINE_BYTES
            touched = lines_of.sum(0)
            for c, size in enumerate(_CACHES):  # the largest tile that fits is loaded once for each time that it is entered
                over = (touched > size) & ~fits[c] & (inner_touched <= size)
                if over.any():
                    for b in range(num_buffers):
                        steps = around if uses[b] else around - log_extent
                        traffic[c, b] = np.where(over, np.log2(inner[b]) + steps, traffic[c, b])
                    fits[c] |= over
            around = around - log_extent
        for b in range(num_buffers):
            out[:, _SHARED + b * _PER_BUFFER + 7] = np.log2(bytes_of[b]) / 8
            out[:, _SHARED + b * _PER_BUFFER + 8] = reused[b]
        base = _SHARED + NUM_BUFFERS * _PER_BUFFER
        whole = np.log2(lines_of)  # everything fits: each line once
        for c in range(len(_CACHES)):
            per = np.where(fits[c], traffic[c], whole)  # [B, N]
            out[:, base + 3 * c] = (np.log2((2.0**per).sum(0)) - total) / 8
            out[:, base + 3 * c + 1] = (per[0] - total) / 8
            out[:, base + 3 * c + 2] = fits[c]
