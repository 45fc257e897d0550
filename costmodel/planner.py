"""Planner: searches design spaces in latent space, without touching the compiler.

An evolutionary search over option indices: thousands of points are scored by rollouts, the best are
mutated and crossed, and what is proposed in the end balances expected speed against the model's
uncertainty, with a share of purely random points, so that a wrong model cannot starve the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from foretune.costmodel.latent import LatentCostModel
from foretune.errors import OptionError
from foretune.space import DesignSpace
from foretune.task import Candidate, Task
from foretune.trace import Trace


@dataclass(frozen=True)
class PlannerConfig:
    """How to search.

    Attributes:
        population: points scored in each generation, over all design spaces.
        generations: rounds of mutation and crossover after the first, random one.
        survivors: points that a generation keeps as parents.
        random_share: share of the proposals that are uniform samples.
        optimism: standard deviations added to the score of a proposal, spread evenly from 0 to this.
        min_legality: points less likely to be legal are dropped.
    """

    population: int = 1024
    generations: int = 4
    survivors: int = 128
    random_share: float = 0.1
    optimism: float = 1.0
    min_legality: float = 0.2

    def __post_init__(self) -> None:
        if self.population < 1 or self.survivors < 1 or self.generations < 0:
            raise OptionError(f"population and survivors must be positive and generations not negative, but got {self}")
        if not 0 <= self.random_share <= 1:
            raise OptionError(f"`0 <= random_share <= 1` must hold, but got {self.random_share}")


@dataclass
class _Pool:
    """Points of one design space that have been scored."""

    space: DesignSpace
    points: np.ndarray
    score: np.ndarray
    spread: np.ndarray
    legality: np.ndarray


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
        self, task: Task, spaces: Sequence[DesignSpace], num: int, exclude: frozenset[str] = frozenset(), elites: Sequence[Trace] = (), greedy: bool = False
    ) -> list[Candidate]:
        """Finds promising traces that have not been measured.

        Args:
            task: what to tune.
            spaces: its design spaces.
            num: how many to propose; fewer come back only if the spaces hold no more.
            exclude: keys of traces that must not be proposed.
            elites: good traces to start from as well.
            greedy: propose by score alone, without exploration.

        Returns:
            Candidates, the most promising first.
        """
        if not spaces or num < 1:
            return []
        pools = [self._search(task, space, elites, max(32, self.config.population // len(spaces))) for space in spaces]
        num_random = 0 if greedy else min(num, round(self.config.random_share * num))
        chosen: dict[str, Trace] = {}
        optimism = np.zeros(num) if greedy else np.linspace(0.0, self.config.optimism, num)
        ranked = self._ranked(pools, exclude, optimism[: num - num_random])
        for trace in ranked:
            chosen.setdefault(trace.key, trace)
        for trace in self._random(spaces, num - len(chosen), exclude | chosen.keys()):
            chosen.setdefault(trace.key, trace)
        return [Candidate(task, trace) for trace in list(chosen.values())[:num]]

    def _search(self, task: Task, space: DesignSpace, elites: Sequence[Trace], population: int) -> _Pool:
        rng = self._rng
        seeds = [p for t in elites if t.space_id == space.space_id and (p := space.encode(t)) is not None]
        points = space.sample(rng, population) if space.size > 2 * population else _all_points(space)
        if seeds:
            points = np.concatenate([np.array(seeds).reshape(len(seeds), -1), points])
        pool = self._scored(task, space, points)
        if space.size <= 2 * population:
            return pool
        survivors = max(8, self.config.survivors * population // self.config.population)
        for _ in range(self.config.generations):
            best = np.argsort(-(pool.score + 0.5 * self.config.optimism * pool.spread))[:survivors]
            parents = pool.points[best]
            children = parents[rng.integers(len(parents), size=population)]
            partners = parents[rng.integers(len(parents), size=population)]
            children = np.where(rng.random(children.shape) < 0.3, partners, children)
            children = space.mutate(rng, children)
            again = rng.random(population) < 0.5
            children[again] = space.mutate(rng, children[again])
            fresh = self._scored(task, space, np.unique(children, axis=0))
            pool = _merge(pool, fresh)
        return pool

    def _scored(self, task: Task, space: DesignSpace, points: np.ndarray) -> _Pool:
        prediction = self.model.score(task, space, points)
        return _Pool(space, points, prediction.score, prediction.spread, prediction.legality)

    def _ranked(self, pools: Sequence[_Pool], exclude: frozenset[str], optimism: np.ndarray) -> list[Trace]:
        """One trace for each degree of optimism, all different."""
        score = np.concatenate([p.score for p in pools])
        spread = np.concatenate([p.spread for p in pools])
        dropped = np.concatenate([p.legality for p in pools]) < self.config.min_legality
        if dropped.all():
            dropped[:] = False
        pool_of = np.repeat(np.arange(len(pools)), [len(p.score) for p in pools])
        row_of = np.concatenate([np.arange(len(p.score)) for p in pools])
        taken = set(exclude)
        traces = []
        for kappa in optimism:
            order = np.argsort(-np.where(dropped, -np.inf, score + kappa * spread), kind="stable")
            for i in order[: len(taken) + len(traces) + 1]:
                trace = pools[pool_of[i]].space.decode(pools[pool_of[i]].points[row_of[i]])
                if trace.key not in taken:
                    taken.add(trace.key)
                    traces.append(trace)
                    break
        return traces

    def _random(self, spaces: Sequence[DesignSpace], num: int, exclude: frozenset[str] | set[str]) -> list[Trace]:
        sizes = np.array([min(s.size, 1 << 20) for s in spaces], float)
        found: dict[str, Trace] = {}
        for _ in range(20 * num):
            if len(found) >= num:
                break
            space = spaces[self._rng.choice(len(spaces), p=np.sqrt(sizes) / np.sqrt(sizes).sum())]
            trace = space.decode(space.sample(self._rng, 1)[0])
            if trace.key not in exclude:
                found[trace.key] = trace
        return list(found.values())


def _all_points(space: DesignSpace) -> np.ndarray:
    if not space.domains:
        return np.zeros((1, 0), np.int64)
    grids = np.meshgrid(*[np.arange(len(d.options)) for d in space.domains], indexing="ij")
    return np.stack([g.reshape(-1) for g in grids], 1)


def _merge(a: _Pool, b: _Pool) -> _Pool:
    points = np.concatenate([a.points, b.points])
    _, first = np.unique(points, axis=0, return_index=True)
    return _Pool(
        a.space, points[first], np.concatenate([a.score, b.score])[first], np.concatenate([a.spread, b.spread])[first],
        np.concatenate([a.legality, b.legality])[first],
    )  # fmt: skip
