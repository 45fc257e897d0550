"""What each step of a tuned sequence is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foretune.passes.llvm.actions import BASELINE, PassSequence
from foretune.passes.llvm.measure import PassMeasurer, PreparedProgram
from foretune.passes.llvm.observe import FEATURES
from foretune.passes.llvm.tuning.shorter import without_each
from foretune.passes.llvm.tuning.tuning import confirm

_MATTERS = 0.99  # a step is needed if the gain falls below so much of the whole's without it
_TOLD = 0.1


@dataclass(frozen=True)
class StepWorth:
    """A step, and the sequence without it.

    Attributes:
        step: as it prints.
        gain_without: `-O3`'s time over that of the sequence without the step.
        interval: 95 % of it.
        needed: whether leaving it out costs more than noise.
    """

    step: str
    gain_without: float
    interval: tuple[float, ...]
    needed: bool


@dataclass(frozen=True)
class SequenceExplanation:
    """A tuned sequence, taken apart.

    Attributes:
        program: its name.
        gain: `-O3`'s time over the sequence's.
        steps: one for each pass but the pipeline itself, and for each flag.
        needed: the sequence without the steps that are not needed, left out one after another.
        counts: (count, under `-O3`, under the sequence), where they differ by more than a tenth.
    """

    program: str
    gain: float
    steps: tuple[StepWorth, ...]
    needed: PassSequence
    counts: tuple[tuple[str, float, float], ...]

    def to_json(self) -> dict[str, Any]:
        """The explanation as JSON data."""
        steps = [
            {"step": s.step, "gain_without": s.gain_without, "interval": list(s.interval), "needed": s.needed}
            for s in self.steps
        ]
        return {
            "program": self.program,
            "gain": self.gain,
            "steps": steps,
            "command": f"opt {self.needed.command}",
            "counts": [list(row) for row in self.counts],
        }


def explain(
    prepared: PreparedProgram, sequence: PassSequence, measurer: PassMeasurer, repeats: int
) -> SequenceExplanation:
    """Leaves out one step after the other; what does not matter stays out.

    Args:
        prepared: the program.
        sequence: its tuned sequence.
        measurer: builds and times.
        repeats: runs of each.
    """
    program = prepared.program
    whole = confirm(prepared, sequence, measurer, repeats)["gain"]
    steps = []
    rest = sequence
    for shorter, step in without_each(sequence):
        measured = confirm(prepared, shorter(rest), measurer, repeats)
        needed = measured["gain"] < _MATTERS * whole
        steps.append(StepWorth(step, measured["gain"], tuple(measured["interval"]), needed))
        if not needed:
            rest = shorter(rest)
    looks = [measurer.build(program, s, observe=True) for s in (BASELINE, sequence)]
    rows = zip(FEATURES, *(build.after for build in looks))
    counts = tuple(
        (name, before, after) for name, before, after in rows if abs(after - before) > _TOLD * max(before, after, 1.0)
    )
    return SequenceExplanation(program.name, whole, tuple(steps), rest, counts)
