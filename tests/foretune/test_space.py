"""Design spaces: options, points and traces."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foretune import Action, DesignSpace, Domain, IllegalActionError, Trace
from foretune.space import MAX_OPTIONS, factorizations

TEMPLATE = Trace(
    (
        Action("SamplePerfectTile", ("l",), (2, 64), ("a", "b"), (1, 8)),
        Action("SampleCategorical", (), ((0, 16),), ("c",), 0),
    )
)
SPACE = DesignSpace(TEMPLATE, (Domain(0, factorizations(8, 2, 64)), Domain(1, (0, 1))))


@pytest.mark.parametrize(
    ("extent", "parts", "innermost"), [(1, 3, 64), (12, 2, 64), (12, 2, 4), (512, 4, 64), (97, 2, 16), (150528, 4, 64)]
)
def test_factorizations_multiply_to_the_extent(extent, parts, innermost):
    found = factorizations(extent, parts, innermost)
    assert len(set(found)) == len(found) <= MAX_OPTIONS
    assert all(math.prod(f) == extent and len(f) == parts and f[-1] <= innermost for f in found)


def test_all_factorizations_are_there():
    assert set(factorizations(12, 2, 4)) == {(12, 1), (6, 2), (4, 3), (3, 4)}


def test_points_and_traces_are_one_to_one():
    rng = np.random.default_rng(0)
    points = SPACE.sample(rng, 50)
    assert points.shape == (50, 2)
    for point in points:
        assert np.array_equal(SPACE.encode(SPACE.decode(point)), point)
    assert SPACE.size == 8


def test_mutation_changes_one_decision_at_most():
    rng = np.random.default_rng(0)
    points = SPACE.sample(rng, 100)
    assert ((SPACE.mutate(rng, points) != points).sum(1) <= 1).all()


def test_foreign_traces():
    assert SPACE.encode(TEMPLATE.with_decisions([(0, (3, 3))])) is None
    with pytest.raises(IllegalActionError, match="is of design space"):
        SPACE.encode(Trace(()))
