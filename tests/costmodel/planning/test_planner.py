"""The planner on real design spaces, with a made-up model whose best points are known to be hard to reach."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from foretune import DesignSpace, OptionError
from foretune.compiler.tir.space import design_spaces
from foretune.costmodel.latent.model import Prediction
from foretune.costmodel.planning.archive import cells
from foretune.costmodel.planning.planner import Planner, PlannerConfig, _beginnings

SMALL = PlannerConfig(population=128, generations=6, optimism=0.0)


class Rough:
    """Every tile has a favourite width, and wants to be as wide as the tile before it; counts what it scores."""

    def __init__(self) -> None:
        self.num_points = 0
        self.best = -np.inf

    def score(self, task, space: DesignSpace, points: np.ndarray) -> Prediction:
        score, before = np.zeros(len(points)), np.zeros(len(points))
        for column, domain in enumerate(space.domains):
            bits = np.log2([option if isinstance(option, tuple) else (2 + option,) for option in domain.options])[
                points[:, column]
            ]
            score -= abs(bits[:, -1] - 2.5) + 0.5 * abs(bits[:, 0] - 1.5) + 0.5 * abs(bits[:, -1] - before)
            before = bits[:, -1]
        self.num_points += len(points)
        self.best = max(self.best, score.max())
        return Prediction(score, np.full(len(points), 0.5), np.ones(len(points)), np.zeros((len(points), 1)))


@pytest.fixture(scope="module")
def spaces(matmul_task):
    return design_spaces(matmul_task)


@pytest.fixture(scope="module")
def conv_task(target):
    """A 3 x 3 convolution, with seven loops to tile."""
    from tvm import te

    from foretune.compiler.tir._tvm import tvm
    from foretune.compiler.tir.workload import task_from_module

    data, weight = te.placeholder((1, 64, 30, 30), name="data"), te.placeholder((64, 64, 3, 3), name="weight")
    c, h, w = te.reduce_axis((0, 64), "c"), te.reduce_axis((0, 3), "h"), te.reduce_axis((0, 3), "w")
    out = te.compute(
        (1, 64, 28, 28),
        lambda n, o, y, x: te.sum(data[n, c, y + h, x + w] * weight[o, c, h, w], axis=[c, h, w]),
        name="conv",
    )
    return task_from_module(
        tvm.IRModule({"main": te.create_prim_func([data, weight, out])}), target, "conv2d", "conv2d"
    )


def search(task, spaces, config: PlannerConfig, num_seeds: int) -> tuple[float, float]:
    """Mean of the best scores, and of the scored points."""
    models = [Rough() for _ in range(num_seeds)]
    for seed, model in enumerate(models):
        Planner(model, config, seed).propose(task, spaces, 1, greedy=True)
    return float(np.mean([m.best for m in models])), float(np.mean([m.num_points for m in models]))


def test_rollback_finds_points_as_good_among_as_many(conv_task):
    spaces = design_spaces(conv_task)[:2]
    with_rollback, num_with = search(conv_task, spaces, PlannerConfig(100, 10, optimism=0.0), 100)
    without, num_without = search(conv_task, spaces, PlannerConfig(100, 10, rollback=False, optimism=0.0), 100)
    assert num_with <= 1.05 * num_without  # beginnings take the place of children
    assert with_rollback >= without - 0.02


def test_the_next_search_of_a_task_goes_on(conv_task):
    spaces = design_spaces(conv_task)[:2]
    model = Rough()
    planner = Planner(model, PlannerConfig(100, 10, more_generations=1, optimism=0.0), 3)
    first = planner.propose(conv_task, spaces, 1, greedy=True)
    num_first = model.num_points
    again = planner.propose(conv_task, spaces, 1, greedy=True, exclude=frozenset({first[0].trace.key}))
    assert model.num_points - num_first < 0.5 * num_first
    assert again[0].trace != first[0].trace


def test_beginnings_keep_the_first_changes():
    parents = np.array([[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]])
    children = np.array([[5, 0, 6, 7], [1, 8, 1, 9], [2, 2, 3, 2]])
    assert sorted(map(tuple, _beginnings(parents, children))) == [(1, 8, 1, 1), (5, 0, 0, 0), (5, 0, 6, 0)]
    assert _beginnings(parents[:0], children[:0]).shape == (0, 4) == _beginnings(parents[2:], children[2:]).shape


def test_same_seed_same_proposals(matmul_task, spaces):
    first, again = (
        [c.trace.key for c in Planner(Rough(), SMALL, 7).propose(matmul_task, spaces, 12)] for _ in range(2)
    )
    assert first == again and len(set(first)) == 12


def test_a_batch_is_of_many_kinds(matmul_task, spaces):
    def kinds(diversity: float) -> Counter:
        config = PlannerConfig(128, 6, random_share=0.0, diversity=diversity)
        traces = [c.trace for c in Planner(Rough(), config, 1).propose(matmul_task, spaces, 16)]
        by_id = {space.space_id: space for space in spaces}
        return Counter((t.space_id, *cells(by_id[t.space_id], by_id[t.space_id].encode(t)[None])[0]) for t in traces)

    alike, different = kinds(0.0), kinds(2.0)
    assert len(different) > len(alike) and max(different.values()) < max(alike.values())


def test_what_is_not_accepted_is_replaced(matmul_task, spaces):
    asked: list[str] = []

    def accept(trace) -> bool:
        asked.append(trace.key)
        return len(asked) % 2 == 0

    found = [c.trace.key for c in Planner(Rough(), SMALL).propose(matmul_task, spaces, 8, accept=accept)]
    assert len(found) == 8 and set(found) <= set(asked[1::2]) and len(set(asked)) == len(asked)
    assert not Planner(Rough(), SMALL).propose(matmul_task, spaces, 8, accept=lambda trace: False)


def test_elites_are_where_the_search_starts(matmul_task, spaces):
    far = (
        Planner(Rough(), PlannerConfig(512, 12, optimism=0.0), 3)
        .propose(matmul_task, spaces[:1], 1, greedy=True)[0]
        .trace
    )
    lazy = PlannerConfig(population=1, generations=0)
    found = Planner(Rough(), lazy).propose(matmul_task, spaces[:1], 1, elites=[far], greedy=True)
    assert found[0].trace == far


def test_a_space_without_decisions(matmul_task, spaces):
    fixed = DesignSpace(spaces[0].template, ())
    found = Planner(Rough(), SMALL).propose(matmul_task, [fixed], 4)
    assert [c.trace for c in found] == [fixed.template]


@pytest.mark.parametrize("bad", [{"population": 0}, {"changes": 0}, {"share_of_spaces": 1.5}, {"random_share": -0.1}])
def test_bad_configurations(bad):
    with pytest.raises(OptionError, match="must be"):
        PlannerConfig(**bad)
