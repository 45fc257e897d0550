"""ForetuneCostModel: the latent cost model as MetaSchedule's cost model, for `tune_tir`, `tune_relax` and `tune_tasks`.

It scores a finished schedule by its trace alone, without looking at the program that came out. TVM's evolutionary
search treats negative scores as zero and samples parents in proportion to the scores; so a score here is a speed,
relative to the best candidate that the model saw first since it last learnt.
"""

from __future__ import annotations

import logging
import weakref
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from foretune.compiler.measure.one_thread import one_torch_thread
from foretune.compiler.metaschedule.online_model import OnlineModel
from foretune.compiler.metaschedule.records import record_of, trace_of
from foretune.compiler.tir import traces
from foretune.compiler.tir._tvm import derived_object, meta_schedule, tvm
from foretune.compiler.tir.workload import module_hash
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.speeds import Guard, Speeds
from foretune.target import HardwareFeatures
from foretune.task import Candidate, Task
from foretune.trace import Trace

_log = logging.getLogger(__name__)
_live: weakref.WeakSet = weakref.WeakSet()


@derived_object
class ForetuneCostModel(meta_schedule.cost_model.PyCostModel):
    """Ranks MetaSchedule's candidates, and adapts to their measurements.

    Hand it to `tune_tir(..., cost_model=ForetuneCostModel())`. What cannot be understood, a trace or a whole program,
    gets a neutral score, and one warning for each task.

    Args:
        model: ranks traces; the bundled weights by default.
        hardware: of the device that candidates run on; by default this machine's where its code could run here.

    Raises:
        ModelError: the bundled weights cannot be read.

    Attributes:
        online: the model with the records that it has learnt.
    """

    def __init__(self, model: LatentCostModel | None = None, hardware: HardwareFeatures | None = None) -> None:
        super().__init__()
        self.online = OnlineModel(model if model is not None else LatentCostModel.bundled(), hardware)
        self._speeds, self._guard = Speeds(), Guard(_log)
        _live.add(self)

    @one_torch_thread()
    def predict(
        self, context: meta_schedule.TuneContext, candidates: Sequence[meta_schedule.MeasureCandidate]
    ) -> np.ndarray:
        """Speeds of finished schedules of one task, relative to each other; [N] float64, positive, higher is better."""
        scores = np.full(len(candidates), np.nan)
        task = self._task(context)
        if task is None:
            return np.ones(len(candidates))
        for rows, group in self._by_space(task, candidates):
            found = self._guard.run(task.workload.name, lambda group=group: self.online.model.predict(task, group))
            if found is not None:
                scores[rows] = found
        return self._speeds.of(task.key, scores)

    @one_torch_thread()
    def update(
        self, context: meta_schedule.TuneContext, candidates: Sequence[meta_schedule.MeasureCandidate],
        results: Sequence[meta_schedule.runner.RunnerResult],
    ) -> None:  # fmt: skip
        """Learns from measured candidates of one task; failed ones become records without a run time."""
        task = self._task(context)
        if task is None:
            return
        records = []
        for candidate, result in zip(candidates, results):
            program_hash = module_hash(candidate.sch.mod)
            if self.online.knows(task, program_hash):  # from the search strategy, if it is Foretune's
                continue
            trace = self._trace(task, candidate)
            if trace is not None:
                records.append(record_of(Candidate(task, trace), result, program_hash))
        self._guard.run(task.workload.name, lambda: self.online.learn(records))
        self._speeds.forget(task.key)

    def save(self, path: str) -> None:
        """Writes what was learnt on top of the weights."""
        self.online.save(Path(path))

    def load(self, path: str) -> None:
        """Replaces what was learnt by what `save` wrote.

        Raises:
            ModelError: the file is missing, damaged, or of another schema.
        """
        self.online.load(Path(path))
        self._speeds.clear()

    def _task(self, context: meta_schedule.TuneContext) -> Task | None:
        mod, target = cast("tvm.IRModule", context.mod), cast("tvm.target.Target", context.target)
        return self._guard.run(str(context.task_name), lambda: self.online.task(mod, target, str(context.task_name)))

    def _trace(self, task: Task, candidate: meta_schedule.MeasureCandidate) -> Trace | None:
        return self._guard.run(task.workload.name, lambda: trace_of(traces.tvm_trace(candidate.sch)))

    def _by_space(
        self, task: Task, candidates: Sequence[meta_schedule.MeasureCandidate]
    ) -> Iterator[tuple[list[int], list[Candidate]]]:
        """Row numbers and candidates of each design space, so that one space that the model cannot read costs the
        others nothing.
        """
        groups: defaultdict[str, list[tuple[int, Candidate]]] = defaultdict(list)
        for row, candidate in enumerate(candidates):
            trace = self._trace(task, candidate)
            if trace is not None and len(trace):
                groups[trace.space_id].append((row, Candidate(task, trace)))
        for group in groups.values():
            yield [row for row, _ in group], [candidate for _, candidate in group]


def find_cost_model(cost_model: meta_schedule.cost_model.CostModel | None) -> Any:
    """The ForetuneCostModel behind TVM's handle, which callbacks get without its Python part; None if it is another
    model.
    """
    if cost_model is not None:
        for found in list(_live):
            outer = found._outer()
            if outer is not None and outer.same_as(cost_model):
                return found
    return None
