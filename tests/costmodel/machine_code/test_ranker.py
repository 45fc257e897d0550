"""The ranker of machine code: it learns what only the counters tell, and its file is checked."""

from __future__ import annotations

import numpy as np
import pytest

from foretune.costmodel.machine_code.counters import NAMES
from foretune.costmodel.machine_code.ranker import CodeRanker
from foretune.costmodel.metrics import pairwise_accuracy
from foretune.costmodel.model_file import read_model, write_model
from foretune.errors import ModelError

pytest.importorskip("catboost", reason="trees are grown with CatBoost")


def made_up(num_tasks: int, seed: int, shuffle: bool = False):
    """Tasks whose times depend on one counter."""
    rng = np.random.default_rng(seed)
    counters = [rng.standard_normal((40, len(NAMES))).astype(np.float32) for _ in range(num_tasks)]
    relative = []
    for table in counters:
        speed = table[:, 5] - table[:, 5].max()
        relative.append(rng.permutation(speed) if shuffle else speed)
    return counters, relative


@pytest.fixture(scope="module")
def ranker():
    return CodeRanker.fit(*made_up(8, 0), num_trees=60, weight=2.0)


def accuracy(ranker: CodeRanker) -> float:
    found = [pairwise_accuracy(ranker.score(np.zeros(40), [*c]), np.exp(-r)) for c, r in zip(*made_up(4, seed=1))]
    return float(np.mean(found))


def test_it_learns_from_counters_and_not_from_shuffled_ones(ranker):
    assert accuracy(ranker) > 0.85
    assert 0.35 < accuracy(CodeRanker.fit(*made_up(8, 0, shuffle=True), num_trees=60)) < 0.65


def test_its_score_is_added_to_the_latent_models(ranker):
    counters, _ = (part[0] for part in made_up(1, seed=2))
    latent = np.linspace(0, 1, 40)
    scores = ranker.score(latent, [None, *counters[1:]])
    assert scores[0] == -np.inf
    np.testing.assert_allclose(scores[1:], latent[1:] + 2.0 * ranker.score_code(counters)[1:])
    assert np.isneginf(ranker.score(latent[:2], [None, None])).all()


def test_its_file_is_read_and_checked(ranker, tmp_path):
    path = tmp_path / "code.safetensors"
    ranker.save(path)
    counters, _ = (part[0] for part in made_up(1, seed=3))
    np.testing.assert_array_equal(CodeRanker.load(path).score_code(counters), ranker.score_code(counters))
    with pytest.raises(ModelError, match="reads"):
        ranker.score_code(counters[:, 1:])
    header, arrays = read_model(path, "code")
    write_model(path, "code", {**header, "layout": "another"}, arrays)
    with pytest.raises(ModelError, match="layout 'another'"):
        CodeRanker.load(path)
    write_model(path, "code", {**header, "trees": 10**9}, arrays)
    with pytest.raises(ModelError, match="states 1000000000 trees"):
        CodeRanker.load(path)
    write_model(path, "code", header, {**arrays, "counters": np.frombuffer(b"others", np.uint8)})
    with pytest.raises(ModelError, match="other counters"):
        CodeRanker.load(path)
    write_model(path, "code", header, {k: v for k, v in arrays.items() if k != "value"})
    with pytest.raises(ModelError, match="does not fit"):
        CodeRanker.load(path)
