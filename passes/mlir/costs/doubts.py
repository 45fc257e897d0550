"""What makes a learned number less certain than on programs like those that it was learned on, and by how much.

The stated deviation of the model holds for programs of the generator. Whatever a module has that those have not widens
it, with the reason in words. Widths are deviations of the logarithm; they were set so that nine of ten counts of
foreign modules lie inside.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

from foretune.costmodel.mlir.domain import MlirDomain
from foretune.costmodel.mlir.encoding import EncodedProgram
from foretune.costmodel.mlir.model import MlirPrediction
from foretune.costmodel.mlir.network import DYNAMIC
from foretune.costmodel.mlir.target import MlirTarget
from foretune.passes.mlir.graph.module_facts import ModuleFacts

_FOREIGN = 0.5  # of programs that nobody here wrote, whatever they have
_OF_LABEL = {
    "dynamic_instructions": 0.3,
    "mca_cycles": 0.3,
    "mca_throughput": 0.3,
    "secs": 0.6,
    "registers": 1.3,
    "spills": 1.3,
    "reloads": 1.3,
    "bytes_read": 1.6,
    "bytes_written": 1.5,
}
"""The same of costs that are nearer or further off."""
_TRIPS, _ELEMENTS, _OPERATIONS, _OUTSIDE, _SMALL = 2.2, 1.8, 0.9, 0.7, 1.2
_SIZE, _COUNT = 0.25, 0.6  # for each factor of two beyond the data
_FEW_INSTRUCTIONS = 300.0  # executed; programs of the data do more
_REGISTERS = 0.5  # there are so few of them that they cannot be far off
_COPY = 0.7
_MACHINE = 0.3  # of seconds: nobody's machine is the one of the data
_NEAR_BYTES_PER_SEC, _FAR_BYTES_PER_SEC, _MEMORY_BYTES_PER_SEC = 6e10, 2.5e10, 1e10


@cache
def bundled_domain() -> MlirDomain:
    """What the bundled training data reaches, read once."""
    return MlirDomain.load()


def copy_secs(facts: ModuleFacts, target: MlirTarget) -> float:
    """Seconds of the copies that the C library makes, of which no count knows."""
    if not facts.library_bytes:
        return 0.0
    both = 2 * facts.largest_copy
    rate = (
        _NEAR_BYTES_PER_SEC
        if both <= max(target.l2_bytes, 1 << 20)
        else _FAR_BYTES_PER_SEC
        if both <= max(target.l3_bytes, 1 << 24)
        else _MEMORY_BYTES_PER_SEC
    )
    return facts.library_bytes / rate


def with_copies(prediction: MlirPrediction, facts: ModuleFacts, target: MlirTarget) -> MlirPrediction:
    """The prediction with the time of the C library's copies added."""
    added = copy_secs(facts, target)
    if not added or "secs" not in prediction.costs:
        return prediction
    secs = prediction.costs["secs"] + added
    spread = math.hypot(prediction.spread["secs"] * (1 - added / secs), _COPY * added / secs)
    return replace(prediction, costs={**prediction.costs, "secs": secs}, spread={**prediction.spread, "secs": spread})


def with_doubts(prediction: MlirPrediction, facts: ModuleFacts, program: EncodedProgram | None) -> MlirPrediction:
    """The prediction with wider deviations and notes, as far as the module is not like the training data."""
    reasons, everything, dynamic = list(facts.notes), 0.0, 0.0
    if facts.uncertain:
        dynamic = _TRIPS
    if facts.elements:
        everything = math.hypot(everything, _ELEMENTS)
        reasons.append(f"the training data has no numbers of type {', '.join(facts.elements)}")
    if facts.unknown_operations:
        everything = math.hypot(everything, _OPERATIONS)
        reasons.append(f"the training data has no {', '.join(facts.unknown_operations[:4])}")
    if facts.outside:
        everything = math.hypot(everything, _OUTSIDE)
        reasons.append(
            f"what {', '.join('@' + name for name in facts.outside[:4])} does is not known: the module does not have it"
        )
    if prediction.costs["dynamic_instructions"] < _FEW_INSTRUCTIONS:
        everything = math.hypot(everything, _SMALL)
    excess = (
        bundled_domain().excess(program)
        if program is not None and program.statements.shape[1] == len(bundled_domain().names)
        else None
    )
    if excess is not None:
        reasons += excess.reasons
        dynamic, everything = math.hypot(dynamic, _SIZE * excess.sizes), math.hypot(everything, _COUNT * excess.counts)
    spread = {name: _wider(name, value, everything, dynamic) for name, value in prediction.spread.items()}
    return elsewhere(replace(prediction, spread=spread, notes=(*prediction.notes, *reasons)))


def elsewhere(prediction: MlirPrediction) -> MlirPrediction:
    """The prediction with its seconds less certain, because they are wanted for another machine than that of the
    data.
    """
    return replace(prediction, spread={**prediction.spread, "secs": math.hypot(prediction.spread["secs"], _MACHINE)})


def _wider(name: str, deviation: float, everything: float, dynamic: float) -> float:
    everything = math.hypot(everything, _OF_LABEL.get(name, _FOREIGN))
    if "share" in name:  # a value between 0 and 1
        return min(0.5, math.hypot(deviation, 0.2 * everything))
    if name.endswith("registers"):
        return math.hypot(deviation, _REGISTERS * everything)
    return math.hypot(deviation, everything, dynamic if name in DYNAMIC else 0.0)
