"""ForetuneAnsorModel: the latent cost model as a cost model of Ansor, TVM's auto-scheduler up to release 0.19.

A state is scored as the point of MetaSchedule's design spaces that does the same (`ansor_states.py`), with the weights
that were trained there: neither lowered nor looked at as a program, it costs a twentieth of what extracting Ansor's
features costs. What was measured corrects the scores of its task at once. SketchPolicy samples parents in proportion to
the scores and takes those below zero as zero; so a score here is a speed, relative to the best state that the model saw
first since it last learnt.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from foretune.compiler.ansor._ansor_tvm import (  # type checkers see the newer TVM, which has none of this
    PythonBasedModel,  # pyright: ignore[reportAttributeAccessIssue]
    auto_scheduler,  # pyright: ignore[reportAttributeAccessIssue]
)
from foretune.compiler.ansor.tasks import AnsorTask, record_line, steps_of
from foretune.compiler.measure.one_thread import one_torch_thread
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.speeds import Guard, Speeds
from foretune.datasets.importers.report import LineError
from foretune.datasets.importers.results import read_result
from foretune.errors import ForetuneError, ModelError, OptionError
from foretune.record import MeasureRecord
from foretune.support.cache import RecentCache
from foretune.support.files import write_text_atomically
from foretune.support.text import telling_line
from foretune.target import HardwareFeatures

_CACHED_TASKS = 64
_log = logging.getLogger(__name__)


class ForetuneAnsorModel(PythonBasedModel):
    """Ranks Ansor's states, and adapts to their measurements.

    Hand it to `SketchPolicy(task, ForetuneAnsorModel())`, and let it measure in small rounds
    (`TuningOptions(num_measures_per_round=16)`), since it learns after each. What cannot be understood, a state or a
    whole program, gets a neutral score, and one warning for each task.

    Args:
        model: ranks traces; the bundled weights by default.
        hardware: of the device that states run on; by default this machine's.

    Raises:
        ModelError: the bundled weights cannot be read.

    Attributes:
        records: what was learnt, in order.
    """

    def __init__(self, model: LatentCostModel | None = None, hardware: HardwareFeatures | None = None) -> None:
        super().__init__()
        self.model = model if model is not None else LatentCostModel.bundled()
        self._hardware = hardware
        self._learnt: dict[str, MeasureRecord] = {}  # line of Ansor's log -> record
        self._tasks: RecentCache[AnsorTask] = RecentCache(_CACHED_TASKS)
        self._speeds, self._guard = Speeds(), Guard(_log)

    @property
    def records(self) -> tuple[MeasureRecord, ...]:
        return tuple(self._learnt.values())

    @one_torch_thread()
    def predict(self, search_task: auto_scheduler.SearchTask, states: Sequence[Any]) -> np.ndarray:
        """Speeds of finished states of one task, relative to each other; [N] float32, positive, higher is better."""
        scores = np.full(len(states), np.nan)
        name = str(search_task.workload_key)
        task = self._guard.run(name, lambda: self._task(search_task))
        if task is None:
            return np.ones(len(states), np.float32)
        lines = (record_line(auto_scheduler.MeasureInput(search_task, state)) for state in states)
        read = task.read
        choices = [self._guard.run(name, lambda line=line: read(steps_of(line))) for line in lines]
        known = [row for row, chosen in enumerate(choices) if chosen is not None]
        for rows, space, points in task.points([chosen for chosen in choices if chosen is not None]):
            prediction = self._guard.run(
                name, lambda space=space, points=points: self.model.score(task.task, space, points)
            )
            if prediction is not None:
                scores[[known[row] for row in rows]] = prediction.score
        return self._speeds.of(task.task.key, scores).astype(np.float32)

    @one_torch_thread()
    def update(
        self, inputs: Sequence[auto_scheduler.MeasureInput], results: Sequence[auto_scheduler.MeasureResult]
    ) -> None:
        """Learns from measured states; failed ones become records without a run time.

        Raises:
            OptionError: there are not as many results as inputs.
        """
        if len(inputs) != len(results):
            raise OptionError(
                f"every measured state must have one result, but got {len(inputs)} states and {len(results)} results"
            )
        fresh: dict[str, MeasureRecord] = {}
        for inp, result in zip(inputs, results):
            line = record_line(inp, result)
            record = self._guard.run(
                str(inp.task.workload_key), lambda inp=inp, line=line: _record(self._task(inp.task), line)
            )
            if record is not None and line not in self._learnt:
                fresh[line] = record
        self._guard.run("the measurements", lambda: self.model.update(list(fresh.values())))
        self._learnt.update(fresh)
        for record in fresh.values():
            self._speeds.forget(record.candidate.task.key)

    def save(self, path: str | Path) -> None:
        """Writes what was learnt on top of the weights, whole or not at all: a log as Ansor's own `RecordToFile` writes
        it.
        """
        write_text_atomically(Path(path), "".join(f"{line}\n" for line in self._learnt))

    def load(self, path: str | Path) -> None:
        """Forgets what was learnt, and learns the records of an Ansor log, one that `save` wrote or any other.

        Args:
            path: of the log; its workloads must be registered in this process.

        Raises:
            ModelError: the file is missing or damaged, or has a workload that is not registered; nothing is forgotten.
        """
        learnt = dict(self._read(Path(path)))
        model = type(self.model)(self.model.network, self.model.training_hash)
        model.update(list(learnt.values()))
        self.model, self._learnt = model, learnt
        self._speeds.clear()

    def _read(self, path: Path) -> Iterable[tuple[str, MeasureRecord]]:
        try:
            lines = path.read_text().splitlines()
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ModelError(f"{path} is damaged, or not a log of Ansor's: {error}") from error
        for number, line in enumerate(lines, 1):
            try:
                steps_of(line)
                inp, _ = auto_scheduler.measure_record.load_record_from_string(line)
            except Exception as error:  # TVM raises plain RuntimeError and others of its own
                raise ModelError(
                    f"{path} is damaged, or not a log of Ansor's: line {number}: {type(error).__name__}:"
                    f" {telling_line(error)}"
                ) from error
            try:
                search_task = auto_scheduler.measure.recover_measure_input(inp).task
            except Exception as error:
                raise ModelError(
                    f"{path}: line {number} has a workload that is not registered in this process:"
                    f" {telling_line(error)}"
                ) from error
            try:
                yield line, _record(self._task(search_task), line)
            except (LineError, ForetuneError) as error:
                raise ModelError(f"{path} does not fit: line {number}: {error}") from error

    def _task(self, search_task: auto_scheduler.SearchTask) -> AnsorTask:
        key = str(search_task.workload_key), str(search_task.target), int(search_task.hardware_params.num_cores)
        return self._tasks.get(key, lambda: AnsorTask.of(search_task, self._hardware))


def _record(task: AnsorTask, line: str) -> MeasureRecord:
    """The record of a line of Ansor's log.

    Raises:
        LineError: its result has another shape.
        IllegalActionError: its steps do not fit the task.
    """
    status, secs, error, timestamp = read_result(orjson.loads(line).get("r"))
    return MeasureRecord(
        task.candidate(task.read(steps_of(line))), status, tuple(secs), error, settings=None, timestamp=timestamp
    )
