"""Folds over workloads: each is tested once, intervals hold the figures, calls weigh the ratio of sums."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from foretune import DataError, OptionError
from foretune.costmodel.evaluation.evaluation import EvaluationConfig
from foretune.costmodel.evaluation.folds import evaluate_folds, make_folds
from foretune.costmodel.evaluation.runs import read_calls
from tests.costmodel.evaluation.test_evaluation import workloads

CONFIG = EvaluationConfig(("random", "lightgbm_actions"))


@pytest.fixture(scope="module")
def data() -> list:
    return workloads()


def test_each_workload_is_tested_once(data):
    report = evaluate_folds(data, 4, CONFIG)
    found = report.models["lightgbm_actions"]
    assert sorted(task["workload"] for task in found["tasks"]) == [f"w{i}" for i in range(8)]
    assert report.data["num_folds"] == 4 and report.data["num_ranked_test_tasks"] == 8
    assert found["pairwise"] > 0.75 > report.models["random"]["pairwise"]
    for name, (low, high) in found["intervals"].items():
        assert low <= found[name] <= high, name
    low, high = report.models["random"]["intervals"]["top1_mean"]
    assert high - low > 0.02
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["settings"]["folds"] == 4
    assert evaluate_folds(data, 4, CONFIG).models["random"] | {"candidates_per_sec": 0, "train_secs": 0} == (
        report.models["random"] | {"candidates_per_sec": 0, "train_secs": 0}
    )


def test_folds_have_each_family_and_no_workload_twice(data):
    folds = make_folds(data, 3, seed=0)
    assert [len(fold) for fold in folds] == [3, 3, 2] and len(frozenset().union(*folds)) == 8
    assert make_folds(data, 99, seed=0) != folds and len(make_folds(data, 99, seed=0)) == 8
    assert all({int(w[1]) % 2 for w in fold} == {0, 1} for fold in make_folds(data, 2, seed=0))


def test_calls_weigh_the_ratio_of_sums_alone(data):
    plain = evaluate_folds(data, 4, CONFIG).models["random"]
    worst = min(plain["tasks"], key=lambda task: task["top1"])
    weighed = evaluate_folds(data, 4, replace(CONFIG, calls={worst["workload"]: 1e6})).models["random"]
    assert weighed["top1_sum"] == pytest.approx(worst["top1"], rel=1e-3)
    assert weighed["top1_mean"] == plain["top1_mean"]


def test_wrong_use(data, tmp_path):
    with pytest.raises(OptionError, match="`folds >= 3` must hold"):
        evaluate_folds(data, 2, CONFIG)
    with pytest.raises(OptionError, match="leave --weights and --shares out"):
        evaluate_folds(data, 3, replace(CONFIG, shares=(0.5, 1.0)))
    with pytest.raises(DataError, match="folds need three workloads with 8 timed schedules each, but there are 2"):
        evaluate_folds([t for t in data if t.record.candidate.task.workload.hash in ("w1", "w2")], 3, CONFIG)
    with pytest.raises(OptionError, match="`calls > 0` must hold"):
        EvaluationConfig(("random",), calls={"w1": 0.0})
    (tmp_path / "calls.json").write_text('{"w1": 12}')
    assert read_calls(tmp_path / "calls.json") == {"w1": 12.0}
    for text in ('["w1"]', '{"w1": "x"}', "{"):
        (tmp_path / "calls.json").write_text(text)
        with pytest.raises(DataError, match=r"calls.json"):
            read_calls(tmp_path / "calls.json")
