"""How often the blocks of compiled code run, without running it to the end: products of constant trip counts.

Loops of the assembly are those of the optimised LLVM IR, whose trip counts LLVM's scalar evolution tells; comments of
the assembly name the IR block that a block comes from. Where a branch does not end such a loop, its share is taken from
a run that was stopped; whether that was needed is said, because a share of the first iterations is an estimate.

Frequencies are found loop by loop, from the inside out (Wu and Larus, "Static Branch Frequency and Program Profile
Analysis", MICRO 1994), with exact trip counts instead of guessed probabilities.

Dimension letters: B blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from foretune.costmodel.machine_code.assembly import Block
from foretune.errors import UnsupportedError
from foretune.passes.mlir.blocks.flow import Flow, read_flow
from foretune.passes.mlir.blocks.trip_counts import TripCount

_CLOSE = 1.25  # factor between both ways of all branches of which nothing is known, below which their mean is taken
_REMAINDERS = ("scalar.ph", "vec.epilog", ".prol", ".epil")
_MOST_LEFT = 16.0  # iterations of such a loop
_MOST = 2.0**62


@dataclass(frozen=True)
class Frequencies:
    """How often blocks run.

    Attributes:
        runs: [B] of each block.
        estimated: whether shares of branches were taken from a part of what they decide, or were not known and hardly
            matter.
    """

    runs: np.ndarray
    estimated: bool = False


def frequencies(
    assembly: str,
    blocks: Sequence[Block],
    trips: Mapping[str, Mapping[str, TripCount]],
    roots: Sequence[str],
    seen: np.ndarray | None = None,
) -> Frequencies:
    """How often each block runs when each root is called once.

    Args:
        assembly: with comments that name blocks of the IR.
        blocks: of it.
        trips: function -> header -> trip count.
        roots: functions that are called from outside.
        seen: [2 B] what was counted before a run was stopped, see `assembly.with_counters`; None if there was none.

    Raises:
        UnsupportedError: a loop's trip count is not known, or what follows a block; the message says where.
    """
    flow = read_flow(assembly, blocks)
    try:
        return _solve(flow, trips, roots, seen, None)
    except _UnknownBranch as error:
        ways = [_solve(flow, trips, roots, seen, share).runs for share in (0.0, 1.0)]
        sizes = np.array([len(block.instructions) for block in blocks])
        least, most = sorted(float(runs @ sizes) for runs in ways)
        if not 0 < most < _CLOSE * least:
            raise UnsupportedError(str(error)) from error
        return Frequencies(np.rint((ways[0] + ways[1]) / 2), True)


class _UnknownBranch(UnsupportedError):
    """Nothing tells which way a branch goes."""


def _solve(
    flow: Flow,
    trips: Mapping[str, Mapping[str, TripCount]],
    roots: Sequence[str],
    seen: np.ndarray | None,
    guess: float | None,
) -> Frequencies:
    """`frequencies`, with the same share for all branches of which nothing is known, or with a refusal."""
    inside: dict[str, _Function] = {}
    known: dict[str, np.ndarray] = {}

    def runs_of(name: str, callers: tuple[str, ...] = ()) -> np.ndarray:
        """Of all blocks, in one call of a function and what it calls."""
        if name in callers:
            raise UnsupportedError(f"@{name} calls itself")
        if name not in known:
            if name in flow.refused:
                raise UnsupportedError(flow.refused[name])
            inside[name] = _Function(flow, name, trips.get(name, {}), seen, guess)
            runs = np.zeros(len(flow.blocks))
            for block, each in inside[name].solve().items():
                runs[block] += each
                for callee in flow.calls[block] if each else ():
                    if not callee:
                        raise UnsupportedError(f"@{name} calls through a pointer")
                    if callee in flow.entries:
                        runs += each * runs_of(callee, (*callers, name))
            known[name] = runs
        return known[name]

    total = np.zeros(len(flow.blocks))
    for name in dict.fromkeys(roots):
        if name not in flow.entries:
            raise UnsupportedError(f"@{name} has no code of its own")
        total += runs_of(name)
    if not (total < _MOST).all():
        raise UnsupportedError("its loops run longer than any machine")
    asked = [block for function in inside.values() for block in function.asked]
    return Frequencies(np.rint(total), seen is not None and any(abs(total[b] - seen[b]) > 1 for b in asked))


@dataclass
class _Loop:
    """A natural loop: its blocks, and once it is solved how often each runs in one iteration."""

    header: int
    body: set[int]
    latches: list[int]
    parent: _Loop | None = None
    weights: dict[int, float] = field(default_factory=dict)
    exits: dict[int, float] = field(default_factory=dict)
    trips: float = 0.0
    why: UnsupportedError | None = None  # it is not solved


class _Function:
    """The blocks of one function.

    Args:
        flow: of all functions.
        name: its name.
        trips: header -> trip count.
        seen: [2 B] what was counted before a run was stopped.
        guess: the share of branches of which nothing is known; None refuses them.
    """

    def __init__(
        self,
        flow: Flow,
        name: str,
        trips: Mapping[str, TripCount],
        seen: np.ndarray | None,
        guess: float | None = None,
    ) -> None:
        self._flow, self._name, self._trips, self._seen, self._guess = flow, name, trips, seen, guess
        self.asked: set[int] = set()  # branches whose shares were taken from `seen`
        self._entry = flow.entries[name]
        self._order = self._in_order()
        self._position = {block: i for i, block in enumerate(self._order)}
        self._predecessors: dict[int, list[int]] = {block: [] for block in self._order}
        for block in self._order:
            for after in flow.successors[block]:
                self._predecessors[after].append(block)
        self._loops = self._natural_loops()

    def _in_order(self) -> list[int]:
        """The blocks that can be reached, in reverse postorder."""
        done, order, stack = {self._entry}, [], [(self._entry, iter(self._flow.successors[self._entry]))]
        while stack:
            block, following = stack[-1]
            for after in following:
                if after not in done:
                    done.add(after)
                    stack.append((after, iter(self._flow.successors[after])))
                    break
            else:
                order.append(block)
                stack.pop()
        return order[::-1]

    def _natural_loops(self) -> list[_Loop]:
        """Inner ones first."""
        dominators = self._dominators()
        latches: dict[int, list[int]] = {}
        for block in self._order:
            for after in self._flow.successors[block]:
                if self._position[after] <= self._position[block]:
                    if not _dominates(dominators, self._position, after, block):
                        raise UnsupportedError(f"@{self._name} has a loop with two entries")
                    latches.setdefault(after, []).append(block)
        loops = []
        for header, ends in latches.items():
            body, stack = {header}, list(ends)
            while stack:
                block = stack.pop()
                if block not in body:
                    body.add(block)
                    stack += self._predecessors[block]
            loops.append(_Loop(header, body, ends))
        loops.sort(key=lambda loop: len(loop.body))
        for i, loop in enumerate(loops):
            loop.parent = next((outer for outer in loops[i + 1 :] if loop.header in outer.body), None)
        return loops

    def _dominators(self) -> dict[int, int]:
        """Immediate dominators (Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm", 2001)."""
        found, changed = {self._entry: self._entry}, True
        while changed:
            changed = False
            for block in self._order[1:]:
                known = [p for p in self._predecessors[block] if p in found]
                new = known[0]
                for other in known[1:]:
                    new = self._meet(found, new, other)
                if found.get(block) != new:
                    found[block], changed = new, True
        return found

    def _meet(self, found: dict[int, int], a: int, b: int) -> int:
        while a != b:
            while self._position[a] > self._position[b]:
                a = found[a]
            while self._position[b] > self._position[a]:
                b = found[b]
        return a

    def solve(self) -> dict[int, float]:
        """How often each block runs in one call."""
        for loop in reversed(self._loops):
            loop.trips = self._known_trips(loop)
        for loop in self._loops:
            try:
                self._solve_loop(loop)
            except UnsupportedError as error:  # which matters only if it runs
                loop.why = error
        weights, _ = self._spread(None)
        return weights

    def _known_trips(self, loop: _Loop) -> float:
        """Iterations each time that a loop is entered; 0 where nothing tells."""
        outer, around = {}, loop.parent
        while around is not None:
            outer |= dict.fromkeys(self._flow.names[around.header], around.trips) if around.trips else {}
            around = around.parent
        for name in self._flow.names[loop.header]:
            if name in self._trips:
                return self._trips[name].average(outer) or 0.0
        return 0.0

    def _solve_loop(self, loop: _Loop) -> None:
        if not loop.trips and self._is_remainder(loop) and (self._seen is None or not self._seen[loop.header]):
            if self._guess is None:
                raise _UnknownBranch(f"how far the end of a vectorised loop of @{self._name} goes is not known")
            loop.trips = 1 + self._guess * (_MOST_LEFT - 1)
        weights, exits = self._spread(loop)
        leaving = sum(exits.values())
        if not loop.trips:
            if any(self._trips[n].varies for n in self._flow.names[loop.header] if n in self._trips):
                raise UnsupportedError(f"how far a loop of @{self._name} goes depends on the loops around it")
            if not leaving:
                raise UnsupportedError(f"how far a loop of @{self._name} goes is not known")
            loop.trips = 1 / leaving
        elif not leaving:
            raise UnsupportedError(f"a loop of @{self._name} has no end that is known")
        loop.weights, loop.exits = weights, {to: share / leaving for to, share in exits.items()}

    def _spread(self, region: _Loop | None) -> tuple[dict[int, float], dict[int, float]]:
        """What becomes of one run of a region's first block: (runs of each block, runs that leave to each block)."""
        inner = {loop.header: loop for loop in self._loops if loop.parent is region}
        covered = set().union(*(loop.body for loop in inner.values())) - set(inner) if inner else set()
        header = region.header if region is not None else self._entry
        mass: dict[int, float] = {header: 1.0}
        weights: dict[int, float] = {}
        exits: dict[int, float] = {}
        for block in self._order:
            if block in covered or not mass.get(block) or (region is not None and block not in region.body):
                continue
            runs = mass[block]
            if block in inner:
                loop = inner[block]
                if loop.why is not None:
                    raise loop.why
                for member, each in loop.weights.items():
                    weights[member] = weights.get(member, 0.0) + runs * loop.trips * each
                leaving = {to: runs * share for to, share in loop.exits.items()}
            else:
                weights[block] = runs
                leaving = {to: runs * share for to, share in self._shares(block, region)}
            for to, share in leaving.items():
                if region is None or (to in region.body and to != region.header):
                    mass[to] = mass.get(to, 0.0) + share
                elif to not in region.body:
                    exits[to] = exits.get(to, 0.0) + share
        return weights, exits

    def _shares(self, block: int, region: _Loop | None) -> list[tuple[int, float]]:
        """(successor, share of the block's runs that go there)."""
        following = self._flow.successors[block]
        if len(following) < 2:
            return [(to, 1.0) for to in following]
        first, second = following
        if region is not None and region.trips and (first in region.body) != (second in region.body):
            leaves, stays = (second, first) if first in region.body else (first, second)
            if self._ends_alone(block, region):
                self._check(block, leaves, region)
                return [(leaves, 1 / region.trips), (stays, 1 - 1 / region.trips)]
        share = self._seen_share(block, first, second)
        return [(first, share), (second, 1 - share)]

    def _ends_alone(self, block: int, loop: _Loop) -> bool:
        """Whether a block is the only one that leaves a loop, and is in none of the loops in it."""
        leaving = {b for b in loop.body for to in self._flow.successors[b] if to not in loop.body}
        return leaving == {block}

    def _check(self, block: int, leaves: int, loop: _Loop) -> None:
        """Compares a trip count with the run that was stopped, as far as that tells.

        Raises:
            UnsupportedError: they do not agree.
        """
        name = next((n for n in self._flow.names[loop.header] if n in self._trips), None)
        if self._seen is None or name is None or self._trips[name].steps:
            return
        expected, falls = self._seen[block] / loop.trips, self._seen[len(self._flow.blocks) + block]
        left = falls if leaves == self._flow.successors[block][1] else self._seen[block] - falls
        if abs(left - expected) > 1.0 + 1e-9 * expected:
            raise UnsupportedError(f"the trip counts of @{self._name} do not agree with what ran")

    def _seen_share(self, block: int, first: int, second: int) -> float:
        """The share of a block's runs that went on to the first of two, in the run that was stopped.

        Where none reached it, it may still be LLVM's question before a vectorised loop whether buffers overlap: they
        do not.
        """
        asks_overlap = self._is_vector(first) != self._is_vector(second)
        if self._seen is None or not self._seen[block]:
            if asks_overlap:
                return float(self._is_vector(first))
            if self._guess is not None:
                return self._guess
            raise _UnknownBranch(f"which way a branch of @{self._name} goes is not known")
        share = 1 - float(self._seen[len(self._flow.blocks) + block] / self._seen[block])
        if share and not self._seen[first]:  # it was stopped in this block
            raise UnsupportedError(f"which way a branch of @{self._name} goes was not counted")
        if not asks_overlap or share != self._is_vector(first):
            self.asked.add(block)
        return share

    def _is_remainder(self, loop: _Loop) -> bool:
        """Whether a loop does what vectors or unrolling leave, by LLVM's names."""
        return any(word in name for name in self._flow.names[loop.header] for word in _REMAINDERS)

    def _is_vector(self, block: int) -> bool:
        """Whether a block begins the vectorised version of a loop, by LLVM's names."""
        for _ in range(3):
            if self._flow.names[block]:
                return any(name.startswith("vector.") for name in self._flow.names[block])
            if len(self._flow.successors[block]) != 1:
                break
            [block] = self._flow.successors[block]
        return False


def _dominates(dominators: dict[int, int], position: dict[int, int], a: int, b: int) -> bool:
    while position[b] > position[a]:
        b = dominators[b]
    return a == b
