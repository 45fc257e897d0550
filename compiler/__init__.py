"""TVM bridge: tasks from PyTorch graphs, design spaces, measuring, and the torch.compile backend.

Nothing is imported before it is asked for, so that worker processes stay light.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "Backend": "backend",
    "BackendOptions": "options",
    "ForetuneAnsorModel": "ansor",
    "ForetuneCostModel": "metaschedule_cost_model",
    "LatentSearchStrategy": "metaschedule_search",
    "LatentTaskScheduler": "metaschedule_scheduler",
    "Measurer": "measure",
    "SchedulerConfig": "task_scheduler",
    "SearchConfig": "task_search",
    "TaskScheduler": "task_scheduler",
    "Tuner": "tuner",
    "builder_and_runner": "metaschedule_measure",
    "design_spaces": "space",
    "detect_target": "target",
    "task_from_module": "workload",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
