"""Pass sequences of LLVM, proved by measurement; `foretune.passes.mlir` has the same for MLIR modules.

Experimental: names and arguments may change in any release, and each change is in the changelog. The command line,
`foretune passes`, and the files that it writes are stable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foretune.support.faces import lazy_names

if TYPE_CHECKING:
    from foretune.passes.llvm.actions import Flag, Pass, parse_sequence
    from foretune.passes.llvm.measure import PassMeasurer, PassMeasureSettings
    from foretune.passes.llvm.program import BuildOptions, Program, load_programs
    from foretune.passes.llvm.tuning.strategies import StrategyConfig
    from foretune.passes.llvm.tuning.tuning import PassTuneConfig, PassTuneResult, tune

__all__ = [
    "BuildOptions",
    "Flag",
    "Pass",
    "PassMeasureSettings",
    "PassMeasurer",
    "PassTuneConfig",
    "PassTuneResult",
    "Program",
    "StrategyConfig",
    "load_programs",
    "parse_sequence",
    "tune",
]

EXPERIMENTAL = frozenset(__all__)
"""Names that may change in any release; the others stay, or are told a release ahead."""

_HERE = "foretune.passes.llvm"
_HOMES = {
    "BuildOptions": f"{_HERE}.program",
    "Flag": f"{_HERE}.actions",
    "Pass": f"{_HERE}.actions",
    "PassMeasureSettings": f"{_HERE}.measure",
    "PassMeasurer": f"{_HERE}.measure",
    "PassTuneConfig": f"{_HERE}.tuning.tuning",
    "PassTuneResult": f"{_HERE}.tuning.tuning",
    "Program": f"{_HERE}.program",
    "StrategyConfig": f"{_HERE}.tuning.strategies",
    "load_programs": f"{_HERE}.program",
    "parse_sequence": f"{_HERE}.actions",
    "tune": f"{_HERE}.tuning.tuning",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
