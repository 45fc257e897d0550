"""MLIR programs: transformed, lowered, run, predicted and tuned, all in worker processes.

    from foretune.passes.mlir import MlirMeasurer, MlirSession, MlirStrategyConfig, load_program, tune

    with MlirSession() as session:
        program = load_program(session, Path("matmul.mlir"))
        result = tune(program, MlirMeasurer(session), MlirStrategyConfig("genetic").make)
        print(result.gain, result.best, result.script)

Names are loaded when they are first used: worker processes import this package, and need neither torch nor the rest.
`foretune.passes.mlir.costs.tiers` has `predict_costs`, the counted and predicted costs of a module; `costs.predict` has `predict` and `explain`, of the model alone.
"""

from __future__ import annotations

import importlib
from typing import Any

_HERE = "foretune.passes.mlir"
_LAZY = {
    "ACTIONS": f"{_HERE}.grammar.actions", "CostCallback": f"{_HERE}.costs.callback", "ExactSession": f"{_HERE}.costs.exact", "ExactSettings": f"{_HERE}.costs.exact", "TierSettings": f"{_HERE}.costs.tiers", "predict_costs": f"{_HERE}.costs.tiers", "MlirAction": f"{_HERE}.grammar.actions", "MlirCostModel": "foretune.costmodel.mlir.model",
    "MlirMeasureSettings": f"{_HERE}.tuning.measure", "MlirMeasurer": f"{_HERE}.tuning.measure", "MlirProgram": f"{_HERE}.tuning.frontend", "MlirSession": f"{_HERE}.environment.session",
    "MlirStrategyConfig": f"{_HERE}.tuning.strategies", "MlirTuneConfig": f"{_HERE}.tuning.tuning", "Schedule": f"{_HERE}.grammar.actions", "SessionSettings": f"{_HERE}.environment.session",
    "from_torch": f"{_HERE}.tuning.torch_frontend", "known_target": "foretune.costmodel.mlir.target", "load_program": f"{_HERE}.tuning.frontend",
    "predict_schedules": f"{_HERE}.costs.predict", "tune": f"{_HERE}.tuning.tuning",
}  # fmt: skip

__all__ = [
    "ACTIONS", "CostCallback", "ExactSession", "ExactSettings", "MlirAction", "MlirCostModel", "MlirMeasureSettings", "MlirMeasurer", "MlirProgram", "MlirSession", "MlirStrategyConfig", "MlirTuneConfig",
    "Schedule", "SessionSettings", "TierSettings", "from_torch", "known_target", "load_program", "predict_costs", "predict_schedules", "tune",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'foretune.passes.mlir' has no attribute {name!r}")
