"""What a model was not trained for is told once, and its scores are less certain."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from foretune.costmodel.latent.familiarity import STRANGE_SPREAD
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.network import NetworkConfig
from foretune.costmodel.latent.training import TrainConfig, train
from foretune.record import Trajectory
from foretune.target import Target
from foretune.task import Candidate
from foretune.testing.synthetic import TASK, synthetic_trajectories
from foretune.trace import Action, Trace

CONFIG = TrainConfig(epochs=2, validation_share=0, network=NetworkConfig(latent=16, rounds=1, members=1, heads=2))


@pytest.fixture(scope="module")
def network():
    return train(synthetic_trajectories(24, 0), CONFIG).network


@pytest.fixture
def model(network):
    return LatentCostModel(network)


def candidates(task) -> list[Candidate]:
    return [Candidate(task, t.record.trace) for t in synthetic_trajectories(8, 1)]


def knobs(task) -> list[Candidate]:
    """As from a log of AutoTVM."""
    return [
        Candidate(
            task, Trace((Action("sp", (), ("tile_y",), (), (-1, 2**n)), Action("sp", (), ("tile_x",), (), (-1, 4))))
        )
        for n in range(4)
    ]


def warnings(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if "scores say little" in r.getMessage()]


def test_what_it_was_trained_for_is_no_news(model, caplog):
    model.predict(TASK, candidates(TASK))
    assert warnings(caplog) == []


def test_a_target_of_another_kind(model, network, caplog):
    other = replace(TASK, target=Target("cuda"))
    known = LatentCostModel(network).predict_with_spread(replace(TASK, target=Target("llvm")), candidates(TASK))
    with caplog.at_level(logging.WARNING):
        strange = model.predict_with_spread(other, candidates(other))
        model.predict(replace(other, workload=replace(other.workload, hash="another")), candidates(other))
    assert len(warnings(caplog)) == 1 and "was trained for targets of kind llvm, not cuda" in warnings(caplog)[0]
    np.testing.assert_allclose(strange[0], known[0], rtol=1e-5)
    np.testing.assert_allclose(strange[1], STRANGE_SPREAD * known[1], rtol=1e-4)


def test_traces_of_another_tool(model, caplog):
    with caplog.at_level(logging.WARNING):
        model.predict(TASK, knobs(TASK))
        model.predict(TASK, knobs(TASK))
    assert len(warnings(caplog)) == 1 and "knows few of the operations sp" in warnings(caplog)[0]


def test_trained_for_it_there_is_no_warning(caplog, tmp_path):
    gpu = replace(TASK, target=Target("cuda"))
    data = [
        Trajectory(replace(t.record, candidate=Candidate(gpu, t.record.trace))) for t in synthetic_trajectories(24, 0)
    ]
    model = LatentCostModel(train(data, CONFIG).network)
    model.save(tmp_path / "gpu.safetensors")
    with caplog.at_level(logging.WARNING):
        LatentCostModel.load(tmp_path / "gpu.safetensors").predict(gpu, candidates(gpu))
        assert warnings(caplog) == []
        model.predict(TASK, candidates(TASK))
    assert "was trained for targets of kind cuda, not llvm" in warnings(caplog)[0]


def test_the_bundled_model_knows_cpus_alone(caplog):
    model = LatentCostModel.bundled()
    with caplog.at_level(logging.WARNING):
        model.predict(TASK, candidates(TASK))
        assert warnings(caplog) == []
        gpu = replace(TASK, target=Target("cuda"))
        model.predict(gpu, candidates(gpu))
    assert len(warnings(caplog)) == 1
