"""MetaSchedule's builder and runner on top of Foretune's measuring processes.

TVM's own local builder imports tensor intrinsics of all targets in each of its processes, which takes longer than its
time limit on a small machine. Here the builder only writes each scheduled program to a file, in a folder of its own, as
MetaSchedule expects; the runner has the measurer compile and time it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from foretune.compiler.measure.measurer import Measurer
from foretune.compiler.tir._tvm import derived_object, meta_schedule, tvm
from foretune.compiler.tir.target import target_from_tvm
from foretune.compiler.tir.workload import module_hash, program_text
from foretune.program import ProgramGraph
from foretune.record import MeasureRecord, Status
from foretune.support.scratch import ScratchFolder
from foretune.target import HardwareFeatures, Target
from foretune.task import Candidate, Task, Workload
from foretune.trace import Trace

_ARTIFACT = "program.json"


def builder_and_runner(measurer: Measurer) -> dict[str, Any]:
    """A builder and a runner over one measurer, as keyword arguments of `tune_tir`, `tune_relax` and `tune_tasks`.

    Args:
        measurer: measures here, or on the remote devices that it was made for; the caller closes it.
    """
    return {"builder": MeasurerBuilder(), "runner": MeasurerRunner(measurer)}


@derived_object
class MeasurerBuilder(meta_schedule.builder.PyBuilder):
    """Writes scheduled programs for `MeasurerRunner`."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = ScratchFolder("foretune-builder-")

    def build(
        self, build_inputs: Sequence[meta_schedule.builder.BuilderInput]
    ) -> list[meta_schedule.builder.BuilderResult]:
        """One artifact for each program."""
        return [meta_schedule.builder.BuilderResult(self._write(i.mod, i.target), None) for i in build_inputs]

    def _write(self, mod: tvm.IRModule, target: tvm.target.Target) -> str:
        mod = tvm.s_tir.transform.RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(mod)
        described = target_from_tvm(target, HardwareFeatures())
        path = Path(tempfile.mkdtemp(dir=self._folder.path)) / _ARTIFACT
        path.write_text(
            json.dumps({"hash": module_hash(mod), "program": program_text(mod), "target": described.to_dict()})
        )
        return str(path)


@derived_object
class MeasurerRunner(meta_schedule.runner.PyRunner):
    """Compiles and times what `MeasurerBuilder` wrote, a batch at a time; done when `run` returns.

    Args:
        measurer: does it.
    """

    def __init__(self, measurer: Measurer) -> None:
        super().__init__()
        self._measurer = measurer

    def run(self, runner_inputs: Sequence[meta_schedule.runner.RunnerInput]) -> list[meta_schedule.runner.RunnerFuture]:
        """One finished result for each program.

        Raises:
            WorkerError: no process can be started, or no device is free.
        """
        candidates = [_candidate(Path(str(i.artifact_path))) for i in runner_inputs]
        return [_finished(record) for record in self._measurer.measure(candidates)]


def _candidate(artifact: Path) -> Candidate:
    """A scheduled program as the default schedule of itself."""
    data = json.loads(artifact.read_text())
    workload = Workload(data["hash"], data["program"], ProgramGraph((), ()))
    return Candidate(Task(workload, Target.from_dict(data["target"])), Trace(()))


def _finished(record: MeasureRecord) -> meta_schedule.runner.RunnerFuture:
    if record.status is Status.OK:
        result = meta_schedule.runner.RunnerResult(list(record.run_secs), None)
    else:
        result = meta_schedule.runner.RunnerResult(None, f"{record.status.value}: {record.error}")
    return meta_schedule.runner.RunnerFuture(lambda: True, lambda: result)
