"""The phases of compiling a graph, in the words of the progress line, and how long each may take."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foretune.compiler.pytorch.options import BackendOptions

TRACE, LIBRARIES = "tracing", "timing PyTorch's libraries"
LOAD, IMPORT, PLAN, TUNE, BUILD = "loading TVM", "importing", "planning", "tuning", "building"
COMPILE, RUN, CONTEST = "compiling with Inductor", "comparing answers", "comparing times"

_NODES_OF_A_KERNEL = 5
_TRIAL_SECS = 0.5


def expected_secs(num_nodes: int, options: BackendOptions) -> dict[str, float]:
    """Phase -> seconds that it may take on a small machine, before anything is known but the size of the graph.

    Args:
        num_nodes: of the graph.
        options: of the backend.
    """
    guard = {COMPILE: 4 + 0.1 * num_nodes, CONTEST: 2.0} if options.guard else {}
    tunes = options.trials and not options.background
    most_secs = _TRIAL_SECS * options.trials * max(1, num_nodes / _NODES_OF_A_KERNEL)
    schedules = {TUNE: min(options.seconds, most_secs)} if tunes else {PLAN: 0.05 * num_nodes}
    before = {TRACE: 0.02 * num_nodes, LIBRARIES: 1.0 if options.guard else 0.0}
    return {**before, LOAD: 2.0, IMPORT: 0.03 * num_nodes, **schedules, BUILD: 1 + 0.03 * num_nodes, **guard}
