"""The latent model: learns eight records, not shuffled ones; shares prefixes exactly; refuses damaged files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretune import Candidate, ModelError, OptionError
from foretune.costmodel.latent.encoding import encode_space
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.network import NetworkConfig
from foretune.costmodel.latent.training import TrainConfig, train
from foretune.costmodel.model_file import read_model, write_model
from foretune.costmodel.planning.planner import Planner, PlannerConfig
from foretune.testing.synthetic import synthetic_trajectories

SMALL = NetworkConfig(latent=24, rounds=2, heads=2, trees=100)


def spearman(a, b) -> float:
    rank = lambda x: np.argsort(np.argsort(x))  # noqa: E731
    return float(np.corrcoef(rank(a), rank(b))[0, 1])


@pytest.fixture(scope="module")
def data():
    return synthetic_trajectories(num=48, seed=0)


@pytest.fixture(scope="module")
def model(data) -> LatentCostModel:
    trained = train(data, TrainConfig(epochs=80, patience=80, validation_share=0.0, network=SMALL))
    return LatentCostModel(trained.network, trained.training_hash)


def test_overfits_eight_records():
    eight = synthetic_trajectories(num=8, seed=3)
    trained = train(eight, TrainConfig(epochs=80, patience=80, validation_share=0.0, network=SMALL))
    scores = LatentCostModel(trained.network).predict(
        eight[0].record.candidate.task, [t.record.candidate for t in eight]
    )
    assert spearman(scores, [-t.record.best_secs for t in eight]) > 0.95


def test_shuffled_labels_teach_nothing(data):
    shuffled = synthetic_trajectories(num=48, seed=0, shuffle=True)
    trained = train(shuffled, TrainConfig(epochs=20, validation_share=0.0, network=SMALL))
    fresh = synthetic_trajectories(num=200, seed=9)
    scores = LatentCostModel(trained.network).predict(
        fresh[0].record.candidate.task, [t.record.candidate for t in fresh]
    )
    assert abs(spearman(scores, [-t.record.best_secs for t in fresh])) < 0.5


def test_ranks_schedules_that_it_has_not_seen(model):
    fresh = synthetic_trajectories(num=200, seed=9)
    scores = model.predict(fresh[0].record.candidate.task, [t.record.candidate for t in fresh])
    assert spearman(scores, [-t.record.best_secs for t in fresh]) > 0.7


def test_shared_prefixes_change_nothing(model, data):
    from foretune.testing.synthetic import SPACE

    task = data[0].record.candidate.task
    encoded = encode_space(SPACE, task.workload.graph, model.network.vocabulary)
    ids = torch.from_numpy(encoded.ids(SPACE.sample(np.random.default_rng(0), 300)))
    z0, nodes = model.encode(task)
    with torch.inference_mode():
        steps = model.network.encode_steps(encoded.table, nodes)
        shared = model.network.rollout_shared(z0, steps, ids)
        parts = zip(model.network.members, *(x.chunk(len(model.network.members), 1) for x in (z0, steps, *shared)))
        for member, start, actions, *ends in parts:
            for a, b in zip(member.rollout(start.expand(len(ids), -1), actions, ids), ends):
                assert torch.allclose(a, b, atol=1e-5)


def test_scores_do_not_depend_on_the_company(model, data):
    candidates = [t.record.candidate for t in data]
    task = candidates[0].task
    together = model.predict(task, candidates)
    alone = np.array([model.predict(task, [c])[0] for c in candidates[:5]])
    assert np.allclose(together[:5], alone, atol=1e-4)


def test_update_helps_and_leaves_the_weights_alone(data):
    untrained = train(synthetic_trajectories(num=8, seed=5), TrainConfig(epochs=1, validation_share=0.0, network=SMALL))
    model = LatentCostModel(untrained.network)
    fresh = synthetic_trajectories(num=200, seed=9)
    task, truth = fresh[0].record.candidate.task, [-t.record.best_secs for t in fresh]
    candidates = [t.record.candidate for t in fresh]
    fingerprint, before = model.fingerprint, spearman(model.predict(task, candidates), truth)
    model.update([t.record for t in data])
    assert model.fingerprint == fingerprint
    assert spearman(model.predict(task, candidates), truth) > max(before, 0.5)


def test_save_and_load(model, data, tmp_path):
    model.save(tmp_path / "m.safetensors")
    again = LatentCostModel.load(tmp_path / "m.safetensors")
    candidates = [t.record.candidate for t in data]
    assert again.fingerprint == model.fingerprint
    assert np.allclose(
        again.predict(candidates[0].task, candidates), model.predict(candidates[0].task, candidates), atol=1e-6
    )


def test_a_flipped_weight_is_seen(model, tmp_path):
    path = tmp_path / "m.safetensors"
    model.save(path)
    data = bytearray(path.read_bytes())
    data[-7] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="digest"):
        LatentCostModel.load(path)
    header, arrays = read_model(LatentCostModel.bundled_path(), "latent")
    arrays["tree_weight"] = arrays["tree_weight"] + np.float32(1)
    write_model(path, "latent", header, arrays)  # a digest of its own, but still the fingerprint of other weights
    with pytest.raises(ModelError, match="fingerprint"):
        LatentCostModel.load(path)


def test_an_untrained_model_says_so(data):
    with pytest.raises(ModelError, match="neither been trained nor loaded"):
        LatentCostModel().predict(data[0].record.candidate.task, [data[0].record.candidate])


def test_damaged_files(model, tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(ModelError, match="cannot be read"):
        LatentCostModel.load(path)
    model.save(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:4], whole[:100], whole[:-10], b"\xff" * 64):
        path.write_bytes(damaged)
        with pytest.raises(ModelError):
            LatentCostModel.load(path)
    path.write_bytes(whole.replace(b"foretune-model-1", b"foretune-model-9"))
    with pytest.raises(ModelError, match="schema 'foretune-model-9'"):
        LatentCostModel.load(path)
    path.write_bytes(whole)
    header, arrays = read_model(path, "latent")
    write_model(path, "latent", {**header, "layout": "foretune-latent-9"}, arrays)
    with pytest.raises(ModelError, match="layout 'foretune-latent-9'"):
        LatentCostModel.load(path)


def test_other_shapes(model, tmp_path):
    from dataclasses import replace

    model.save(tmp_path / "m.safetensors")
    header, arrays = read_model(tmp_path / "m.safetensors", "latent")
    assert header["config"]["latent"] == 24
    header["config"]["latent"] = 25
    write_model(tmp_path / "m.safetensors", "latent", header, arrays)
    with pytest.raises(ModelError, match="does not fit"):
        LatentCostModel.load(tmp_path / "m.safetensors")
    with pytest.raises(OptionError, match="`latent >= 1` must hold"):
        replace(SMALL, latent=0)


def test_bundled_weights_load():
    assert LatentCostModel.bundled().training_hash


def test_planner_finds_fast_points_without_measuring(model):
    from foretune.testing.synthetic import SPACE, TASK, seconds

    found = Planner(model, PlannerConfig(population=256, generations=3)).propose(TASK, [SPACE], 8)
    assert len({c.trace.key for c in found}) == 8
    best = min(seconds(c.trace) for c in found)
    sampled = sorted(seconds(SPACE.decode(p)) for p in SPACE.sample(np.random.default_rng(1), 500))
    assert best <= sampled[25]


def test_planner_respects_what_is_excluded(model):
    from foretune.testing.synthetic import SPACE, TASK

    planner = Planner(model, PlannerConfig(population=128, generations=1))
    first = planner.propose(TASK, [SPACE], 4)
    second = planner.propose(TASK, [SPACE], 4, exclude=frozenset(c.trace.key for c in first))
    assert not {c.trace.key for c in first} & {c.trace.key for c in second}
    assert all(isinstance(c, Candidate) for c in second)
