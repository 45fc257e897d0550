"""Cost models: they rank candidates of one task, higher scores first, before anything is measured.

Stable: the `CostModel` role and its variants, the latent model of schedules, and models by name. The models of passes
    and of MLIR modules are
experimental: their files and arguments may change in any release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foretune.support.faces import lazy_names

if TYPE_CHECKING:
    from foretune.costmodel.base import (
        CostModel,
        CostPrediction,
        CostPredictor,
        PredictsLegality,
        PredictsSpread,
        Ranker,
        StaticCostModel,
    )
    from foretune.costmodel.evaluation.evaluation import EvaluationConfig, EvaluationReport, evaluate
    from foretune.costmodel.evaluation.registry import load as load_cost_model
    from foretune.costmodel.evaluation.registry import make as make_cost_model
    from foretune.costmodel.evaluation.registry import names as cost_model_names
    from foretune.costmodel.latent.model import LatentCostModel, Prediction
    from foretune.costmodel.latent.training import TrainConfig
    from foretune.costmodel.mlir.model import MlirCostModel
    from foretune.costmodel.passes.model import PassCostModel
    from foretune.costmodel.planning.planner import Planner, PlannerConfig

__all__ = [
    "CostModel",
    "CostPrediction",
    "CostPredictor",
    "EvaluationConfig",
    "EvaluationReport",
    "LatentCostModel",
    "MlirCostModel",
    "PassCostModel",
    "Planner",
    "PlannerConfig",
    "Prediction",
    "PredictsLegality",
    "PredictsSpread",
    "Ranker",
    "StaticCostModel",
    "TrainConfig",
    "cost_model_names",
    "evaluate",
    "load_cost_model",
    "make_cost_model",
]

EXPERIMENTAL = frozenset(
    {
        "CostPrediction",
        "CostPredictor",
        "MlirCostModel",
        "PassCostModel",
        "Planner",
        "PlannerConfig",
        "Prediction",
        "Ranker",
    }
)
"""Names that may change in any release; the others stay, or are told a release ahead."""

_HERE = "foretune.costmodel"
_HOMES = {
    "CostModel": f"{_HERE}.base",
    "CostPrediction": f"{_HERE}.base",
    "CostPredictor": f"{_HERE}.base",
    "EvaluationConfig": f"{_HERE}.evaluation.evaluation",
    "EvaluationReport": f"{_HERE}.evaluation.evaluation",
    "LatentCostModel": f"{_HERE}.latent.model",
    "MlirCostModel": f"{_HERE}.mlir.model",
    "PassCostModel": f"{_HERE}.passes.model",
    "Planner": f"{_HERE}.planning.planner",
    "PlannerConfig": f"{_HERE}.planning.planner",
    "Prediction": f"{_HERE}.latent.model",
    "PredictsLegality": f"{_HERE}.base",
    "PredictsSpread": f"{_HERE}.base",
    "Ranker": f"{_HERE}.base",
    "StaticCostModel": f"{_HERE}.base",
    "TrainConfig": f"{_HERE}.latent.training",
    "cost_model_names": f"{_HERE}.evaluation.registry:names",
    "evaluate": f"{_HERE}.evaluation.evaluation",
    "load_cost_model": f"{_HERE}.evaluation.registry:load",
    "make_cost_model": f"{_HERE}.evaluation.registry:make",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
