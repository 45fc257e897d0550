"""Counters of a kernel's machine code: numbers that a cost model reads, from the listing alone.

Instructions are weighed by how often they run, as far as the trip counts of the loops around them are known; shares and
ratios do not change with those that are not. A `body` is what a loop repeats apart from the loops in it; the heaviest
bodies are described one by one, because that is where the time goes.

Ports are those of a wide x86 core, roughly: six instructions a cycle, two loads, one store, two vector operations, or
one of 512 bits. This is no simulation; it says at once when a kernel spends its cycles on something else than its
arithmetic.

Dimension letters: B blocks, L loops, C classes of `mix.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foretune.costmodel.machine_code.assembly import Block, read_blocks
from foretune.costmodel.machine_code.loops import Loop, find_loops
from foretune.costmodel.machine_code.mca import HotBlock, hot_blocks
from foretune.costmodel.machine_code.mix import PLACE, mix

_UNKNOWN_TRIPS = 4.0  # of a loop whose trip count the listing does not say
_BODIES = 3  # that are described
_SUPPORT = ("__tvm_ffi_", "__tvm_set_raised", "__extend", "__trunc")  # functions around kernels: arguments and errors
_LAUNCHED = ("parallel_lambda", "omp_outlined")  # in the names of the bodies of parallel loops
_MOST = 6e4  # what 16 bits hold

_SHARES = (
    "fma_512", "fma_256", "fma_128", "fma_scalar", "packed", "scalar", "loads", "stores", "reloads", "spills",
    "broadcasts", "gathers", "shuffles", "moves", "converts", "divides", "addresses", "branches", "calls", "masked",
)  # fmt: skip
_RATIOS = ("log_lanes", "log_instructions_per_lane", "log_loads_per_operation", "log_stores_per_operation",
           "log_bytes_per_lane", "log_cycles_per_lane")  # fmt: skip
_OF_MIX = (*(f"share_{name}" for name in _SHARES), *_RATIOS)
_OF_BODY = ("share_of_run", "log_instructions", "log_fma", "log_reloads", "log_spills", "registers", "log_trips",
            "are_trips_known", "depth", *_OF_MIX)  # fmt: skip
_OF_WHOLE = (
    "log_text", "log_text_fma", "log_text_reloads", "log_text_spills", "registers", "functions", "launches", "loops",
    "depth", "unknown_trips", "log_longest_loop", "log_executed",
)  # fmt: skip

NAMES = (
    *_OF_WHOLE,
    *(f"run_{name}" for name in _OF_MIX),
    *(f"body{k}_{name}" for k in range(1, _BODIES + 1) for name in _OF_BODY),
)
"""Of the counters, in order."""


@dataclass(frozen=True)
class Body:
    """What a loop repeats, without the loops in it; or the straight code of a function.

    Attributes:
        blocks: its blocks.
        runs: how often it runs in one run of the kernel, as far as is known.
        trips: of its loop; None where that is not known or there is no loop.
        depth: loops around it.
    """

    blocks: tuple[Block, ...]
    runs: float
    trips: float | None
    depth: int


def counters(assembly: str) -> np.ndarray:
    """The counters of a listing, see `NAMES`; finite numbers that 16 bits hold.

    Returns:
        [len(NAMES)] float32.

    Raises:
        UnsupportedError: it is not AT&T syntax for x86-64.
    """
    blocks = _kernel(assembly)
    loops = find_loops(blocks)
    found = bodies(blocks, loops)
    mixes = [mix(i for block in body.blocks for i in block.instructions) for body in found]  # of [C]
    work = np.array([body.runs * m[0] for body, m in zip(found, mixes)])
    total = max(work.sum(), 1.0)
    executed = sum((body.runs * m for body, m in zip(found, mixes)), np.zeros(len(PLACE)))
    cycles = sum(body.runs * _cycles(m) for body, m in zip(found, mixes))
    row = [*_of_whole(blocks, loops, found, executed), *_of_mix(executed, cycles)]
    heaviest = np.argsort(-work, kind="stable")[:_BODIES]
    for i in heaviest:
        row += _of_body(found[i], mixes[i], work[i] / total)
    row += [0.0] * (len(NAMES) - len(row))
    return np.clip(np.array(row, np.float32), -_MOST, _MOST)


def hot_code(assembly: str) -> tuple[list[HotBlock], float]:
    """The blocks that run most, for llvm-mca, and the elements that arithmetic is done on in one run, at least 1; both
    as far as the trip counts are known.

    Raises:
        UnsupportedError: as of `counters`.
    """
    blocks = _kernel(assembly)
    runs, lanes = {}, 1.0
    for body in bodies(blocks, find_loops(blocks)):
        runs.update((id(block), body.runs) for block in body.blocks)
        lanes += body.runs * mix(i for block in body.blocks for i in block.instructions)[PLACE["lanes"]]
    return hot_blocks(blocks, np.array([runs[id(block)] for block in blocks])), lanes


def bodies(blocks: Sequence[Block], loops: Sequence[Loop]) -> list[Body]:
    """The bodies of all loops, and of each function what is in none."""
    members: dict[tuple[str, Loop | None], list[Block]] = {}
    around: dict[tuple[str, Loop | None], list[Loop]] = {}
    for i, block in enumerate(blocks):
        holders = [loop for loop in loops if loop.holds(i)]
        own = min(holders, key=lambda loop: loop.last - loop.first, default=None)
        members.setdefault((block.function, own), []).append(block)
        around.setdefault((block.function, own), holders)
    return [
        Body(
            tuple(members[key]),
            float(np.prod([loop.trips or _UNKNOWN_TRIPS for loop in around[key]])),
            key[1].trips if key[1] is not None else None,
            len(around[key]),
        )
        for key in members
    ]


def _kernel(assembly: str) -> list[Block]:
    """The functions that compute: those with a jump back or with arithmetic on numbers."""
    blocks = read_blocks(assembly, without=_SUPPORT)
    looping = {blocks[loop.first].function for loop in find_loops(blocks)}
    computing = {b.function for b in blocks if any(i.arithmetic or i.packed for i in b.instructions)}
    kept = [block for block in blocks if block.function in looping | computing]
    return kept or blocks


def _of_whole(
    blocks: Sequence[Block], loops: Sequence[Loop], found: Sequence[Body], executed: np.ndarray
) -> list[float]:
    text = mix(i for block in blocks for i in block.instructions)
    lengths = [sum(len(b.instructions) for b in blocks[loop.first : loop.last + 1]) for loop in loops]
    return [
        _log(text[0]),
        _log(_fma(text)),
        _log(text[PLACE["reloads"]]),
        _log(text[PLACE["spills"]]),
        _num_vector_registers(blocks),
        len({block.function for block in blocks}),
        len({b.function for b in blocks if any(word in b.function for word in _LAUNCHED)}),
        len(loops),
        max((body.depth for body in found), default=0),
        sum(loop.trips is None for loop in loops) / max(len(loops), 1),
        _log(max(lengths, default=0)),
        _log(executed[0]),
    ]


def _of_mix(total: np.ndarray, cycles: float) -> list[float]:
    count = max(total[0], 1.0)
    lanes = total[PLACE["lanes"]]
    operations = 1.0 + _fma(total) + total[PLACE["packed"]] + total[PLACE["scalar"]]
    return [
        *(total[PLACE[name]] / count for name in _SHARES),
        _log(lanes),
        _ratio(count, lanes),
        _ratio(total[PLACE["loads"]], operations),
        _ratio(total[PLACE["stores"]], operations),
        _ratio(total[PLACE["bytes_read"]] + total[PLACE["bytes_written"]], lanes),
        _ratio(cycles, lanes),
    ]


def _of_body(body: Body, total: np.ndarray, share: float) -> list[float]:
    return [
        share,
        _log(total[0]),
        _log(_fma(total)),
        _log(total[PLACE["reloads"]]),
        _log(total[PLACE["spills"]]),
        _num_vector_registers(body.blocks),
        _log(body.trips or 0.0),
        float(body.trips is not None),
        body.depth,
        *_of_mix(total, _cycles(total)),
    ]


def _cycles(total: np.ndarray) -> float:
    """The least cycles of one run of some instructions: what the busiest port takes."""
    wide = total[PLACE["fma_512"]]
    vector = _fma(total) + total[PLACE["packed"]] + total[PLACE["scalar"]] + total[PLACE["moves"]]
    return max(
        total[0] / 6,
        (vector + wide) / 2 + 8 * total[PLACE["divides"]],
        total[PLACE["shuffles"]] + 8 * total[PLACE["gathers"]],
        (total[PLACE["loads"]] + total[PLACE["reloads"]]) / 2,
        total[PLACE["stores"]] + total[PLACE["spills"]],
        20 * total[PLACE["calls"]],
        1.0,
    )


def _fma(total: np.ndarray) -> float:
    return float(sum(total[PLACE[name]] for name in ("fma_512", "fma_256", "fma_128", "fma_scalar")))


def _num_vector_registers(blocks: Sequence[Block]) -> float:
    return float(len({name for b in blocks for i in b.instructions for kind, name in i.registers if kind == "vector"}))


def _log(number: float) -> float:
    return float(np.log2(1.0 + number))


def _ratio(above: float, below: float) -> float:
    return float(np.log2((1e-3 + above) / (1.0 + below)))
