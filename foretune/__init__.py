"""Foretune ranks what a compiler could do before hardware measures what it does.

All names here are stable; what is experimental is listed in `EXPERIMENTAL` of the packages below: `foretune.compiler`,
`foretune.costmodel`, `foretune.datasets`, `foretune.passes` and `foretune.passes.mlir`.
"""

from typing import TYPE_CHECKING

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
from foretune.support.faces import lazy_names
from foretune.target import HardwareFeatures, Target
from foretune.task import Candidate, Task, Workload
from foretune.trace import Action, Trace

if TYPE_CHECKING:
    from foretune.compiler.ahead import tune
    from foretune.compiler.dry_run import dry_run
    from foretune.compiler.pytorch.artifact import load
    from foretune.compiler.pytorch.background import wait_for_background
    from foretune.compiler.pytorch.explain import explain

moved.install()

__version__ = "0.2.0"

__all__ = [
    "Action", "Candidate", "DataError", "DatabaseError", "DesignSpace", "Domain", "Edge", "ForetuneError",
    "HardwareFeatures", "IllegalActionError", "MeasureRecord", "MeasureSettings", "ModelError", "Node", "OptionError",
    "ProgramGraph", "Status", "Target", "TargetError", "Task", "Trace", "Trajectory", "UnsupportedError", "WorkerError",
    "Workload", "dry_run", "explain", "load", "tune", "wait_for_background",
]  # fmt: skip

EXPERIMENTAL: frozenset[str] = frozenset()
"""Names that may change in any release; the others stay, or are told a release ahead."""

_HOMES = {  # need torch and TVM
    "dry_run": "foretune.compiler.dry_run",
    "explain": "foretune.compiler.pytorch.explain",
    "load": "foretune.compiler.pytorch.artifact",
    "tune": "foretune.compiler.ahead",
    "wait_for_background": "foretune.compiler.pytorch.background",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
