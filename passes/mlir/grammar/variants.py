"""Random schedules for a program, for training data: what a search over `actions` tries, from mild to wild.

A template decides what kind of thing is done (tiles, vectors, loops of `affine`, …); sizes, orders and targets are
drawn. Many schedules are illegal for the program at hand; whoever asks finds out by applying them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from foretune.passes.mlir.grammar.structured import Structured

_TILES = (2, 4, 5, 8, 8, 16, 16, 32, 32, 64, 128)
_SMALL = (1, 2, 4, 4, 8, 8, 16)


def random_schedule(ops: Sequence[Structured], stage: str, rng: np.random.Generator) -> list[str]:
    """Texts of actions.

    Args:
        ops: structured operations of the module; none of loop programs.
        stage: what else the module has: `affine`, `scf` or an empty text.
        rng: draws.
    """
    heavy = [op for op in ops if op.extents and -1 not in op.extents and op.name != "linalg.fill"]
    if not heavy:
        return _affine_loops(rng) if stage == "affine" else _scf_loops(rng)
    template: Callable[..., list[str]] = _TEMPLATES[int(rng.integers(len(_TEMPLATES)))]
    work = np.array([float(np.prod(op.extents)) for op in heavy])
    op = heavy[int(rng.choice(len(heavy), p=work / work.sum()))]
    return template(op, rng, heavy)


def _pick(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _list(values) -> str:
    return ",".join(str(int(v)) for v in values)


def _sizes(op: Structured, rng: np.random.Generator, pool: Sequence[int], untiled: float) -> list[int]:
    sizes = []
    for extent in op.extents:
        fitting = [s for s in pool if s <= extent] or [1]
        dividing = [s for s in fitting if extent % s == 0]
        size = _pick(rng, dividing if dividing and rng.random() < 0.7 else fitting)
        sizes.append(0 if rng.random() < untiled else int(size))
    if not any(sizes):
        sizes[int(rng.integers(len(sizes)))] = int(_pick(rng, pool))
    return sizes


def _order(count: int, rng: np.random.Generator) -> list[int]:
    return rng.permutation(count).tolist()


def _tile_text(op: Structured, sizes: Sequence[int], rng: np.random.Generator, verb: str = "tile") -> str:
    loops = sum(s > 0 for s in sizes)
    order = (
        f" interchange={_list(_order(loops, rng))}"
        if verb == "tile" and loops == len(sizes) > 1 and rng.random() < 0.3
        else ""
    )
    return f"{verb}{{on={op.target} sizes={_list(sizes)}{order}}}"


def _tiled(op: Structured, rng: np.random.Generator, ops: Sequence[Structured]) -> list[str]:
    actions = [_tile_text(op, _sizes(op, rng, _TILES, 0.4), rng)]
    if rng.random() < 0.3:
        actions.append(_tile_text(op, _sizes(op, rng, _SMALL, 0.4), rng))
    return actions + (["tidy-tiling"] if rng.random() < 0.5 else [])


def _vectorised(op: Structured, rng: np.random.Generator, ops: Sequence[Structured]) -> list[str]:
    actions = [_tile_text(op, _sizes(op, rng, _TILES[4:], 0.5), rng)] if rng.random() < 0.35 else []
    sizes = _sizes(op, rng, _SMALL, 0.0)
    while np.prod(sizes) > 512:
        sizes[int(np.argmax(sizes))] //= 2
    small = all(
        np.prod(other.extents) <= 1024 for other in ops if other is not op
    )  # whole operations as vectors: only if they are short
    actions += [_tile_text(op, sizes, rng), "vectorize-all" if small else f"vectorize{{on={op.target}}}"]
    if rng.random() < 0.4:
        actions += ["hoist-transfers"] if rng.random() < 0.5 else ["hoist-all-subsets"]
    if rng.random() < 0.3:
        actions += [f"lower-multi-reduction{{by={_pick(rng, ('innerparallel', 'innerreduction'))}}}"]
    if rng.random() < 0.4:
        actions += ["canonicalize", "licm", "cse"]
    if rng.random() < 0.4:
        actions += [
            f"lower{{contract={_pick(rng, ('outerproduct', 'dot', 'parallelarith'))}"
            f" transpose={_pick(rng, ('eltwise', 'shuffle1d'))}}}"
        ]
    return actions


def _fused(op: Structured, rng: np.random.Generator, ops: Sequence[Structured]) -> list[str]:
    last = ops[-1]
    return [
        _tile_text(last, _sizes(last, rng, _TILES, 0.5), rng, "fuse"),
        *(["fuse-elementwise"] if rng.random() < 0.3 else []),
    ]


def _elementwise(op: Structured, rng: np.random.Generator, ops: Sequence[Structured]) -> list[str]:
    return ["fuse-elementwise", *(["bufferize", *_affine_tail(rng)] if rng.random() < 0.5 else [])]


def _interchanged(op: Structured, rng: np.random.Generator, ops: Sequence[Structured]) -> list[str]:
    if len(op.extents) < 2:
        return _tiled(op, rng, ops)
    before = [] if op.name == "linalg.generic" else [f"generalize{{on={op.target}}}"]
    position = (
        op.position
        if op.name == "linalg.generic"
        else sum(o.name == "linalg.generic" for o in ops[: list(ops).index(op)])
    )
    return [*before, f"interchange{{on=linalg.generic:{position} order={_list(_order(len(op.extents), rng))}}}"]


def _split(op: Structured, rng: np.random.Generator, ops: Sequence[Structured]) -> list[str]:
    reduced = [o for o in ops if len(o.reduced) == 1]
    if not reduced:
        return _tiled(op, rng, ops)
    op = reduced[int(rng.integers(len(reduced)))]
    extent = op.extents[next(iter(op.reduced))]
    factors = [f for f in (2, 4, 8, 16) if extent % f == 0] or [2]
    return [
        f"split-reduction{{on={op.target} factor={_pick(rng, factors)}"
        f" dimension={int(rng.integers(len(op.extents) - len(op.reduced) + 1))} inner={_pick(rng, ('true', 'false'))}}}"
    ]


def _loops(op: Structured, rng: np.random.Generator, ops: Sequence[Structured]) -> list[str]:
    return ["bufferize", *_affine_tail(rng)] if rng.random() < 0.6 else ["bufferize", "to-loops", *_scf_loops(rng)]


def _affine_tail(rng: np.random.Generator) -> list[str]:
    return ["to-affine-loops", *_affine_loops(rng)]


def _affine_loops(rng: np.random.Generator) -> list[str]:
    actions = []
    if rng.random() < 0.25:
        actions.append(f"affine-fusion{{mode={_pick(rng, ('greedy', 'producer', 'sibling'))}}}")
    if rng.random() < 0.4:
        actions.append(
            f"affine-tile{{tile_sizes={_list([_pick(rng, _TILES) for _ in range(int(rng.integers(1, 4)))])}}}"
        )
    if rng.random() < 0.35:
        reductions = " vectorize_reductions=true" if rng.random() < 0.4 else ""
        actions.append(f"affine-vectorize{{virtual_vector_size={_pick(rng, (4, 8, 8, 16, 16, 32))}{reductions}}}")
    if rng.random() < 0.3:
        actions.append(f"affine-unroll-jam{{unroll_jam_factor={_pick(rng, (2, 4, 8))}}}")
    if rng.random() < 0.3 or not actions:
        actions.append(f"affine-unroll{{unroll_factor={_pick(rng, (2, 4, 8, 16))}}}")
    if rng.random() < 0.5:
        actions += ["affine-scalrep"] if rng.random() < 0.6 else ["affine-licm"]
    if rng.random() < 0.15:
        actions.append("affine-coalesce")
    return actions + (["canonicalize", "cse"] if rng.random() < 0.3 else [])


def _scf_loops(rng: np.random.Generator) -> list[str]:
    actions = []
    for _ in range(int(rng.integers(1, 3))):
        kind, position = rng.random(), int(rng.integers(3))
        if kind < 0.45:
            actions.append(f"unroll{{on=scf.for:{position} factor={_pick(rng, (2, 3, 4, 8))}}}")
        elif kind < 0.7:
            actions.append(f"unroll-and-jam{{on=scf.for:{position} factor={_pick(rng, (2, 4))}}}")
        else:
            actions.append(
                f"coalesce{{on=scf.for:{position}}}"
                if kind < 0.8
                else str(_pick(rng, ("licm", "cse", "canonicalize", "raise-to-affine")))
            )
    return actions


_TEMPLATES = (
    _tiled,
    _tiled,
    _vectorised,
    _vectorised,
    _vectorised,
    _fused,
    _elementwise,
    _interchanged,
    _split,
    _loops,
    _loops,
    _loops,
)
