"""Planner: searches design spaces in latent space, without touching the compiler.

An evolutionary search over option indices: thousands of points are scored by rollouts, and the best of them, some from each design
space, have children. A child is a speculation: it changes a few decisions of its parent, and is scored after the last of them.
Where it is among the best, the search looks back: it scores the child after each earlier change, too, with the rest as the parent
has it, and so keeps the useful beginning where a later decision spoils it.

What is proposed in the end balances expected speed against the model's uncertainty and differs in kind (`archive.py`), with a
share of purely random points, so that a wrong model cannot starve the search.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from foretune.costmodel.archive import cells
from foretune.costmodel.latent import LatentCostModel
from foretune.errors import OptionError
from foretune.space import DesignSpace
from foretune.task import Candidate, Task
from foretune.trace import Trace

_MAX_REJECTED = 4  # times as many traces as are wanted
_CROSSOVER = 0.3  # chance that a changed decision is a mate's
_MIN_SHARE = 16  # points that each design space is sampled with, at least


@dataclass(frozen=True)
class PlannerConfig:
    """How to search.

    Attributes:
        population: points scored in each generation, over all design spaces.
        generations: rounds of breeding after the first, random one.
        survivors: points of all generations that are parents of the next.
        share_of_spaces: share of the survivors that are the best of each design space, alike; the others are the best of all.
        changes: most decisions in which a child differs from its parent.
        rollback: score the beginnings of the changes of those children that survive; they count as points of the next generation.
        random_share: share of the proposals that are uniform samples.
        optimism: standard deviations added to the score of a proposal, spread evenly from 0 to this.
        diversity: standard deviations taken off a proposal for each earlier one of its kind.
        min_legality: points less likely to be legal are dropped.
    """

    population: int = 512
    generations: int = 8
    survivors: int = 64
    share_of_spaces: float = 0.75
    changes: int = 4
    rollback: bool = True
    random_share: float = 0.1
    optimism: float = 1.0
    diversity: float = 0.7
    min_legality: float = 0.2

    def __post_init__(self) -> None:
        if self.population < 1 or self.survivors < 1 or self.changes < 1 or self.generations < 0:
            raise OptionError(f"population, survivors and changes must be positive and generations not negative, but got {self}")
        if not 0 <= self.random_share <= 1 or not 0 <= self.share_of_spaces <= 1:
            raise OptionError(f"`random_share` and `share_of_spaces` must be between 0 and 1, but got {self.random_share} and {self.share_of_spaces}")


@dataclass
class _Pool:
    """Points of one design space that have been scored, each once."""

    space: DesignSpace
    points: np.ndarray
    score: np.ndarray
    spread: np.ndarray
    legality: np.ndarray

    def new(self, points: np.ndarray) -> np.ndarray:
        """Rows of the points that are not in the pool; of equal ones the first."""
        _, first = np.unique(np.concatenate([self.points, points]), axis=0, return_index=True)
        return first[first >= len(self.points)] - len(self.points)


class Planner:
    """Proposes traces of a task that are worth measuring.

    Args:
        model: scores points; it may have been adapted to the task.
        config: how to search.
        seed: of the search.
    """

    def __init__(self, model: LatentCostModel, config: PlannerConfig = PlannerConfig(), seed: int = 0) -> None:
        self.model = model
        self.config = config
        self._rng = np.random.default_rng(seed)

    def propose(
        self, task: Task, spaces: Sequence[DesignSpace], num: int, exclude: frozenset[str] = frozenset(), elites: Sequence[Trace] = (), greedy: bool = False,
        accept: Callable[[Trace], bool] = lambda trace: True,
    ) -> list[Candidate]:
        """Finds promising traces that have not been measured.

        Args:
            task: what to tune.
            spaces: its design spaces.
            num: how many to propose; fewer come back only if the spaces hold no more.
            exclude: keys of traces that must not be proposed.
            elites: good traces to start from as well.
            greedy: propose by score alone, without exploration.
            accept: whether a trace may be proposed; asked last.

        Returns:
            Candidates, the most promising first.
        """
        if not spaces or num < 1:
            return []
        pools = self._search(task, spaces, elites)
        num_random = 0 if greedy else min(num, round(self.config.random_share * num))
        chosen: dict[str, Trace] = {}
        optimism = np.zeros(num) if greedy else np.linspace(0.0, self.config.optimism, num)
        for trace in self._ranked(pools, exclude, optimism[: num - num_random], accept):
            chosen.setdefault(trace.key, trace)
        for trace in self._random(spaces, num - len(chosen), exclude | chosen.keys(), accept):
            chosen.setdefault(trace.key, trace)
        return [Candidate(task, trace) for trace in list(chosen.values())[:num]]

    def _search(self, task: Task, spaces: Sequence[DesignSpace], elites: Sequence[Trace]) -> list[_Pool]:
        """Samples all spaces alike, and then breeds where the best points are."""
        share = max(_MIN_SHARE, self.config.population // len(spaces))
        pools = [self._scored(task, space, self._first_points(space, elites, share)) for space in spaces]
        num_ahead = 0  # points of rollbacks, scored ahead of their generation
        for _ in range(self.config.generations):
            num_children = max(1, self.config.population - num_ahead)
            num_ahead = self._breed(task, pools, num_children)
        return pools

    def _first_points(self, space: DesignSpace, elites: Sequence[Trace], num: int) -> np.ndarray:
        if space.size <= 2 * num:
            return _all_points(space)
        seeds = [p for t in elites if t.space_id == space.space_id and (p := space.encode(t)) is not None]
        return np.unique(np.concatenate([np.array(seeds, np.int64).reshape(len(seeds), len(space.domains)), space.sample(self._rng, num)]), axis=0)

    def _breed(self, task: Task, pools: list[_Pool], num: int) -> int:
        """Adds children of the survivors to their pools, and of those that survive, the beginnings of their changes.

        Returns:
            How many beginnings were scored.
        """
        value = np.concatenate([self._value(pool) for pool in pools])
        pool_of = np.repeat(np.arange(len(pools)), [len(p.points) for p in pools])
        row_of = np.concatenate([np.arange(len(p.points)) for p in pools])
        best = self._survivors(value, pool_of)
        bar = np.sort(value)[-self.config.survivors :][0]
        chosen = best[self._rng.integers(len(best), size=num)]
        num_rolled_back = 0
        for i in np.unique(pool_of[chosen]):
            pool, rows = pools[i], row_of[chosen[pool_of[chosen] == i]]
            parents, mates = pool.points[rows], pool.points[row_of[best[pool_of[best] == i]]]
            children = self._changed(pool.space, parents, mates)
            new = pool.new(children)
            if not len(new):
                continue
            scored = self._scored(task, pool.space, children[new])
            pools[i] = _joined(pool, scored)
            if self.config.rollback:
                good = self._value(scored) > bar
                beginnings = _beginnings(parents[new[good]], scored.points[good])
                beginnings = beginnings[pools[i].new(beginnings)]
                if len(beginnings):
                    pools[i] = _joined(pools[i], self._scored(task, pool.space, beginnings))
                    num_rolled_back += len(beginnings)
        return num_rolled_back

    def _value(self, pool: _Pool) -> np.ndarray:
        return pool.score + 0.5 * self.config.optimism * pool.spread

    def _survivors(self, value: np.ndarray, pool_of: np.ndarray) -> np.ndarray:
        """Rows of the parents; a row may come twice."""
        order = np.argsort(-value, kind="stable")
        num_of_spaces = int(self.config.share_of_spaces * self.config.survivors)
        each = -(-num_of_spaces // (pool_of.max() + 1))
        of_spaces = [order[pool_of[order] == i][:each] for i in range(pool_of.max() + 1)]
        return np.concatenate([order[: self.config.survivors - num_of_spaces], *of_spaces])

    def _changed(self, space: DesignSpace, parents: np.ndarray, mates: np.ndarray) -> np.ndarray:
        """Children with a few decisions drawn anew or taken from a mate: [N, D] points, [M, D] points -> [N, D]."""
        num = len(parents)
        drawn = np.where(self._rng.random(parents.shape) < _CROSSOVER, mates[self._rng.integers(len(mates), size=num)], space.sample(self._rng, num))
        rank = self._rng.random(parents.shape).argsort(1).argsort(1)
        return np.where(rank < self._rng.integers(1, self.config.changes + 1, size=(num, 1)), drawn, parents)

    def _scored(self, task: Task, space: DesignSpace, points: np.ndarray) -> _Pool:
        prediction = self.model.score(task, space, points)
        return _Pool(space, points, prediction.score, prediction.spread, prediction.legality)

    def _ranked(self, pools: Sequence[_Pool], exclude: frozenset[str], optimism: np.ndarray, accept: Callable[[Trace], bool]) -> list[Trace]:
        """One trace for each degree of optimism, all different."""
        score = np.concatenate([p.score for p in pools])
        spread = np.concatenate([p.spread for p in pools])
        dropped = np.concatenate([p.legality for p in pools]) < self.config.min_legality
        if dropped.all():
            dropped[:] = False
        pool_of = np.repeat(np.arange(len(pools)), [len(p.score) for p in pools])
        row_of = np.concatenate([np.arange(len(p.score)) for p in pools])
        kinds = np.concatenate([cells(p.space, p.points) for p in pools])
        _, kind = np.unique(np.column_stack([pool_of, kinds]), axis=0, return_inverse=True)
        tried = set(exclude)
        traces: list[Trace] = []
        rejected = 0
        crowd = np.zeros(kind.max() + 1)  # proposals of each kind
        dearness = self.config.diversity * np.median(spread[np.argsort(-score)[: self.config.survivors]])
        for kappa in optimism:
            value = np.where(dropped, -np.inf, score + kappa * spread - dearness * crowd[kind])
            for i in np.argsort(-value, kind="stable"):
                if dropped[i] or rejected > _MAX_REJECTED * len(optimism):
                    break
                trace = pools[pool_of[i]].space.decode(pools[pool_of[i]].points[row_of[i]])
                dropped[i] = True
                if trace.key in tried:
                    continue
                tried.add(trace.key)
                if not accept(trace):
                    rejected += 1
                    continue
                traces.append(trace)
                crowd[kind[i]] += 1
                break
        return traces

    def _random(self, spaces: Sequence[DesignSpace], num: int, exclude: frozenset[str] | set[str], accept: Callable[[Trace], bool]) -> list[Trace]:
        sizes = np.array([min(s.size, 1 << 20) for s in spaces], float)
        found: dict[str, Trace] = {}
        for _ in range(20 * num):
            if len(found) >= num:
                break
            space = spaces[self._rng.choice(len(spaces), p=np.sqrt(sizes) / np.sqrt(sizes).sum())]
            trace = space.decode(space.sample(self._rng, 1)[0])
            if trace.key not in exclude and trace.key not in found and accept(trace):
                found[trace.key] = trace
        return list(found.values())


def _all_points(space: DesignSpace) -> np.ndarray:
    if not space.domains:
        return np.zeros((1, 0), np.int64)
    grids = np.meshgrid(*[np.arange(len(d.options)) for d in space.domains], indexing="ij")
    return np.stack([g.reshape(-1) for g in grids], 1)


def _beginnings(parents: np.ndarray, children: np.ndarray) -> np.ndarray:
    """Children that differ from their parents in k decisions, taken back to the first 1 to k - 1 of them in the order of the trace."""
    differs = parents != children
    place = np.cumsum(differs, 1)  # [N, D], from 1 at the first change
    most = int(place.max(initial=0))
    return np.concatenate([parents[:0], *(np.where(place <= kept, children, parents)[place[:, -1] > kept] for kept in range(1, most))])


def _joined(a: _Pool, b: _Pool) -> _Pool:
    parts = ((getattr(a, name), getattr(b, name)) for name in ("points", "score", "spread", "legality"))
    return _Pool(a.space, *(np.concatenate(pair) for pair in parts))
