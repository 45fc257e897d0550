"""Actions that alone kill MLIR or give wrong outputs are not tried twice in a run."""

from __future__ import annotations

import math

from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.tuning.blame import Blame
from foretune.passes.mlir.tuning.frontend import MlirProgram
from foretune.passes.mlir.tuning.search import MlirSearch
from foretune.passes.mlir.tuning.tuning import MlirTuneConfig, tune
from foretune.record import Status
from tests.passes.mlir import nests

KILLED = "MLIR was killed by signal 6"


def test_what_fails_alone_is_to_blame():
    tried = []

    def attempt(schedule):
        tried.append(str(schedule))
        return (Status.BUILD_ERROR, KILLED) if "affine-fusion" in str(schedule) else (Status.OK, "")

    blame = Blame(attempt)
    blame.note(Schedule.of("licm"), Status.OK)
    blame.note(Schedule.of("licm", "affine-fusion", "affine-scalrep", "canonicalize"), Status.BUILD_ERROR, KILLED)
    assert tried == ["affine-fusion", "affine-scalrep"]  # licm was in a good schedule, canonicalize is in every one
    assert "affine-fusion alone: MLIR was killed" in blame.why_not(
        Schedule.of("cse", "affine-fusion")
    ) and not blame.why_not(Schedule.of("affine-scalrep"))
    blame.note(Schedule.of("affine-scalrep", "affine-licm"), Status.ILLEGAL, "cannot be applied")
    blame.note(Schedule.of("affine-scalrep"), Status.RUN_TIMEOUT, "no end")
    assert len(tried) == 2  # neither is a crash or a wrong output


class _Stubborn(MlirSearch):
    """Suggests schedules with one action again and again."""

    name = "stubborn"

    def suggest(self, num):
        self._count = getattr(self, "_count", 0) + 1
        return [Schedule.of("affine-fusion", f"affine-unroll{{unroll_factor={1 + self._count}}}")]


def test_a_run_skips_them(session, measurer, monkeypatch):
    build = measurer.build
    built = []

    def failing(program, schedule):
        made = build(program, schedule)
        if "affine-fusion" in str(schedule):
            built.append(schedule)
            object.__setattr__(made.build, "status", Status.BUILD_ERROR)
            object.__setattr__(made.build, "error", KILLED)
            object.__setattr__(made, "code_hash", "")
        return made

    monkeypatch.setattr(measurer, "build", failing)
    program = MlirProgram.of(session, "tiled", nests.TILED)
    result = tune(program, measurer, lambda session, prepared, template: _Stubborn(template), MlirTuneConfig(budget=8))
    assert list(result.banned) == ["affine-fusion"] and result.num_skipped > 3
    assert (
        len(result.trials) == 1 and math.isinf(result.trials[0].cost) and len(built) == 2
    )  # the schedule, and the action alone
    assert result.to_json()["num_skipped"] == result.num_skipped
