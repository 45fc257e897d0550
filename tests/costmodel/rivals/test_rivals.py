"""Every cost model keeps the contract; and what only some of them promise."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from foretune import ModelError, OptionError, Trajectory, UnsupportedError
from foretune.costmodel.base import StaticCostModel
from foretune.costmodel.evaluation import registry
from foretune.costmodel.latent.store_features import buffer_rows, pool_stores
from foretune.costmodel.rivals.action_sequences import NUM_FEATURES, encode_sequences
from foretune.costmodel.rivals.groups import labelled_groups, recorded_features
from foretune.costmodel.rivals.neural import NeuralConfig, NeuralRival, collate, lambda_rank_loss
from foretune.testing.cost_models import CostModelContract, candidates_of, measured
from foretune.testing.synthetic import TASK

RIVALS = [name for name in registry.names() if name != "latent"]
QUICK = NeuralConfig(epochs=40, learning_rate=5e-3)


def quick(name: str, seed: int = 0):
    kind = registry.model_class(name)
    return kind(seed, QUICK) if issubclass(kind, NeuralRival) else registry.make(name, seed)


def contract(model_name: str, **options) -> type:
    def make(self, seed: int = 0):
        return quick(model_name, seed)

    return type(f"Test_{model_name}", (CostModelContract,), {"make": make, **options})


Test_latent = contract("latent")
Test_random = contract("random", learns=False, adapts=False)
Test_size = contract("size", learns=False, adapts=False)
Test_ridge = contract("ridge", learns=False, adapts=False)  # the made-up cost is not linear in anything
Test_forest = contract("forest", adapts=False)
Test_lightgbm = contract("lightgbm")
Test_lightgbm_actions = contract("lightgbm_actions")
Test_catboost = contract("catboost", adapts=False)
Test_xgboost = contract(
    "xgboost", overfits=0.6
)  # its loss is weighted by throughput: it tells slow schedules apart from fast ones only
Test_tenset_mlp = contract("tenset_mlp")
Test_tlp = contract("tlp")
Test_pacm = contract("pacm")
Test_mamba = contract("mamba")


@pytest.mark.parametrize("name", RIVALS)
def test_not_trained(name):
    with pytest.raises(ModelError, match="neither been trained nor loaded"):
        quick(name).predict(TASK, candidates_of(measured(2, seed=0)))
    with pytest.raises(ModelError, match="nothing to save"):
        quick(name).save("unused")


STATIC = [name for name in RIVALS if issubclass(registry.model_class(name), StaticCostModel) and name != "size"]


@pytest.mark.parametrize("name", STATIC)
def test_data_without_final_programs(name):
    bare = [replace(t, final=()) for t in measured(12, seed=0)]
    with pytest.raises(ModelError, match="needs features of final programs"):
        quick(name).fit(bare)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "tenset_mlp"])
def test_final_programs_when_predicting(name):
    data = measured(20, seed=0)
    model = quick(name)
    model.fit(data)
    candidates = candidates_of(data)
    with pytest.raises(ModelError, match="bind a featurizer"):
        model.predict(TASK, candidates)
    unbuilt = np.zeros((0, 0), np.float32)
    model.bind(
        lambda task, asked: [unbuilt if i % 2 else f for i, f in enumerate(recorded_features(data)(task, asked))]
    )
    scores = model.predict(TASK, candidates)
    assert np.isneginf(scores[1::2]).all() and np.isfinite(scores[::2]).all()
    model.bind(lambda task, asked: [np.zeros((1, 7), np.float32)] * len(asked))
    with pytest.raises(ModelError, match="trained on 164 features a store, but got 7"):
        model.predict(TASK, candidates)


def test_unknown_candidates_are_not_taken_for_unbuildable():
    with pytest.raises(ModelError, match="no recorded final-program features"):
        recorded_features([])(TASK, candidates_of(measured(1, seed=0)))


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "tlp"])
def test_measurements_alone_train_a_model(name):
    model = quick(name)
    data = measured(40, seed=0)
    if isinstance(model, StaticCostModel):
        model.bind(recorded_features([*data, *measured(40, seed=1)]))
    model.update([t.record for t in data[:1]])
    with pytest.raises(ModelError, match="neither been trained"):  # one measurement ranks nothing
        model.predict(TASK, candidates_of(data))
    model.update([t.record for t in data])
    assert np.isfinite(model.predict(TASK, candidates_of(measured(40, seed=1)))).all()


def test_size_model_without_final_programs_uses_the_trace():
    model = registry.make("size")
    model.fit([replace(t, final=()) for t in measured(12, seed=0)])
    assert model.measure in ("num_actions", "num_decisions")
    assert len(model.predict(TASK, candidates_of(measured(3, seed=1)))) == 3


def test_neural_sizes():
    for name in ("tenset_mlp", "tlp", "pacm", "mamba"):
        model = quick(name)
        model.config = NeuralConfig(epochs=1)
        model.fit(measured(8, seed=0))
        assert 80_000 < sum(p.numel() for p in model.network.parameters()) < 500_000, name


def test_padding_changes_nothing():
    torch.manual_seed(0)
    short, long = candidates_of(measured(2, seed=0))
    for name in ("tlp", "mamba"):
        model = quick(name)
        model.config = NeuralConfig(epochs=1)
        model.fit(measured(8, seed=0))
        inputs = model._inputs(TASK, [short, long], [])
        cut = {key: value[:4] for key, value in inputs[0].items()}
        with torch.inference_mode():
            alone, beside = model.network(collate([cut])), model.network(collate([cut, inputs[1]]))
        assert torch.allclose(alone[0], beside[0], atol=1e-5), name


def test_selective_state_space_is_the_recurrence():
    from foretune.costmodel.rivals import mamba

    torch.manual_seed(0)
    block, x = mamba.SelectiveStateSpace().eval(), torch.randn(2, 9, mamba._WIDTH)
    with torch.no_grad():
        gate, mixed, step = block.project_in(block.norm(x)).split(
            [mamba._INNER, mamba._INNER + 2 * mamba._STATE, mamba._HEADS], 2
        )
        mixed = torch.nn.functional.silu(block.convolution(mixed.transpose(1, 2))[..., :9].transpose(1, 2))
        value, write, read = mixed.split([mamba._INNER, mamba._STATE, mamba._STATE], 2)
        value, step = value.unflatten(2, (mamba._HEADS, -1)), torch.nn.functional.softplus(step)
        state, rows = torch.zeros(2, mamba._HEADS, value.shape[3], mamba._STATE), []
        for t in range(9):
            kept = torch.exp(-step[:, t] * block.log_rate.exp())[..., None, None]
            state = kept * state + (step[:, t, :, None] * value[:, t])[..., None] * write[:, t, None, None]
            rows.append((state * read[:, t, None, None]).sum(3) + block.skip * value[:, t])
        out = torch.stack(rows, 1).flatten(2)
        expected = x + block.project_out(block.norm_out(out) * torch.nn.functional.silu(gate))
        assert torch.allclose(block(x), expected, atol=1e-5)


def test_lambda_rank_loss():
    relevance = torch.tensor([1.0, 0.5, 0.1])
    right, wrong = (
        lambda_rank_loss(torch.tensor([2.0, 1.0, 0.0]), relevance),
        lambda_rank_loss(torch.tensor([0.0, 1.0, 2.0]), relevance),
    )
    assert right < wrong
    assert lambda_rank_loss(torch.zeros(3), torch.ones(3)) == 0
    scores = torch.zeros(3, requires_grad=True)
    lambda_rank_loss(scores, relevance).backward()
    assert scores.grad[0] < 0 < scores.grad[2]


def test_sequences_do_not_depend_on_names():
    data = measured(2, seed=0)
    trace = data[0].record.trace
    renamed = {name: f"other{i}" for i, name in enumerate(o for a in trace.actions for o in a.outputs)}

    def rename(value):
        return (
            tuple(map(rename, value))
            if isinstance(value, tuple)
            else renamed.get(value, value)
            if isinstance(value, str)
            else value
        )

    actions = tuple(replace(a, inputs=rename(a.inputs), outputs=rename(a.outputs)) for a in trace.actions)
    candidates = [data[0].record.candidate, replace(data[0].record.candidate, trace=type(trace)(actions))]
    (ids, features), (other_ids, other_features) = encode_sequences(TASK, candidates, {"Reorder": 1})
    assert (
        features.shape == (len(trace), NUM_FEATURES)
        and np.array_equal(ids, other_ids)
        and np.array_equal(features, other_features)
    )


def test_pooling():
    small, large = np.zeros(164, np.float32), np.zeros(164, np.float32)
    small[0], large[0], large[60] = 1, 9, 5
    pooled = pool_stores([np.stack([small, large]), small[None]])
    assert pooled.shape == (2, 4 * 164 + 1)
    assert (
        pooled[0, 0] == 9
        and pooled[0, 164] == 1
        and pooled[0, 3 * 164] == 10
        and pooled[0, -1] == 2
        and pooled[1, -1] == 1
    )
    assert buffer_rows(np.stack([small, large])).shape == (1, 19)


def test_labels():
    data: list[Trajectory] = measured(5, seed=0)
    (group,) = labelled_groups(data)
    assert group.throughput.max() == 1.0 and group.throughput.min() > 0
    assert labelled_groups(data, min_timed=6) == []


def test_registry():
    assert registry.names()[0] == "latent" and len(registry.names()) == 13 + len(registry.ablations())
    with pytest.raises(OptionError, match=r"unknown cost model 'lgbm'; known are latent, .*random, .*mamba"):
        registry.make("lgbm")


@pytest.mark.parametrize(("name", "package"), [("lightgbm", "lightgbm"), ("xgboost", "xgboost"), ("ridge", "sklearn")])
def test_missing_packages(name, package, monkeypatch):
    for loaded in [m for m in sys.modules if m.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UnsupportedError, match=r"pip install 'foretune\[rivals\]'"):
        registry.make(name).fit(measured(8, seed=0))
