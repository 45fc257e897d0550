"""TreeHead: the arrays say what CatBoost's trees say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretune.costmodel.latent.labels import LabelledTask
from foretune.costmodel.latent.trees import TreeHead


class _Encoded:
    """The one part of an encoded task that trees read."""

    def __init__(self, *nests: np.ndarray) -> None:
        self.nests = nests


def task(rng: np.random.Generator) -> LabelledTask:
    nests = [rng.standard_normal((n, 5)).astype(np.float32) for n in (30, 50)]
    x = np.concatenate(nests)
    cost = np.where(x[:, 0] > 0.3, 1.0, 0.0) + 0.5 * np.abs(x[:, 2])
    relative = (cost.min() - cost).astype(np.float64)
    relative[3] = np.nan  # never timed
    return LabelledTask(
        _Encoded(*nests), relative, np.ones(80, np.float32), np.zeros((80, 0), np.float32), np.zeros(80, bool)
    )


@pytest.fixture(scope="module")
def tasks() -> list[LabelledTask]:
    rng = np.random.default_rng(0)
    return [task(rng) for _ in range(6)]


def test_the_arrays_say_what_catboost_says(tasks, monkeypatch):
    catboost = pytest.importorskip("catboost")
    grown = []
    fit = catboost.CatBoost.fit
    monkeypatch.setattr(
        catboost.CatBoost, "fit", lambda self, *args, **kwargs: grown.append(fit(self, *args, **kwargs)) or self
    )
    head = TreeHead(25, 4)
    head.fit(tasks, 0)
    x = np.concatenate(tasks[0].encoded.nests)
    difference = head(torch.from_numpy(x)).numpy() - grown[0].predict(x)  # CatBoost's bias is the same for all points
    assert np.allclose(difference, difference[0], atol=1e-4)


def test_trees_learn_thresholds(tasks):
    pytest.importorskip("catboost")
    head = TreeHead(100, 4)
    head.fit(tasks[:5], 0)
    known = np.isfinite(tasks[5].relative)
    scores = head(torch.from_numpy(np.concatenate(tasks[5].encoded.nests))).numpy()[known]
    assert np.corrcoef(scores, tasks[5].relative[known])[0, 1] > 0.8


def test_without_trees_nothing_is_added():
    assert torch.equal(TreeHead(3, 2)(torch.randn(7, 4)), torch.zeros(7))


def test_a_feature_that_is_not_there_is_refused():
    head = TreeHead(3, 2)
    head.feature[1, 1] = 9
    with pytest.raises(ValueError, match="up to 9, but there are 4"):
        head(torch.randn(7, 4))


def test_nothing_is_grown_where_all_look_alike(tasks):
    alike = LabelledTask(
        _Encoded(np.ones((80, 5), np.float32)),
        *(getattr(tasks[0], name) for name in ("relative", "legal", "final", "observed")),
    )
    head = TreeHead(3, 2)
    head.fit([alike], 0)
    assert not head(torch.randn(7, 5)).any()
