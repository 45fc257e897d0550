"""Foretune ranks what a compiler could do before hardware measures what it does."""

import importlib
from typing import TYPE_CHECKING, Any

from foretune import moved
from foretune.errors import (
    DatabaseError,
    DataError,
    ForetuneError,
    IllegalActionError,
    ModelError,
    OptionError,
    TargetError,
    UnsupportedError,
    WorkerError,
)
from foretune.program import Edge, Node, ProgramGraph
from foretune.record import MeasureRecord, MeasureSettings, Status, Trajectory
from foretune.space import DesignSpace, Domain
from foretune.target import HardwareFeatures, Target
from foretune.task import Candidate, Task, Workload
from foretune.trace import Action, Trace

if TYPE_CHECKING:
    from foretune.compiler.pytorch.artifact import load
    from foretune.compiler.pytorch.explain import explain

moved.install()

__version__ = "0.1.0"

__all__ = [
    "Action", "Candidate", "DataError", "DatabaseError", "DesignSpace", "Domain", "Edge", "ForetuneError",
    "HardwareFeatures", "IllegalActionError", "MeasureRecord", "MeasureSettings", "ModelError", "Node", "OptionError",
    "ProgramGraph", "Status", "Target", "TargetError", "Task", "Trace", "Trajectory", "UnsupportedError", "WorkerError",
    "Workload", "explain", "load",
]  # fmt: skip

_LAZY = {"explain": "foretune.compiler.pytorch.explain", "load": "foretune.compiler.pytorch.artifact"}  # need torch and TVM


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'foretune' has no attribute {name!r}")
