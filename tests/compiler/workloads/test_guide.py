"""The model-guided share of a collection."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foretune import ProgramGraph
from foretune.compiler.measure.environment import TvmEnvironment
from foretune.compiler.tir.space import design_spaces
from foretune.compiler.workloads.guide import ModelGuide
from foretune.costmodel.latent.model import LatentCostModel
from foretune.datasets.records.collect import CollectConfig, collect
from foretune.datasets.records.store import RecordStore


@pytest.fixture
def guide():
    return ModelGuide(LatentCostModel.bundled())


def test_suggests_new_traces(guide, matmul_task, trajectories):
    spaces = design_spaces(matmul_task)
    guide.observe(trajectories)
    guide._start_secs -= 1000
    seen = frozenset(t.record.trace.key for t in trajectories)
    traces = guide.suggest(matmul_task, spaces, seen, 5)
    assert len({t.key for t in traces} - seen) == 5
    assert guide._model._adaptations[matmul_task.key].num_points == sum(len(t.record.trace) > 0 for t in trajectories)


def test_keeps_to_its_share_of_the_time(guide, matmul_task):
    guide._spent_secs, guide._start_secs = 10.0, guide._start_secs - 20.0
    assert guide.suggest(matmul_task, design_spaces(matmul_task), frozenset(), 5) == []


def test_a_program_that_the_model_cannot_read_is_left_to_chance(guide, matmul_task, caplog):
    guide._start_secs -= 1000
    strange = replace(matmul_task, workload=replace(matmul_task.workload, hash="strange", graph=ProgramGraph((), ())))
    for _ in range(2):
        assert guide.suggest(strange, design_spaces(matmul_task), frozenset(), 5) == []
    assert sum("cannot guide" in r.getMessage() for r in caplog.records) == 1
    assert len(guide.suggest(matmul_task, design_spaces(matmul_task), frozenset(), 5)) == 5


def test_costs_a_collector_little(guide, matmul_task, measurer, tmp_path):
    with RecordStore(tmp_path, writable=True) as store:
        assert (
            collect([matmul_task], TvmEnvironment(measurer), store, CollectConfig(80, guided_share=0.4), guide=guide)
            == 80
        )
    assert guide.time_share < 0.12
