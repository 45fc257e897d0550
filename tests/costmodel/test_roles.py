"""The roles of cost models, played by the models of MLIR; rankers of schedules and passes have the contract in tests of
their own.
"""

from __future__ import annotations

import numpy as np
import pytest

from foretune import (
    Action,
    Candidate,
    Edge,
    HardwareFeatures,
    ModelError,
    Node,
    OptionError,
    ProgramGraph,
    Target,
    Task,
    Trace,
    Workload,
)
from foretune.costmodel.base import CostModel, CostPredictor, Ranker
from foretune.costmodel.evaluation import registry
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.mlir.encoding import encode
from foretune.costmodel.mlir.model import WEIGHTS, MlirCostModel, TargetedProgram
from foretune.costmodel.mlir.ranker import MlirRanker
from foretune.costmodel.mlir.structure import STRUCTURE_FEATURES
from foretune.costmodel.mlir.target import MlirTarget
from foretune.costmodel.mlir.time_model import COUNTS, CountedProgram, MlirTimeModel
from foretune.costmodel.passes.model import PassCostModel
from foretune.testing.cost_models import RankerContract
from foretune.testing.cost_predictors import CostPredictorContract

CPU = MlirTarget("haswell", 256, 16, True, 32 << 10, 1 << 20, 8 << 20)


def module(seed: int, num_features: int) -> ProgramGraph:
    """A made-up module of two statements in one loop."""
    rows = np.round(np.random.default_rng(seed).uniform(0, 3, (2, num_features)), 2)
    nodes = (
        *(Node("statement", f"s{i}", tuple(row)) for i, row in enumerate(rows.tolist())),
        Node("loop", "l", (1.0,)),
    )
    return ProgramGraph(nodes, (Edge(2, 0, "has"), Edge(2, 1, "has")))


class TestMlirCostModel(CostPredictorContract):
    def predictor(self) -> MlirCostModel:
        return MlirCostModel.bundled()

    def programs(self) -> list[TargetedProgram]:
        width = len(self.predictor().feature_names)
        return [TargetedProgram(encode(module(seed, width)), CPU) for seed in range(3)]


class TestMlirTimeModel(CostPredictorContract):
    def predictor(self) -> MlirTimeModel:
        return MlirTimeModel.load()

    def programs(self) -> list[CountedProgram]:
        structure = np.ones(len(STRUCTURE_FEATURES), np.float32)
        counts = [{name: 0.5 if "share" in name else 10.0**n for name in COUNTS} for n in (2, 3, 5)]
        return [CountedProgram(one, structure, CPU) for one in counts]


class TestMlirRanker(RankerContract):
    def ranker(self) -> MlirRanker:
        return MlirRanker(MlirCostModel.bundled(), CPU)

    def candidates(self) -> list[Candidate]:
        model = MlirCostModel.bundled()
        graph = module(0, len(model.feature_names))
        task = Task(Workload("m", "", graph, "m", "mlir"), Target("mlir", (), HardwareFeatures()))
        return [Candidate(task, Trace((Action(model.actions[n], attrs=(("size", 8),)),))) for n in range(5)]


def test_a_module_without_statements_cannot_be_ranked():
    task = Task(Workload("e", "", ProgramGraph((), ()), "e", "mlir"), Target("mlir", (), HardwareFeatures()))
    with pytest.raises(ModelError, match="nothing to predict"):
        MlirRanker(MlirCostModel.bundled(), CPU).predict(task, [])


def test_who_plays_which_role():
    assert issubclass(CostModel, Ranker) and not issubclass(MlirCostModel, Ranker)
    for name in (*registry.names(), "passes"):
        assert issubclass(registry.model_class(name), CostModel)
    assert issubclass(registry.model_class("latent"), LatentCostModel)
    assert issubclass(registry.model_class("passes"), PassCostModel)
    assert registry.predictor_names() == ("mlir_latent", "mlir_time")
    found = registry.load_predictor("mlir_latent", WEIGHTS)
    assert isinstance(found, CostPredictor) and found.name == "mlir_latent"
    with pytest.raises(OptionError, match="unknown predictor of costs 'mlir'; known are mlir_latent, mlir_time"):
        registry.load_predictor("mlir", WEIGHTS)
