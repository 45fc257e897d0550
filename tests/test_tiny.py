"""The whole loop in seconds: collect, store, train, plan, measure."""

from __future__ import annotations

from foretune.compiler.measure.environment import TvmEnvironment
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.network import NetworkConfig
from foretune.costmodel.latent.training import TrainConfig, train
from foretune.costmodel.planning.planner import Planner, PlannerConfig
from foretune.datasets.records.collect import CollectConfig, collect
from foretune.datasets.records.store import RecordStore


def test_the_whole_loop(tmp_path, matmul_task, measurer):
    environment = TvmEnvironment(measurer)
    with RecordStore(tmp_path, writable=True) as store:
        assert collect([matmul_task], environment, store, CollectConfig(20, batch_size=10)) == 20
        assert collect([matmul_task], environment, store, CollectConfig(24, batch_size=10)) == 24
    rows = list(RecordStore(tmp_path).rows(["trace_key"]))
    assert len({row["trace_key"] for row in rows}) == 24
    trained = train(
        list(RecordStore(tmp_path).trajectories()),
        TrainConfig(
            epochs=4, validation_share=0, network=NetworkConfig(latent=16, rounds=1, members=1, heads=2, trees=50)
        ),
    )
    planner = Planner(LatentCostModel(trained.network), PlannerConfig(population=64, generations=1))
    proposals = planner.propose(matmul_task, environment.design_spaces(matmul_task), 4)
    records = measurer.measure(proposals)
    planner.model.update(records)
    assert len(records) == 4 and any(r.run_secs for r in records)
