"""What a GPU schedule binds and stages: threads, blocks, registers and shared memory, exactly and symbolically.

Kernels of many small tiles are limited by occupancy and by traffic between memories, both of which follow from extents:
threads of a block, elements that it keeps in shared memory, and what each thread does by itself.

Dimension letters: N points, L loops of a nest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from foretune.costmodel.schedules.generated_code import Access

if TYPE_CHECKING:
    from foretune.costmodel.schedules.loopnest import Loop, LoopNest

_WARP = 32.0
_SHARED_BYTES = 48.0 * 1024  # yardsticks, not limits: a network weighs them by the hardware's features
_THREADS, _PROCESSORS, _REGISTERS = 1024.0, 40.0, 128.0
BLOCK, VTHREAD, THREAD = "block", "vthread", "thread"
NUM_FEATURES = 18


@dataclass(frozen=True)
class Bindings:
    """Where the loops of the main block run.

    Attributes:
        roles: for each loop of the main block from the outermost in, `BLOCK`, `VTHREAD`, `THREAD` or empty.
        stage: position of the loop in whose each iteration shared memory is filled; -1 if it is not used.
        staged: accesses that go through shared memory.
    """

    roles: tuple[str, ...]
    stage: int = -1
    staged: tuple[Access, ...] = ()

    def features(self, nest: LoopNest, points: np.ndarray) -> np.ndarray:
        """Log-scaled features of points; zeros where nothing is bound.

        Args:
            nest: whose bindings these are.
            points: [N, number of domains] int64.

        Returns:
            [N, NUM_FEATURES] float32.
        """
        out = np.zeros((len(points), NUM_FEATURES))
        if nest.main is None or not any(self.roles):
            return out.astype(np.float32)
        loops = nest.main.loops
        extents = nest.extents_of(loops, points)  # [N, L]
        blocks, virtual, threads = (self._product(extents, role) for role in (BLOCK, VTHREAD, THREAD))
        serial = self._product(extents, "")
        warps = np.ceil(threads / _WARP)
        waves = blocks / _PROCESSORS
        out[:, 0] = 1.0
        out[:, 1] = np.log2(threads) / 8
        out[:, 2] = threads / (_WARP * warps)  # share of the lanes that work
        out[:, 3] = threads > _THREADS
        out[:, 4] = np.log2(blocks) / 8
        out[:, 5] = waves / np.ceil(waves)  # share of the processors that work, over all waves
        out[:, 6] = np.log2(virtual) / 4
        out[:, 7] = np.log2(serial) / 8
        self._registers(nest, points, extents, out)
        self._shared(nest, points, extents, threads, blocks, out)
        self._coalescing(nest.main.accesses, loops, extents, out)
        return out.astype(np.float32)

    def _product(self, extents: np.ndarray, role: str) -> np.ndarray:
        chosen = [i for i, own in enumerate(self.roles) if own == role]
        return extents[:, chosen].prod(1) if chosen else np.ones(len(extents))

    def _registers(self, nest: LoopNest, points: np.ndarray, extents: np.ndarray, out: np.ndarray) -> None:
        """What a thread accumulates, and how often it uses what it has loaded."""
        loops, accesses = (nest.main.loops, nest.main.accesses) if nest.main is not None else ((), ())
        own = [i for i, role in enumerate(self.roles) if role in ("", VTHREAD) and not loops[i].is_reduce]
        results = extents[:, own].prod(1) if own else np.ones(len(extents))
        out[:, 8] = np.log2(results) / 4
        out[:, 9] = results > _REGISTERS
        tile = nest.tile_of([loops[i] for i in own], points)
        loads = sum((access.footprint(tile)[0] for access in accesses[1:]), np.zeros(len(extents)))
        out[:, 10] = np.log2(results / np.maximum(loads, 1.0)) / 4

    def _shared(
        self,
        nest: LoopNest,
        points: np.ndarray,
        extents: np.ndarray,
        threads: np.ndarray,
        blocks: np.ndarray,
        out: np.ndarray,
    ) -> None:
        """Shared memory of a block, and what all blocks load into it."""
        if self.stage < 0 or nest.main is None:
            return
        loops = nest.main.loops
        inside = [
            i for i, role in enumerate(self.roles) if role in (VTHREAD, THREAD) or (i > self.stage and role != BLOCK)
        ]
        tile = nest.tile_of([loops[i] for i in inside], points)
        num_bytes = sum(
            (access.footprint(tile)[0] * access.element_bytes for access in self.staged), np.zeros(len(extents))
        )
        num_bytes = np.maximum(num_bytes, 1.0)
        steps = [i for i, role in enumerate(self.roles) if not role and i <= self.stage]
        fills = extents[:, steps].prod(1) if steps else np.ones(len(extents))
        work = extents[:, inside].prod(1)
        out[:, 11] = np.log2(num_bytes) / 8
        out[:, 12] = num_bytes > _SHARED_BYTES
        out[:, 13] = np.log2(fills) / 8
        out[:, 14] = np.log2(work / num_bytes) / 4  # work for each byte that is staged
        out[:, 15] = np.log2(num_bytes * fills * blocks) / 16
        out[:, 16] = np.log2(np.maximum(num_bytes / threads, 1.0)) / 8

    def _coalescing(
        self, accesses: tuple[Access, ...], loops: tuple[Loop, ...], extents: np.ndarray, out: np.ndarray
    ) -> None:
        """Neighbouring threads of the innermost thread loop that write neighbouring elements."""
        threads = [i for i, role in enumerate(self.roles) if role == THREAD]
        if not threads or not accesses:
            return
        last = threads[-1]
        inner = [i for i in range(last + 1, len(loops)) if loops[i].origin == loops[last].origin]
        step = accesses[0].step(loops[last].origin) * (extents[:, inner].prod(1) if inner else 1.0)
        out[:, 17] = np.where(step == 1, np.minimum(extents[:, last], _WARP) / _WARP, 0.0)
