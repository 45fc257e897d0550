"""Evaluation: trains, scores on unseen workloads, goes on where it was stopped, says what it skipped."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from foretune import DataError, ModelError, OptionError
from foretune.costmodel.evaluation import registry
from foretune.costmodel.evaluation.ablations import NoTrees
from foretune.costmodel.evaluation.evaluation import EvaluationConfig, evaluate
from foretune.costmodel.evaluation.plots import draw_all
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.network import NetworkConfig
from foretune.costmodel.latent.training import TrainConfig
from foretune.datasets.records.split import Split
from foretune.testing.cost_models import measured

SPLIT = Split(frozenset({"w0", "w1", "w2", "w3", "w4"}), frozenset({"w5"}), frozenset({"w6", "w7", "w8"}))


def workloads() -> list:
    """Nine workloads with the same made-up cost; the last has too few records to be ranked."""
    found = []
    for i in range(9):
        for t in measured(5 if i == 8 else 20, seed=i):
            task = t.record.candidate.task
            networks = (("net", 2.0),) if i == 6 else ()
            task = replace(
                task, workload=replace(task.workload, hash=f"w{i}", family=f"family{i % 2}"), networks=networks
            )
            found.append(replace(t, record=replace(t.record, candidate=replace(t.record.candidate, task=task))))
    return found


@pytest.fixture(scope="module")
def data() -> list:
    return workloads()


def test_report(data, tmp_path):
    config = EvaluationConfig(("random", "ridge", "lightgbm_actions"), shares=(0.4, 1.0), out=tmp_path)
    lines = []
    report = evaluate(data, SPLIT, config, lines.append)
    assert set(report.models) == {"random", "ridge", "lightgbm_actions"} and not report.skipped and len(lines) == 6
    ranker = report.models["lightgbm_actions"]
    assert ranker["pairwise"] > 0.75 > report.models["random"]["pairwise"]
    assert ranker["top1_mean"] <= ranker["top5_mean"] <= 1 and ranker["regret1"] >= ranker["regret10"] >= 0
    assert set(ranker["families"]) == {"family0", "family1"} and ranker["families"]["family0"]["num_tasks"] == 1
    assert report.data["num_ranked_test_tasks"] == 2 and report.data["num_test_tasks"] == 3
    assert report.models["ridge"]["needs_final_program"] and not ranker["needs_final_program"]
    assert [row["num_train_tasks"] for row in report.curves["ridge"]] == [2, 5]
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["models"]["ridge"]["calibration"] is None
    pictures = draw_all(report, tmp_path / "plots")
    assert {p.name for p in pictures} == {"scores.png", "families.png", "learning_curves.png"}
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)


def test_goes_on_where_it_was_stopped(data, tmp_path, monkeypatch):
    config = EvaluationConfig(("ridge",), out=tmp_path)
    first = evaluate(data, SPLIT, config)
    kind = registry.model_class("ridge")
    monkeypatch.setattr(kind, "fit", lambda *_: pytest.fail("trained again"))
    assert evaluate(data, SPLIT, config).models == first.models
    with pytest.raises(pytest.fail.Exception):  # other data, another row
        evaluate(data[1:], SPLIT, config)
    (weights,) = tmp_path.glob("ridge-*.safetensors")
    loaded = evaluate(data, SPLIT, EvaluationConfig(("ridge",), weights={"ridge": weights}))
    assert loaded.models["ridge"]["train_secs"] is None
    assert loaded.models["ridge"]["top1_mean"] == first.models["ridge"]["top1_mean"]
    next(tmp_path.glob("*.json")).write_text("{")
    with pytest.raises(DataError, match="delete it"):
        evaluate(data, SPLIT, config)


def test_ablations_of_the_same_training_read_its_weights(data, tmp_path, monkeypatch):
    small = TrainConfig(epochs=1, network=NetworkConfig(latent=8, members=1, trees=4, tree_levels=2))
    monkeypatch.setattr(LatentCostModel, "default_config", classmethod(lambda cls, seed: small))
    first = evaluate(data, SPLIT, EvaluationConfig(("latent",), out=tmp_path))
    monkeypatch.setattr(LatentCostModel, "fit", lambda *_: pytest.fail("trained again"))
    second = evaluate(data, SPLIT, EvaluationConfig(("latent", "latent_snapshot", "latent_no_trees"), out=tmp_path))
    assert second.models["latent"] == first.models["latent"]
    for name in ("latent_snapshot", "latent_no_trees"):
        assert second.models[name]["train_secs"] == first.models["latent"]["train_secs"]
    (path,) = tmp_path.glob("latent_no_trees-*.safetensors")
    assert NoTrees.load(path).network.trees is None
    monkeypatch.setattr(LatentCostModel, "default_config", classmethod(lambda cls, seed: replace(small, epochs=2)))
    with pytest.raises(pytest.fail.Exception):  # another configuration, another row
        evaluate(data, SPLIT, EvaluationConfig(("latent",), out=tmp_path))


def test_shares_of_records(data):
    report = evaluate(data, SPLIT, EvaluationConfig(("random",), shares=(0.1, 0.5), unit="records"))
    assert [row["num_train_records"] for row in report.curves["random"]] == [10, 50, 100]


def test_data_without_final_programs(data):
    bare = [replace(t, final=()) for t in data]
    report = evaluate(bare, SPLIT, EvaluationConfig(("size", "xgboost", "random")))
    assert set(report.models) == {"size", "random"}
    assert "needs features of final programs" in report.skipped["xgboost"]


def test_the_test_part_is_not_trained_on(data, monkeypatch):
    seen = []
    kind = registry.model_class("random")
    monkeypatch.setattr(
        kind, "fit", lambda self, train, validation: seen.extend([train, validation]) or setattr(self, "_fitted", True)
    )
    evaluate(data, SPLIT, EvaluationConfig(("random",)))
    hashes = [{t.record.candidate.task.workload.hash for t in part} for part in seen]
    assert hashes == [set(SPLIT.train), set(SPLIT.validation)]


def test_wrong_use(data, tmp_path):
    with pytest.raises(OptionError, match="unknown cost model 'lgbm'"):
        EvaluationConfig(("lgbm",))
    with pytest.raises(OptionError, match="0 < share <= 1"):
        EvaluationConfig(("random",), shares=(0.0,))
    with pytest.raises(OptionError, match="each once"):
        EvaluationConfig(("random", "random"))
    with pytest.raises(OptionError, match="unit must be"):
        EvaluationConfig(("random",), unit="bytes")
    with pytest.raises(DataError, match="no split"):
        evaluate(data, None, EvaluationConfig(("random",)))
    with pytest.raises(DataError, match="no test task has 8 timed schedules"):
        evaluate(data, Split(SPLIT.train, SPLIT.validation, frozenset({"w8"})), EvaluationConfig(("random",)))
    (tmp_path / "ridge").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="ridge"):
        evaluate(data, SPLIT, EvaluationConfig(("ridge",), weights={"ridge": tmp_path / "ridge"}))


class Oracle(registry.model_class("random")):
    """Knows the measured times, how unsure it is, and what is legal."""

    def predict_with_spread(self, task, candidates):
        return np.zeros(len(candidates)), np.ones(len(candidates))

    def predict_legality(self, task, candidates):
        return np.array([0.0 if c.trace.key in self.illegal else 1.0 for c in candidates])


def test_uncertainty_and_legality(data, monkeypatch):
    from foretune import MeasureRecord, Status

    chosen = next(t for t in data if t.record.candidate.task.workload.hash == "w6")
    failed = replace(chosen, record=MeasureRecord(chosen.record.candidate, Status.ILLEGAL))
    monkeypatch.setattr(Oracle, "illegal", {chosen.record.trace.key}, raising=False)
    monkeypatch.setattr(registry, "make", lambda name, seed: Oracle())
    report = evaluate([failed if t is chosen else t for t in data], SPLIT, EvaluationConfig(("random",)))
    # the two ranked tasks may share the key of the illegal trace, hence "at least"
    assert report.models["random"]["legality_auc"] > 0.9
    assert report.models["random"]["calibration"]["scale"] > 0
