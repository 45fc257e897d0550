"""Sweeps: what they accept, that the best trial stays, here and on Ray."""

from __future__ import annotations

import pytest

from foretune import OptionError
from foretune.costmodel.evaluation.runs import TrainingRun
from foretune.costmodel.evaluation.sweep import configured, parse_sweep, run_sweep
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.training import TrainConfig
from foretune.datasets.records.split import Split
from foretune.datasets.records.store import RecordStore
from foretune.testing.synthetic import TASK, synthetic_trajectories


def test_all_combinations():
    trials = parse_sweep(["learning_rate=0.001, 0.002", "network.latent=16,32", "network.dynamics=true"])
    assert len(trials) == 4
    config = configured(TrainConfig(), trials[-1])
    assert (config.learning_rate, config.network.latent, config.network.dynamics) == (0.002, 32, True)


@pytest.mark.parametrize(
    "text",
    [
        "learning_rate",
        "learning_rate=",
        "speed=1",
        "learning_rate=fast",
        "network.latent=0",
        "network.latent=1.5",
        "losses.legality=-1",
        "epochs=" + ",".join("1" * 300),
    ],
)
def test_bad_sweeps(text):
    with pytest.raises(OptionError):
        parse_sweep([text])


def test_a_setting_twice():
    with pytest.raises(OptionError, match="swept once"):
        parse_sweep(["epochs=1", "epochs=2"])


@pytest.fixture
def run(tmp_path) -> TrainingRun:
    folder = tmp_path / "data"
    with RecordStore(folder, writable=True) as store:
        store.append_workloads([TASK])
        store.append(synthetic_trajectories(40, 0))
    Split(frozenset([TASK.workload.hash]), frozenset(), frozenset()).save(folder)
    return TrainingRun((folder,), tmp_path / "best.safetensors", epochs=1)


@pytest.mark.parametrize("ray_address", ["", "local"])
def test_the_best_trial_stays(run, ray_address):
    if ray_address:
        pytest.importorskip("ray", reason="Ray is not installed")
    report = run_sweep(run, parse_sweep(["network.latent=8,12"]), ray_address)
    best = max(report["trials"], key=lambda t: t["top1"] + t["top5"] + t["pairwise"])
    assert [t["settings"] for t in report["trials"]] == [{"network.latent": 8}, {"network.latent": 12}]
    assert report["settings"] == best["settings"]
    assert LatentCostModel.load(run.out).network.config.latent == report["settings"]["network.latent"]
