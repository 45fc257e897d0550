"""Training: exact resume, early stopping, fine-tuning, checkpoints that are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from foretune import DataError, ModelError, OptionError
from foretune.costmodel.latent import training
from foretune.costmodel.latent.losses import LossConfig
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.network import NetworkConfig
from foretune.costmodel.latent.training import TrainConfig, train
from foretune.costmodel.latent.trees import TreeHead
from foretune.testing.cost_models import measured

CONFIG = TrainConfig(
    epochs=6,
    network=NetworkConfig(latent=16, rounds=1, members=2, heads=2, trees=50),
    validation_share=0.0,
    trajectories_per_task=32,
)


@pytest.fixture(scope="module")
def data():
    return measured(48, 0)


def fingerprint(trained) -> str:
    return LatentCostModel(trained.network).fingerprint


@pytest.mark.parametrize("moment", [(0, 2), (1, 3)])
def test_resuming_is_exact(data, tmp_path, moment):
    whole = train(data, CONFIG)
    path = tmp_path / "run.checkpoint"

    class Killed(Exception):
        pass

    def kill(figures):
        if (figures["member"], figures["epoch"]) == moment:
            raise Killed

    with pytest.raises(Killed):
        train(data, CONFIG, kill, checkpoint=path)
    torch.manual_seed(99)  # whatever happened in between
    resumed = train(data, CONFIG, checkpoint=path)
    assert [(f["member"], f["epoch"]) for f in resumed.history] == [(m, e) for m in range(2) for e in range(6)]
    assert resumed.history == whole.history
    assert fingerprint(resumed) == fingerprint(whole)


def test_checkpoints_of_something_else_are_refused(data, tmp_path):
    path = tmp_path / "run.checkpoint"
    train(data, replace(CONFIG, epochs=1), checkpoint=path)
    with pytest.raises(ModelError, match="of other data or another configuration"):
        train(data, replace(CONFIG, epochs=1, seed=1), checkpoint=path)
    with pytest.raises(ModelError, match="of other data or another configuration"):
        train(data[:20], replace(CONFIG, epochs=1), checkpoint=path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelError, match="damaged"):
        train(data, replace(CONFIG, epochs=1), checkpoint=path)


def test_the_seed_decides(data):
    assert fingerprint(train(data, CONFIG)) == fingerprint(train(data, CONFIG))
    assert fingerprint(train(data, CONFIG)) != fingerprint(train(data, replace(CONFIG, seed=1)))


def test_stops_when_nothing_improves(data):
    trained = train(data, replace(CONFIG, epochs=200, patience=3), validation=measured(20, 5, shuffle=True))
    assert len(trained.history) < 2 * 200


def test_fine_tuning_goes_on_from_given_weights(data):
    base = train(data, CONFIG)
    before = {k: v.clone() for k, v in base.network.state_dict().items()}
    tuned = train(data[:16], replace(CONFIG, epochs=2), start=base.network)
    assert tuned.network.vocabulary == base.network.vocabulary
    assert any(not torch.equal(v, before[k]) for k, v in tuned.network.state_dict().items())


def test_data_without_final_programs_trains_too(data):
    trained = train([replace(t, final=()) for t in data], replace(CONFIG, epochs=1))
    assert trained.network.config.final == 0


def test_wrong_use(data):
    with pytest.raises(DataError, match="at least one task with two measured schedules"):
        train(data[:1], CONFIG)
    with pytest.raises(OptionError, match="must be positive"):
        TrainConfig(epochs=0)
    with pytest.raises(OptionError, match="`consistency >= 0` must hold"):
        LossConfig(consistency=-1.0)


@pytest.mark.parametrize("fewest", [1, 30])
def test_trees_of_few_tasks_see_the_validation_tasks_in_the_end(data, monkeypatch, fewest):
    grown = []
    fit = TreeHead.fit
    monkeypatch.setattr(TreeHead, "fit", lambda self, tasks, seed: grown.append(len(tasks)) or fit(self, tasks, seed))
    monkeypatch.setattr(training, "_FEW_TASKS", fewest)
    validation = [with_hash(t, "other") for t in measured(24, 5)]
    trained = train(data, replace(CONFIG, epochs=1), validation=validation)
    assert grown == ([1, 2] if fewest > 1 else [1])
    assert fingerprint(trained) == fingerprint(train(data, replace(CONFIG, epochs=1), validation=validation))
    start = trained.network
    grown.clear()
    train(data, replace(CONFIG, epochs=1), validation=validation, start=start)
    assert grown == []  # what is gone on from keeps its trees


def with_hash(trajectory, workload: str):
    """A trajectory as one of another workload."""
    record = trajectory.record
    task = record.candidate.task
    task = replace(task, workload=replace(task.workload, hash=workload))
    return replace(trajectory, record=replace(record, candidate=replace(record.candidate, task=task)))
