"""The two tiers of predictions: counts by compiling, and the learned model; each number says which of them it is of.

*Exact*: the module is lowered and compiled, what can be counted is counted, and time is predicted from the counts.
*Fast*: a few milliseconds, from the module's structure alone. A deadline takes the exact numbers where they come in
time, and the learned ones otherwise.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from foretune.costmodel.mlir.encoding import encode
from foretune.costmodel.mlir.model import COUNTED, PREDICTED, MlirCostModel, MlirPrediction
from foretune.costmodel.mlir.network import DYNAMIC
from foretune.costmodel.mlir.structure import STRUCTURE_FEATURES
from foretune.costmodel.mlir.target import MlirTarget, known_target
from foretune.costmodel.mlir.time_model import COUNTS, CountedProgram, MlirTimeModel
from foretune.errors import DataError, ModelError, OptionError, UnsupportedError
from foretune.passes.mlir.costs.doubts import elsewhere, with_copies
from foretune.passes.mlir.costs.exact import Counts, ExactSession, ExactSettings
from foretune.passes.mlir.costs.learned import CALL_SECS, learned, stands_for
from foretune.passes.mlir.costs.predict import predict
from foretune.passes.mlir.grammar.actions import Schedule

MODES = ("exact", "fast", "auto")
_PATIENT_RUN_MS = 1000.0  # of a counting run, where counts were asked for
_ESTIMATED = 0.3  # deviation of the logarithm of what a part of a run tells of the whole
_CYCLES_OF_INSTRUCTION, _UNSEEN = 0.4, 0.7  # of programs that llvm-mca did not look at, and the logarithm's deviation


@dataclass(frozen=True)
class TierSettings:
    """Which numbers are wanted.

    Attributes:
        mode: `exact`; `fast`; or `auto`: exact ones where the module can be compiled, learned ones otherwise, with the
            reason.
        deadline_ms: milliseconds after which learned numbers are given instead; None for none.
        exact: limits of counting.
    """

    mode: str = "auto"
    deadline_ms: float | None = None
    exact: ExactSettings = ExactSettings()

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise OptionError(f"the mode must be one of {list(MODES)}, but got {self.mode!r}")
        if self.deadline_ms is not None and not self.deadline_ms > 0:
            raise OptionError(f"`deadline_ms > 0` must hold, but got {self.deadline_ms}")
        if self.deadline_ms is not None and self.mode != "auto":
            raise OptionError(f"a deadline chooses the tier by itself: give it without the mode {self.mode!r}")


@cache
def bundled_time_model() -> MlirTimeModel:
    """The weights that ship with Foretune, read once."""
    return MlirTimeModel.load()


def predict_costs(
    session: ExactSession,
    source: str,
    target: MlirTarget | None = None,
    schedule: Schedule = Schedule(),
    settings: TierSettings = TierSettings(),
    model: MlirCostModel | None = None,
) -> MlirPrediction:
    """The costs of a module under the default lowering, counted as far as `settings` say.

    Args:
        session: its workers parse, compile and run the module.
        source: text of the module, at any stage from linalg to the LLVM dialect.
        target: processor; this machine's by default.
        schedule: actions to apply first.
        settings: which numbers are wanted.
        model: of the fast tier; the bundled one by default.

    Raises:
        DataError, IllegalActionError: the module or the schedule is refused, or, with the mode `exact`, cannot be
        compiled.
        UnsupportedError: the fast tier does not know a dialect of the module.
    """
    target = target or known_target()
    if settings.mode == "exact":
        limits = (
            settings.exact if settings.exact.run_ms is not None else replace(settings.exact, run_ms=_PATIENT_RUN_MS)
        )
        return exact(session, source, target, schedule, limits, model)
    if settings.mode == "fast":
        return fast(session, source, target, schedule, model, settings.exact.values)
    start = time.perf_counter()
    first, error = (
        (None, None)
        if settings.deadline_ms is None
        else _try_fast(session, source, target, schedule, model, settings.exact.values)
    )
    limits = settings.exact
    if settings.deadline_ms is not None:
        left_ms = settings.deadline_ms - (time.perf_counter() - start) * 1e3
        if first is not None and left_ms <= 1:
            return replace(
                first,
                notes=(*first.notes, f"nothing was compiled: the deadline of {settings.deadline_ms:g} ms had passed"),
            )
        limits = replace(limits, deadline_ms=max(left_ms, 1.0))
    try:
        return exact(session, source, target, schedule, limits, model)
    except (DataError, UnsupportedError) as refused:
        if first is None and error is None:
            first, error = _try_fast(session, source, target, schedule, model, settings.exact.values)
        if first is None:
            raise (refused if error is None else error) from refused
        return replace(first, notes=(f"nothing is counted: {refused}", *first.notes))


def _try_fast(
    session: ExactSession,
    source: str,
    target: MlirTarget,
    schedule: Schedule,
    model: MlirCostModel | None,
    values: Sequence[int],
) -> tuple[MlirPrediction | None, Exception | None]:
    try:
        return fast(session, source, target, schedule, model, values), None
    except (DataError, UnsupportedError, ModelError) as error:
        return None, error


def fast(
    session: ExactSession,
    source: str,
    target: MlirTarget,
    schedule: Schedule = Schedule(),
    model: MlirCostModel | None = None,
    values: Sequence[int] = (),
) -> MlirPrediction:
    """Learned numbers, with what makes them uncertain; see `predict_costs`."""
    return predict(session, source, target, schedule, model, values)


def exact(
    session: ExactSession,
    source: str,
    target: MlirTarget,
    schedule: Schedule = Schedule(),
    settings: ExactSettings = ExactSettings(),
    model: MlirCostModel | None = None,
) -> MlirPrediction:
    """Counted numbers, and time from them; what a run would have told is learned where the module was not run; see
    `predict_costs`.
    """
    return from_counts(session.count(source, target.cpu, schedule, settings), target, model)


def from_counts(counts: Counts, target: MlirTarget, model: MlirCostModel | None = None) -> MlirPrediction:
    """The costs of a module that was counted."""
    program = encode(counts.graph) if counts.graph is not None else None
    known, unsure = dict(counts.labels), dict.fromkeys(counts.estimated, _ESTIMATED)
    notes = [*counts.notes]
    if "dynamic_instructions" in known and "mca_cycles" not in known:
        cycles = known["dynamic_instructions"] * _CYCLES_OF_INSTRUCTION
        known |= {"mca_cycles": cycles, "mca_throughput": cycles}
        unsure |= dict.fromkeys(("mca_cycles", "mca_throughput"), _UNSEEN)
        notes.append("llvm-mca comes to no end with its hot blocks: its cycles are taken from executed instructions")
    costs = dict(known)
    spread = {name: unsure.get(name, 0.0) for name in known}
    is_counted = all(name in known for name in COUNTS)
    if not is_counted and program is not None:
        guess = learned(program, counts.facts, target, model)
        left = [name for name in guess.costs if name not in known]
        costs |= {name: guess.costs[name] for name in left}
        spread |= {name: guess.spread[name] for name in left}
        notes += [
            (
                f"what a run tells ({', '.join(name for name in left if name in DYNAMIC)}) is predicted, not counted:"
                f" {counts.stopped}"
            ),
            *guess.notes,
        ]
    elif not is_counted:
        notes.append(f"what a run tells is not known: {counts.stopped}")
    made = MlirPrediction(
        costs,
        spread,
        {name: COUNTED if name in known and name not in unsure else PREDICTED for name in costs},
        tuple(notes),
    )
    if not is_counted:
        return made
    structure = np.array(counts.structure or [0.0] * len(STRUCTURE_FEATURES), np.float32)
    [timed] = bundled_time_model().predict_costs([CountedProgram(known, structure, target)])
    timed = replace(timed, costs={"secs": max(timed.costs["secs"], CALL_SECS)})
    if unsure:
        timed = replace(timed, spread={"secs": math.hypot(timed.spread["secs"], max(unsure.values()))})
    notes += [
        *(note for note in counts.facts.notes if "is taken as" in note and "argument" in note),
        *stands_for(target, counted=True),
    ]
    made = replace(
        made,
        costs={**costs, **timed.costs},
        spread={**spread, **timed.spread},
        sources={**made.sources, "secs": PREDICTED},
        notes=tuple(notes),
    )
    return elsewhere(with_copies(made, counts.facts, target))
