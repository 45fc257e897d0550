"""MLIR programs: transformed, lowered, run, predicted and tuned, all in worker processes.

    from foretune.passes.mlir import MlirMeasurer, MlirSession, MlirStrategyConfig, load_program, tune

    with MlirSession() as session:
        program = load_program(session, Path("matmul.mlir"))
        result = tune(program, MlirMeasurer(session), MlirStrategyConfig("genetic").make)
        print(result.gain, result.best, result.script)

Names are loaded when they are first used: worker processes import this package, and need neither torch nor the rest.
`foretune.passes.mlir.costs.tiers` has `predict_costs`, the counted and predicted costs of a module; `costs.predict` has
`predict` and `explain`, of the model alone. Experimental: names and arguments may change in any release; the command
line, `foretune mlir`, and the files that it writes are stable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foretune.support.faces import lazy_names

if TYPE_CHECKING:
    from foretune.costmodel.mlir.model import MlirCostModel
    from foretune.costmodel.mlir.target import known_target
    from foretune.passes.mlir.costs.callback import CostCallback
    from foretune.passes.mlir.costs.exact import ExactSession, ExactSettings
    from foretune.passes.mlir.costs.predict import predict_schedules
    from foretune.passes.mlir.costs.tiers import TierSettings, predict_costs
    from foretune.passes.mlir.environment.session import MlirSession, SessionSettings
    from foretune.passes.mlir.grammar.actions import ACTIONS, MlirAction, Schedule
    from foretune.passes.mlir.tuning.frontend import MlirProgram, load_program
    from foretune.passes.mlir.tuning.measure import MlirMeasurer, MlirMeasureSettings
    from foretune.passes.mlir.tuning.strategies import MlirStrategyConfig
    from foretune.passes.mlir.tuning.torch_frontend import from_torch
    from foretune.passes.mlir.tuning.tuning import MlirTuneConfig, tune

__all__ = [
    "ACTIONS",
    "CostCallback",
    "ExactSession",
    "ExactSettings",
    "MlirAction",
    "MlirCostModel",
    "MlirMeasureSettings",
    "MlirMeasurer",
    "MlirProgram",
    "MlirSession",
    "MlirStrategyConfig",
    "MlirTuneConfig",
    "Schedule",
    "SessionSettings",
    "TierSettings",
    "from_torch",
    "known_target",
    "load_program",
    "predict_costs",
    "predict_schedules",
    "tune",
]

EXPERIMENTAL = frozenset(__all__)
"""Names that may change in any release; the others stay, or are told a release ahead."""

_HERE = "foretune.passes.mlir"
_HOMES = {
    "ACTIONS": f"{_HERE}.grammar.actions",
    "CostCallback": f"{_HERE}.costs.callback",
    "ExactSession": f"{_HERE}.costs.exact",
    "ExactSettings": f"{_HERE}.costs.exact",
    "TierSettings": f"{_HERE}.costs.tiers",
    "predict_costs": f"{_HERE}.costs.tiers",
    "MlirAction": f"{_HERE}.grammar.actions",
    "MlirCostModel": "foretune.costmodel.mlir.model",
    "MlirMeasureSettings": f"{_HERE}.tuning.measure",
    "MlirMeasurer": f"{_HERE}.tuning.measure",
    "MlirProgram": f"{_HERE}.tuning.frontend",
    "MlirSession": f"{_HERE}.environment.session",
    "MlirStrategyConfig": f"{_HERE}.tuning.strategies",
    "MlirTuneConfig": f"{_HERE}.tuning.tuning",
    "Schedule": f"{_HERE}.grammar.actions",
    "SessionSettings": f"{_HERE}.environment.session",
    "from_torch": f"{_HERE}.tuning.torch_frontend",
    "known_target": "foretune.costmodel.mlir.target",
    "load_program": f"{_HERE}.tuning.frontend",
    "predict_schedules": f"{_HERE}.costs.predict",
    "tune": f"{_HERE}.tuning.tuning",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
