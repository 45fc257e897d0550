"""Baselines beside a winner, on request: what a person would try before tuning.

They are not candidates. `ofast` may change what a program computes, and is named as relaxed; that its output differs
is told, and is no failure.
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import asdict, dataclass, replace
from typing import Any

from foretune.errors import DataError
from foretune.passes.llvm.actions import BASELINE, Flag, PassSequence
from foretune.passes.llvm.measure import PassMeasurer, PreparedProgram
from foretune.passes.llvm.program import Program
from foretune.record import Status
from foretune.support.words import each_once
from foretune.tuning.paired import Comparison

KINDS = {"polly": "-O3 -mllvm -polly", "ofast": "-Ofast (relaxed floating point)"}
RELAXED = ("-ffast-math",)
"""What `-Ofast` is beside `-O3`."""


@dataclass(frozen=True)
class Beside:
    """A baseline.

    Attributes:
        kind: of `KINDS`.
        name: for people.
        gain, interval: `-O3`'s time over its; empty where it cannot be measured.
        note: why not, or what to know of it.
    """

    kind: str
    name: str
    gain: float = 0.0
    interval: tuple[float, ...] = ()
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {**asdict(self), "interval": list(self.interval)}


def check_kinds(kinds: Many[str]) -> tuple[str, ...]:
    """The kinds, each once.

    Raises:
        OptionError: there is no such kind.
    """
    return each_once(kinds, KINDS, "a baseline beside the winner")


def measure(
    kind: str, prepared: PreparedProgram, measurer: PassMeasurer, relaxed: Program | None, turns: int = 9
) -> Beside:
    """Measures a baseline in turns with `-O3`.

    Args:
        kind: of `KINDS`.
        prepared: the program.
        measurer: builds and times.
        relaxed: the program as it is compiled with `RELAXED`.
        turns: runs of each.
    """
    name = KINDS[kind]
    if kind == "polly":
        if not measurer.has_polly:
            return Beside(kind, name, note="this opt has no Polly")
        sequence = PassSequence(BASELINE.passes, (Flag("polly", True),))
        return _time(Beside(kind, name), prepared.program, sequence, prepared, measurer, turns)
    if relaxed is None or relaxed.module.read_bytes() == prepared.program.module.read_bytes():
        return Beside(kind, name, note="there is no source that it could be compiled from, or it has no such numbers")
    return _time(Beside(kind, name), relaxed, BASELINE, prepared, measurer, turns)


def _time(
    beside: Beside,
    program: Program,
    sequence: PassSequence,
    prepared: PreparedProgram,
    measurer: PassMeasurer,
    turns: int,
) -> Beside:
    build = measurer.build(program, sequence)
    if build.status is not Status.OK:
        return replace(beside, note=f"it cannot be built: {build.error}")
    try:
        result, wrong = measurer.compare(prepared, program, build)
        note = "its output differs" if wrong else ""
        [timing] = measurer.time(replace(prepared, expected=result), [build], turns)
    except DataError as error:
        return replace(beside, note=str(error))
    finally:
        measurer.discard(build)
    found = Comparison.of(timing.record, timing.baseline_secs)
    return replace(beside, gain=found.gain, interval=tuple(found.interval), note=found.error or note)
