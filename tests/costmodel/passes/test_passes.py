"""The latent model of pass sequences: learns what flags do to which programs, adapts, and keeps to the roles of a cost
model.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from foretune import (
    Action,
    Candidate,
    Edge,
    HardwareFeatures,
    MeasureRecord,
    ModelError,
    Node,
    ProgramGraph,
    Status,
    Target,
    Task,
    Trace,
    Trajectory,
    Workload,
)
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.network import NetworkConfig
from foretune.costmodel.latent.training import TrainConfig
from foretune.costmodel.metrics import spearman
from foretune.costmodel.passes.model import PassCostModel
from foretune.costmodel.passes.traces import PassTraces

SMALL = NetworkConfig(latent=16, rounds=1, members=1, heads=2, trees=100, tree_levels=4)
PASSES = ("gvn", "licm", "loop-unroll", "sroa", "simplifycfg")
FLAGS = {
    "unroll-count": (2, 4, 8),
    "slp-threshold": (-10, 5),
    "mattr": ("-prefer-256-bit", "+prefer-128-bit"),
    "polly": (True,),
}


def program(loads: float, branches: float) -> Task:
    block = (2.0, 0.0, loads, 1.0, *([1.0] * 6), branches, 0.0, 0.0, 0.0, 0.0, 0.0)
    nodes = (
        Node("function", "f0", (2.0, 20.0, 2.0, 0.0)),
        Node("block", "f0b0", block),
        Node("block", "f0b1", (0.0,) * 16),
    )
    graph = ProgramGraph(
        nodes, (Edge(0, 1, "has"), Edge(0, 2, "has"), Edge(1, 1, "flow", (0.0, 1.0)), Edge(1, 2, "flow", (0.0, 0.0)))
    )
    return Task(Workload(f"p{loads}-{branches}", "", graph, "p", "llvm"), Target("llvm", (), HardwareFeatures(cores=2)))


def draw(rng) -> Trace:
    flags = [
        Action("flag", attrs=(name,), decision=values[rng.integers(len(values))])
        for name, values in FLAGS.items()
        if rng.random() < 0.5
    ]
    passes = [Action(PASSES[rng.integers(len(PASSES))]) for _ in range(rng.integers(0, 4))]
    options = [Action("gvn", attrs=(("pre", bool(rng.integers(2))),))] if rng.random() < 0.3 else []
    return Trace((*flags, Action("default<O3>"), *passes, *options))


def seconds(task: Task, trace: Trace) -> float:
    """Unrolling helps programs with many loads, and hurts those with many branches; one flag always helps."""
    loads, branches = (task.workload.graph.nodes[1].features[i] for i in (2, 10))
    flags = {a.attrs[0]: a.decision for a in trace.actions if a.op == "flag"}
    unroll = np.log2(flags.get("unroll-count", 1))
    helped = 0.15 * unroll * (1 if loads > branches else -1) + 0.2 * (flags.get("mattr") == "-prefer-256-bit")
    return float(np.exp(-helped + 0.1 * sum(a.op == "sroa" for a in trace.actions)))


def trajectories(tasks, num, seed, shuffle=False):
    rng = np.random.default_rng(seed)
    found = []
    for task in tasks:
        traces = list({t.key: t for t in (draw(rng) for _ in range(num))}.values())
        secs = [seconds(task, trace) for trace in traces]
        if shuffle:
            rng.shuffle(secs)
        found += [
            Trajectory(MeasureRecord(Candidate(task, t), Status.OK, (s,)), (), ((s, 1.0),))
            for t, s in zip(traces, secs)
        ]
    return found


TASKS = [
    program(loads, branches) for loads, branches in ((2, 9), (9, 2), (3, 8), (8, 1), (1, 7), (7, 3), (2, 6), (6, 1))
]
UNSEEN = [program(5, 1), program(1, 8)]


def correlations(model):
    found = []
    for task in UNSEEN:
        fresh = trajectories([task], 60, 7)
        found.append(
            spearman(
                model.predict(task, [t.record.candidate for t in fresh]), np.array([-t.record.best_secs for t in fresh])
            )
        )
    return found


@pytest.fixture(scope="module")
def model():
    made = PassCostModel(config=TrainConfig(epochs=40, patience=40, validation_share=0.0, network=SMALL))
    made.fit(trajectories(TASKS, 60, 0))
    return made


def test_it_ranks_sequences_of_programs_that_it_has_not_seen(model):
    assert min(correlations(model)) > 0.6


def test_shuffled_labels_teach_nothing():
    control = PassCostModel(config=TrainConfig(epochs=10, validation_share=0.0, network=SMALL))
    control.fit(trajectories(TASKS, 60, 0, shuffle=True))
    assert np.mean(correlations(control)) < 0.4


def test_the_order_of_candidates_does_not_matter(model):
    candidates = [t.record.candidate for t in trajectories(UNSEEN[:1], 40, 3)]
    scores = model.predict(UNSEEN[0], candidates)
    order = np.random.default_rng(0).permutation(len(candidates))
    np.testing.assert_allclose(
        model.predict(UNSEEN[0], [candidates[i] for i in order]), scores[order], rtol=1e-4, atol=1e-5
    )
    one = np.array([model.predict(UNSEEN[0], [c])[0] for c in candidates[:5]])
    np.testing.assert_allclose(one, scores[:5], rtol=1e-3, atol=1e-4)
    assert len(model.predict(UNSEEN[0], [])) == 0


def test_it_adapts_to_measurements():
    strange = program(4, 4)  # like nothing that it knows: here unrolling hurts as never before
    adapted = PassCostModel(config=TrainConfig(epochs=10, patience=40, validation_share=0.0, network=SMALL))
    adapted.fit(trajectories(TASKS, 40, 0))
    data = trajectories([strange], 60, 5)
    costs = [
        float(np.exp(0.5 * sum(a.op == "flag" and a.attrs[0] == "unroll-count" for a in t.record.trace.actions)))
        for t in data
    ]
    candidates = [t.record.candidate for t in data]
    before = spearman(adapted.predict(strange, candidates[30:]), -np.array(costs[30:]))
    adapted.update([MeasureRecord(c, Status.OK, (cost,)) for c, cost in zip(candidates[:30], costs[:30])])
    assert spearman(adapted.predict(strange, candidates[30:]), -np.array(costs[30:])) > max(0.6, before)


def test_unknown_steps_and_names_are_no_trouble(model):
    trace = Trace(
        (
            Action("flag", attrs=("brand-new",), decision=7),
            Action("unheard-of", attrs=(("x", True),)),
            Action("default<O3>"),
        )
    )
    assert np.isfinite(model.predict(UNSEEN[0], [Candidate(UNSEEN[0], trace), Candidate(UNSEEN[0], Trace(()))])).all()


def test_files(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    loaded = PassCostModel.load(tmp_path / "m.safetensors")
    candidates = [t.record.candidate for t in trajectories(UNSEEN[:1], 10, 3)]
    np.testing.assert_allclose(
        loaded.predict(UNSEEN[0], candidates),
        PassCostModel.load(tmp_path / "m.safetensors").predict(UNSEEN[0], candidates),
        rtol=1e-5,
    )
    with pytest.raises(ModelError, match="a model of type 'passes', not 'latent'"):
        LatentCostModel.load(tmp_path / "m.safetensors")


def test_the_state_tells_settings_apart():
    encoder = PassTraces()
    traces = [Trace((Action("flag", attrs=("unroll-count",), decision=value),)) for value in (2, 8)] + [
        Trace(()),
        Trace((Action("gvn", attrs=(("pre", False),)),)),
    ]
    vocabulary = encoder.vocabulary((trace, TASKS[0].workload.graph) for trace in traces)
    encoded, order = encoder.encode(TASKS[0], traces, vocabulary)
    states = np.concatenate(encoded.nests)[np.argsort(order)]
    assert states.shape == (4, encoder.state_width(vocabulary)) and len(np.unique(states, axis=0)) == 4
    assert "gvn:pre" in vocabulary.symbols and json.dumps(vocabulary.to_json())
