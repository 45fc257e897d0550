"""TVM bridge: tasks from PyTorch graphs, design spaces, measuring, and the torch.compile backend.

Nothing is imported before it is asked for, so that worker processes stay light. Stable: the backend and its options,
and what MetaSchedule takes (`ForetuneCostModel`, `LatentSearchStrategy`, `Measurer`, `builder_and_runner`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foretune.support.faces import lazy_names

if TYPE_CHECKING:
    from foretune.compiler.ansor.cost_model import ForetuneAnsorModel
    from foretune.compiler.measure.measurer import Measurer
    from foretune.compiler.metaschedule.builder_and_runner import builder_and_runner
    from foretune.compiler.metaschedule.cost_model import ForetuneCostModel
    from foretune.compiler.metaschedule.scheduler import LatentTaskScheduler
    from foretune.compiler.metaschedule.search_strategy import LatentSearchStrategy
    from foretune.compiler.metaschedule.task_search import SearchConfig
    from foretune.compiler.metaschedule.tuner import Tuner
    from foretune.compiler.metaschedule.use import InUse, as_measured, fastest_in_use
    from foretune.compiler.pytorch.backend import Backend
    from foretune.compiler.pytorch.options import BackendOptions
    from foretune.compiler.tir.space import design_spaces
    from foretune.compiler.tir.target import detect_target
    from foretune.compiler.tir.workload import task_from_module
    from foretune.tuning.task_scheduler import SchedulerConfig, TaskScheduler

__all__ = [
    "Backend",
    "BackendOptions",
    "ForetuneAnsorModel",
    "ForetuneCostModel",
    "InUse",
    "LatentSearchStrategy",
    "LatentTaskScheduler",
    "Measurer",
    "SchedulerConfig",
    "SearchConfig",
    "TaskScheduler",
    "Tuner",
    "as_measured",
    "builder_and_runner",
    "design_spaces",
    "detect_target",
    "fastest_in_use",
    "task_from_module",
]

EXPERIMENTAL = frozenset(
    {
        "ForetuneAnsorModel",
        "InUse",
        "LatentTaskScheduler",
        "SchedulerConfig",
        "TaskScheduler",
        "Tuner",
        "as_measured",
        "design_spaces",
        "fastest_in_use",
        "task_from_module",
    }
)
"""Names that may change in any release; the others stay, or are told a release ahead."""

_HOMES = {
    "Backend": "foretune.compiler.pytorch.backend",
    "BackendOptions": "foretune.compiler.pytorch.options",
    "ForetuneAnsorModel": "foretune.compiler.ansor.cost_model",
    "ForetuneCostModel": "foretune.compiler.metaschedule.cost_model",
    "LatentSearchStrategy": "foretune.compiler.metaschedule.search_strategy",
    "LatentTaskScheduler": "foretune.compiler.metaschedule.scheduler",
    "Measurer": "foretune.compiler.measure.measurer",
    "SchedulerConfig": "foretune.tuning.task_scheduler",
    "SearchConfig": "foretune.compiler.metaschedule.task_search",
    "TaskScheduler": "foretune.tuning.task_scheduler",
    "InUse": "foretune.compiler.metaschedule.use",
    "Tuner": "foretune.compiler.metaschedule.tuner",
    "as_measured": "foretune.compiler.metaschedule.use",
    "builder_and_runner": "foretune.compiler.metaschedule.builder_and_runner",
    "design_spaces": "foretune.compiler.tir.space",
    "detect_target": "foretune.compiler.tir.target",
    "fastest_in_use": "foretune.compiler.metaschedule.use",
    "task_from_module": "foretune.compiler.tir.workload",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
