"""Planner: searches design spaces in latent space, without touching the compiler.

An evolutionary search over option indices: thousands of points are scored by rollouts, and the best of them, some from
each design space, have children. A child is a speculation: it changes a few decisions of its parent, and is scored
after the last of them. Where it is among the best, the search looks back: in the next generation it scores the child
after each earlier change, too, with the rest as the parent has it, and so keeps the useful beginning where a later
decision spoils it.

What is proposed in the end balances expected speed against the model's uncertainty and differs in kind (`archive.py`),
with a share of purely random points, so that a wrong model cannot starve the search. The next search of the same task
goes on from the best points of the last one, and is shorter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.planning.acquisition import optimistic
from foretune.costmodel.planning.archive import cells
from foretune.errors import OptionError
from foretune.space import DesignSpace
from foretune.support.cache import RecentCache
from foretune.task import Candidate, Task
from foretune.trace import Trace

_REMEMBERED_TASKS = 64
_MAX_REJECTED = 4  # times as many traces as are wanted
_CROSSOVER = 0.3  # chance that a changed decision is a mate's
_MIN_SHARE = 16  # points that each design space is sampled with, at least


@dataclass(frozen=True)
class PlannerConfig:
    """How to search.

    Attributes:
        population: points scored in each generation, over all design spaces.
        generations: rounds of breeding after the first, random one.
        more_generations: the same where a search goes on from an earlier one of the task.
        survivors: points of all generations that are parents of the next.
        share_of_spaces: share of the survivors that are the best of each design space, alike; the others are the best
            of all.
        changes: most decisions in which a child differs from its parent.
        rollback: score the beginnings of the changes of those children that survive, among the points of the next
            generation.
        random_share: share of the proposals that are uniform samples.
        optimism: standard deviations added to the score of a proposal, spread evenly from 0 to this.
        diversity: standard deviations taken off a proposal for each earlier one of its kind.
        min_legality: points less likely to be legal are dropped.
    """

    population: int = 512
    generations: int = 8
    more_generations: int = 3
    survivors: int = 64
    share_of_spaces: float = 0.75
    changes: int = 4
    rollback: bool = True
    random_share: float = 0.1
    optimism: float = 1.0
    diversity: float = 0.7
    min_legality: float = 0.2

    def __post_init__(self) -> None:
        if min(self.population, self.survivors, self.changes) < 1 or min(self.generations, self.more_generations) < 0:
            raise OptionError(
                f"population, survivors and changes must be positive and generations not negative, but got {self}"
            )
        if not 0 <= self.random_share <= 1 or not 0 <= self.share_of_spaces <= 1:
            raise OptionError(
                f"`random_share` and `share_of_spaces` must be between 0 and 1, but got {self.random_share} and"
                f" {self.share_of_spaces}"
            )


@dataclass
class _Pool:
    """Points of one design space that have been scored, each once."""

    space: DesignSpace
    points: np.ndarray
    score: np.ndarray
    spread: np.ndarray
    legality: np.ndarray

    def value(self, optimism: float) -> np.ndarray:
        """Scores with so many deviations added; [N]."""
        return optimistic(self.score, self.spread, optimism)

    def new(self, points: np.ndarray) -> np.ndarray:
        """Rows of the points that are not in the pool; of equal ones the first."""
        keys = _keys(points)
        _, first = np.unique(keys, return_index=True)
        return np.sort(first[~np.isin(keys[first], _keys(self.points))])


class Planner:
    """Proposes traces of a task that are worth measuring.

    Args:
        model: scores points; it may have been adapted to the task.
        config: how to search.
        seed: of the search.

    Attributes:
        num_scored: points that the model scored so far.
    """

    def __init__(self, model: LatentCostModel, config: PlannerConfig = PlannerConfig(), seed: int = 0) -> None:
        self.model = model
        self.config = config
        self.num_scored = 0
        self._rng = np.random.default_rng(seed)
        self._best_points: RecentCache[dict[str, np.ndarray]] = RecentCache(_REMEMBERED_TASKS)  # by design space

    def propose(
        self,
        task: Task,
        spaces: Sequence[DesignSpace],
        num: int,
        exclude: frozenset[str] = frozenset(),
        elites: Sequence[Trace] = (),
        greedy: bool = False,
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
        pools = self._search(task, spaces, elites, 0.0 if greedy else 0.5 * self.config.optimism)
        num_random = 0 if greedy else min(num, round(self.config.random_share * num))
        chosen: dict[str, Trace] = {}
        optimism = np.zeros(num) if greedy else np.linspace(0.0, self.config.optimism, num)
        for trace in self._ranked(pools, exclude, optimism[: num - num_random], accept):
            chosen.setdefault(trace.key, trace)
        for trace in self._random(spaces, num - len(chosen), exclude | chosen.keys(), accept):
            chosen.setdefault(trace.key, trace)
        return [Candidate(task, trace) for trace in list(chosen.values())[:num]]

    def _search(
        self, task: Task, spaces: Sequence[DesignSpace], elites: Sequence[Trace], optimism: float
    ) -> list[_Pool]:
        """Samples all spaces alike, and then breeds where the best points are, by their scores and so many
        deviations.
        """
        share = max(_MIN_SHARE, self.config.population // len(spaces))
        best = self._best_points.get(task.key, dict)
        num_generations = (
            self.config.more_generations if any(space.space_id in best for space in spaces) else self.config.generations
        )
        pools = [
            self._scored(task, space, self._first_points(space, elites, best.get(space.space_id), share))
            for space in spaces
        ]
        beginnings = [pool.points[:0] for pool in pools]
        for _ in range(num_generations):
            beginnings = self._breed(task, pools, beginnings, optimism)
        bar = self._bar(np.concatenate([pool.value(optimism) for pool in pools]))
        best.update((pool.space.space_id, pool.points[pool.value(optimism) >= bar]) for pool in pools)
        return pools

    def _first_points(
        self, space: DesignSpace, elites: Sequence[Trace], best: np.ndarray | None, num: int
    ) -> np.ndarray:
        if space.size <= 2 * num:
            return _all_points(space)
        seeds = np.array(
            [p for t in elites if t.space_id == space.space_id and (p := space.encode(t)) is not None], np.int64
        )
        known = [seeds.reshape(len(seeds), len(space.domains)), *([best] if best is not None else [])]
        return np.unique(np.concatenate([*known, space.sample(self._rng, num)]), axis=0)

    def _breed(
        self, task: Task, pools: list[_Pool], beginnings: Sequence[np.ndarray], optimism: float
    ) -> list[np.ndarray]:
        """Adds children of the survivors to their pools, and points that the last generation left to be looked at, its
        `beginnings`.

        Returns:
            For each pool, the beginnings of the changes of those children that are among the best.
        """
        value = np.concatenate([pool.value(optimism) for pool in pools])
        pool_of, row_of = _places(pools)
        best = self._survivors(value, pool_of)
        bar = self._bar(value)
        chosen = best[self._rng.integers(len(best), size=max(1, self.config.population - sum(map(len, beginnings))))]
        left = []
        for i, pool in enumerate(pools):
            rows = row_of[chosen[pool_of[chosen] == i]]
            parents, mates = pool.points[rows], pool.points[row_of[best[pool_of[best] == i]]]
            points = np.concatenate(
                [self._changed(pool.space, parents, mates) if len(rows) else parents, beginnings[i]]
            )
            new = pool.new(points)
            if not len(new):
                left.append(points[:0])
                continue
            scored = self._scored(task, pool.space, points[new])
            pools[i] = _joined(pool, scored)
            good = (new < len(parents)) & (scored.value(optimism) > bar)
            left.append(_beginnings(parents[new[good]], scored.points[good]) if self.config.rollback else points[:0])
        return left

    def _bar(self, value: np.ndarray) -> float:
        """What the last of so many survivors, the best of all, is worth."""
        return np.sort(value)[-self.config.survivors :][0]

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
        drawn = np.where(
            self._rng.random(parents.shape) < _CROSSOVER,
            mates[self._rng.integers(len(mates), size=num)],
            space.sample(self._rng, num),
        )
        rank = self._rng.random(parents.shape).argsort(1).argsort(1)
        return np.where(rank < self._rng.integers(1, self.config.changes + 1, size=(num, 1)), drawn, parents)

    def _scored(self, task: Task, space: DesignSpace, points: np.ndarray) -> _Pool:
        prediction = self.model.score(task, space, points)
        self.num_scored += len(points)
        return _Pool(space, points, prediction.score, prediction.spread, prediction.legality)

    def _ranked(
        self, pools: Sequence[_Pool], exclude: frozenset[str], optimism: np.ndarray, accept: Callable[[Trace], bool]
    ) -> list[Trace]:
        """One trace for each degree of optimism, all different."""
        score = np.concatenate([p.score for p in pools])
        spread = np.concatenate([p.spread for p in pools])
        dropped = np.concatenate([p.legality for p in pools]) < self.config.min_legality
        if dropped.all():
            dropped[:] = False
        pool_of, row_of = _places(pools)
        kinds = np.concatenate([cells(p.space, p.points) for p in pools])
        _, kind = np.unique(np.column_stack([pool_of, kinds]), axis=0, return_inverse=True)
        tried = set(exclude)
        traces: list[Trace] = []
        rejected = 0
        crowd = np.zeros(kind.max() + 1)  # proposals of each kind
        dearness = self.config.diversity * np.median(spread[np.argsort(-score)[: self.config.survivors]])
        for kappa in optimism:
            value = np.where(dropped, -np.inf, optimistic(score, spread, kappa) - dearness * crowd[kind])
            for i in np.argsort(-value, kind="stable"):
                if dropped[i] or rejected > _MAX_REJECTED * len(optimism):
                    break
                pool = pools[int(pool_of[i])]
                trace = pool.space.decode(pool.points[row_of[i]])
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

    def _random(
        self,
        spaces: Sequence[DesignSpace],
        num: int,
        exclude: frozenset[str] | set[str],
        accept: Callable[[Trace], bool],
    ) -> list[Trace]:
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
    """Children that differ from their parents in k decisions, taken back to the first 1 to k - 1 of them in the order
    of the trace.
    """
    differs = parents != children
    place = np.cumsum(differs, 1)  # [N, D], from 1 at the first change
    most = int(place.max(initial=0))
    return np.concatenate(
        [parents[:0], *(np.where(place <= kept, children, parents)[place[:, -1] > kept] for kept in range(1, most))]
    )


def _places(pools: Sequence[_Pool]) -> tuple[np.ndarray, np.ndarray]:
    """Of the points of all pools, one after the other: (number of the pool [N], row in it [N])."""
    sizes = [len(pool.points) for pool in pools]
    return np.repeat(np.arange(len(pools)), sizes), np.concatenate([np.arange(size) for size in sizes])


def _keys(points: np.ndarray) -> np.ndarray:
    """A 64-bit hash of each point: [N, D] -> [N]."""
    factors = np.random.default_rng(0).integers(2**63, size=points.shape[1], dtype=np.uint64) | np.uint64(1)
    return (points.astype(np.uint64) * factors).sum(1, dtype=np.uint64)


def _joined(a: _Pool, b: _Pool) -> _Pool:
    parts = ((getattr(a, name), getattr(b, name)) for name in ("points", "score", "spread", "legality"))
    return _Pool(a.space, *(np.concatenate(pair) for pair in parts))
