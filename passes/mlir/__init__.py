"""MLIR programs: transformed, lowered, run, predicted and tuned, all in worker processes.

    from foretune.passes.mlir import MlirMeasurer, MlirSession, MlirStrategyConfig, load_program, tune

    with MlirSession() as session:
        program = load_program(session, Path("matmul.mlir"))
        result = tune(program, MlirMeasurer(session), MlirStrategyConfig("genetic").make)
        print(result.gain, result.best, result.script)

Names are loaded when they are first used: worker processes import this package, and need neither torch nor the rest.
`foretune.passes.mlir.predict` has `predict` and `explain`.
"""

from __future__ import annotations

import importlib
from typing import Any

_HERE = "foretune.passes.mlir"
_LAZY = {
    "ACTIONS": f"{_HERE}.actions", "CostCallback": f"{_HERE}.callback", "MlirAction": f"{_HERE}.actions", "MlirCostModel": "foretune.costmodel.mlir",
    "MlirMeasureSettings": f"{_HERE}.measure", "MlirMeasurer": f"{_HERE}.measure", "MlirProgram": f"{_HERE}.frontend", "MlirSession": f"{_HERE}.session",
    "MlirStrategyConfig": f"{_HERE}.strategies", "MlirTuneConfig": f"{_HERE}.tuning", "Schedule": f"{_HERE}.actions", "SessionSettings": f"{_HERE}.session",
    "from_torch": f"{_HERE}.torch_frontend", "known_target": "foretune.costmodel.mlir_target", "load_program": f"{_HERE}.frontend",
    "predict_schedules": f"{_HERE}.predict", "tune": f"{_HERE}.tuning",
}  # fmt: skip

__all__ = [
    "ACTIONS", "CostCallback", "MlirAction", "MlirCostModel", "MlirMeasureSettings", "MlirMeasurer", "MlirProgram", "MlirSession", "MlirStrategyConfig", "MlirTuneConfig",
    "Schedule", "SessionSettings", "from_torch", "known_target", "load_program", "predict_schedules", "tune",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'foretune.passes.mlir' has no attribute {name!r}")
