"""Ansor's states as points of MetaSchedule's design spaces.

MetaSchedule's rules for CPUs were modelled on Ansor's sketches (Shao et al., Tensor Program Optimization with
Probabilistic Programs, 2022, section 5): both tile in the structure SSRSRS, fuse a consumer or a cached write at the
first or second level of it, factor reductions, draw where the other stages are computed, and how far to unroll. So the
transform steps of a state are read here, the design space of the same structure is looked up, and the state's choices
become its decisions: a cost model that was trained on MetaSchedule's traces reads them as they are. Nothing here
imports TVM.

What a trace cannot say is lost: how far Ansor fused loops before it made them parallel or vectors, and unroll limits of
stages beside the main one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

from foretune.errors import IllegalActionError
from foretune.trace import Action, Trace, Value

MAX_VECTOR = 16
"""Extent of the longest loop that SketchPolicy makes a vector by default."""

_INLINED, _ROOT = -2, -1
_PART = ".rf"  # of the name of a stage that holds the factored part of a reduction, as Ansor has it
_UNROLL = "auto_unroll_max_step$"
_VECTORIZE = ("meta_schedule.vectorize",)
_SAME_IN_NEWER_TVM = {"GetBlock": "GetSBlock"}
_UNLIKE_TILING, _UNLIKE_FACTOR, _UNLIKE_LEVEL = 100, 10, 1  # how much a structure differs


@dataclass(frozen=True)
class Structure:
    """What all states of one design space share.

    Attributes:
        tiled: (block, level at which its consumer or cached write is fused, 0 if it is not) of each tiled block,
            sorted.
        factored: (block, 0 if the outer loop was factored out, 1 if the inner one) of each factored reduction, sorted.
    """

    tiled: tuple[tuple[str, int], ...]
    factored: tuple[tuple[str, int], ...]

    def unlikeness(self, other: Structure) -> int:
        """How much two structures differ; 0 if they are the same."""
        mine, theirs = dict(self.tiled), dict(other.tiled)
        levels = sum(mine[b] != theirs[b] for b in mine.keys() & theirs.keys())
        return (
            _UNLIKE_TILING * len(mine.keys() ^ theirs.keys())
            + _UNLIKE_LEVEL * levels
            + _UNLIKE_FACTOR * len({*self.factored} ^ {*other.factored})
        )


@dataclass(frozen=True)
class StateChoices:
    """What a state chose.

    Attributes:
        structure: of its sketch.
        tiles: block -> factors of each of its split loops, the outermost factor first.
        locations: block -> loop of its consumer that it is computed at, -1 at the root, -2 inlined.
        unroll: limit of the iterations that are unrolled in the main stage.
    """

    structure: Structure
    tiles: dict[str, list[tuple[int, ...]]]
    locations: dict[str, int]
    unroll: int


@dataclass(eq=False)
class _Stage:
    name: str
    tiles: list[tuple[int, ...]] = field(default_factory=list)
    split_at: int = -1  # loop that was split last
    levels: int = 0  # of another stage's tiling that it follows
    num_followed: int = 0  # loops that follow them
    at: tuple[_Stage, int] | None = None
    is_inlined: bool = False
    unroll: int = 0

    @property
    def is_tiled(self) -> bool:
        return any(len(tile) > 2 for tile in self.tiles)


def read_state(stages: Sequence[str], steps: Iterable[Sequence[Any]]) -> StateChoices:
    """Reads the transform steps of a finished state.

    Args:
        stages: names of the program's stages, in Ansor's order, inputs too.
        steps: as Ansor's records hold them, `["SP", 2, 0, 256, [2, 4, 1], 1]`.

    Raises:
        IllegalActionError: a step has other arguments than Ansor writes.
    """
    walk = _Walk([_Stage(name) for name in stages])
    for step in steps:
        try:
            walk.follow(step)
        except (IndexError, ValueError, TypeError, ZeroDivisionError) as error:
            raise IllegalActionError(f"transform step {str(step)[:60]} does not fit the program: {error}") from error
    return walk.finish()


class _Walk:
    def __init__(self, stages: list[_Stage]) -> None:
        self._stages = stages
        self._factored: dict[str, int] = {}

    def follow(self, step: Sequence[Any]) -> None:
        """Applies one step; those that change neither structure nor choices are passed over."""
        op, at, *rest = step
        stage = self._stages[at]
        if op == "SP":
            loop, extent, lengths, _ = rest
            stage.tiles.append((math.ceil(extent / math.prod(lengths)), *map(int, lengths)))
            stage.split_at = int(loop)
        elif op == "FSP":
            stage.levels, stage.num_followed = int(rest[2]), stage.num_followed + 1
        elif op == "CA":
            stage.at, stage.is_inlined = (self._stages[rest[0]], int(rest[1])), False
        elif op in ("CI", "CR"):
            stage.at, stage.is_inlined = None, op == "CI"
        elif op == "CHW":  # the cache comes before the stage, and does its work
            self._stages.insert(at + 1, _Stage(f"{stage.name}.write"))
        elif op == "CHR":
            self._stages.insert(at + 1, _Stage(f"{stage.name}.read"))
        elif op == "RF":
            self._factored[stage.name] = min(1, max(0, int(rest[0]) - stage.split_at))
            self._stages.insert(at + 1, _Stage(stage.name))
            stage.name += _PART
        elif op == "PR" and str(rest[1]).startswith(_UNROLL):
            stage.unroll = int(rest[1][len(_UNROLL) :])

    def finish(self) -> StateChoices:
        fused = {
            s.at[0]: s for s in self._stages if s.at is not None and s.is_tiled
        }  # consumer -> the tiled stage in it
        levels = {s.name: s.at[0].levels if s.at is not None else 0 for s in self._stages if s.is_tiled}
        tiles = {s.name.removesuffix(_PART): s.tiles for s in self._stages if s.tiles}
        unrolls = [s.unroll for s in self._stages if s.is_tiled] or [s.unroll for s in self._stages]
        structure = Structure(tuple(sorted(levels.items())), tuple(sorted(self._factored.items())))
        return StateChoices(
            structure, tiles, {s.name: _location(s, fused) for s in self._stages}, max(unrolls, default=0)
        )


def _location(stage: _Stage, fused: dict[_Stage, _Stage]) -> int:
    """MetaSchedule's number of the loop that a stage is computed at."""
    if stage.is_inlined or stage.at is None:
        return _INLINED if stage.is_inlined else _ROOT
    consumer, loop = stage.at
    around = consumer.at[0] if consumer.at is not None and fused.get(consumer.at[0]) is consumer else None
    if around is not None:  # its outer loops are those of the stage around it; its own there have a single iteration
        return max(loop, around.levels * around.num_followed - 1)
    return loop


@dataclass(frozen=True)
class Template:
    """A design space that states are points of.

    Attributes:
        trace: one point of it.
        structure: of all its points.
        tiles: block -> the actions that decide its factors, loop by loop.
        locations: block -> the action that decides where it is computed.
        unroll: the action that decides how far to unroll, or -1.
    """

    trace: Trace
    structure: Structure
    tiles: dict[str, tuple[int, ...]]
    locations: dict[str, int]
    unroll: int

    def decide(self, choices: StateChoices) -> tuple[Value, ...]:
        """The decisions of a state, in the trace's order; what the state does not say stays as it is in the trace."""
        chosen: dict[int, Value] = {}
        for block, actions in self.tiles.items():
            chosen.update(
                (i, tile)
                for i, tile in zip(actions, choices.tiles.get(block, ()))
                if len(tile) == len(self.trace.actions[i].outputs)
            )
        chosen.update(
            (i, choices.locations[block]) for block, i in self.locations.items() if block in choices.locations
        )
        if self.unroll >= 0:
            values = cast("tuple[int, ...]", self.trace.actions[self.unroll].attrs[0])
            chosen[self.unroll] = min(
                range(len(values)), key=lambda k: abs(math.log2(1 + values[k]) - math.log2(1 + choices.unroll))
            )
        return tuple(chosen.get(i, decision) for i, decision in self.trace.decisions)


def read_template(trace: Trace) -> Template:
    """Reads one point of a MetaSchedule design space, as TVM 0.19 generates it, and has it vectorize as Ansor does."""
    actions = tuple(_as_today(action) for action in trace.actions)
    blocks: dict[str, str] = {}  # value -> block
    loops: dict[str, tuple[str, int]] = {}  # value -> (block, position among the parts of a split)
    tiles: dict[str, list[int]] = {}
    locations: dict[str, int] = {}
    levels: dict[str, int] = {}
    factored: dict[str, int] = {}
    unroll = -1
    for i, action in enumerate(actions):
        first = cast("str", action.inputs[0]) if action.inputs else ""
        block = blocks.get(first) or loops.get(first, ("", 0))[0]
        if action.op == "GetSBlock":
            blocks[action.outputs[0]] = str(action.attrs[0])
        elif action.op == "GetLoops":
            loops.update((output, (block, 0)) for output in action.outputs)
        elif action.op == "SamplePerfectTile":
            tiles.setdefault(block, []).append(i)
            levels.update({block: 0} if len(action.outputs) > 2 else {})
        elif action.op == "Split":
            loops.update((output, (block, k)) for k, output in enumerate(action.outputs))
        elif action.op == "Fuse":
            loops[action.outputs[0]] = (block, 0)
        elif action.op == "RFactor":
            factored[block] = loops[first][1]
            blocks[action.outputs[0]] = block + _PART
        elif action.op == "GetProducers" and block in factored:
            blocks[action.outputs[0]] = block + _PART
        elif action.op == "ReverseComputeAt":
            fused_in, level = loops[cast("str", action.inputs[1])]
            levels[fused_in] = level + 1
        elif action.op == "SampleComputeLocation":
            locations[block] = i
        elif action.op == "SampleCategorical":
            unroll = i
    structure = Structure(tuple(sorted(levels.items())), tuple(sorted(factored.items())))
    return Template(Trace(actions), structure, {b: tuple(t) for b, t in tiles.items()}, locations, unroll)


def _as_today(action: Action) -> Action:
    if action.op == "Annotate" and action.attrs == _VECTORIZE:
        return replace(action, inputs=(action.inputs[0], MAX_VECTOR))
    return replace(action, op=_SAME_IN_NEWER_TVM.get(action.op, action.op))


class TemplateLookup:
    """Finds the design space of a state.

    Args:
        templates: of one program, at least one.
    """

    def __init__(self, templates: Sequence[Template]) -> None:
        self.templates = tuple(templates)
        self._found: dict[Structure, int] = {}

    def find(self, structure: Structure) -> int:
        """Position of the template with the same structure, or with the one that is most like it."""
        if structure not in self._found:
            self._found[structure] = min(
                range(len(self.templates)), key=lambda i: structure.unlikeness(self.templates[i].structure)
            )
        return self._found[structure]
