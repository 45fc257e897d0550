"""One tuning run, or one comparison of what runs found, in a process of its own: `python benchmarks/tuning_runs.py
REQUEST OUT`.

Started by `tuning.py`. All methods tune with the same builder, runner, target and number of trials between two looks at
the clock; the measuring processes are up before it starts, and so is what Python imports. REQUEST is JSON, OUT the file
of the row.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import math
import os
import random
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tuning_workloads import held_out_task

from foretune.compiler import Measurer, builder_and_runner
from foretune.compiler.metaschedule.records import trace_of
from foretune.compiler.tir._tvm import meta_schedule as ms
from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.target import tvm_target
from foretune.compiler.tir.workload import module_from_program, task_from_module
from foretune.datasets.records.database import Database
from foretune.record import MeasureSettings, Status
from foretune.support.files import write_text_atomically
from foretune.target import num_usable_cores
from foretune.task import Candidate, Task
from foretune.trace import Trace

LOW_WARM_UP = 16
CHECKPOINTS = (1, 2, 4, 8, *range(16, 128, 16), *range(128, 4096, 64))
"""Trials after which the best schedule so far is kept, to be compared in the end; it is kept after each batch as well.
"""

METASCHEDULE_LOG = "tvm.s_tir.meta_schedule"
COMPARING = MeasureSettings(repeat=3, min_repeat_ms=20.0, build_timeout_sec=20.0)


Searcher = Callable[[], dict[str, Any]]
"""Makes the cost model, and the search strategy if it is not TVM's evolutionary search, as arguments of `tune_tir`."""


def searcher(method: str, seed: int) -> Searcher:
    """How a method searches; what it needs is imported now, and only that."""
    cores = num_usable_cores()
    if method == "foretune":
        from foretune.compiler import ForetuneCostModel, LatentSearchStrategy

        return lambda: {"cost_model": ForetuneCostModel(), "strategy": LatentSearchStrategy()}
    if method == "ms-mlp":
        import torch
        from tuning_mlp import make_mlp_model

        torch.manual_seed(seed)
        return lambda: {"cost_model": make_mlp_model()}
    if method == "ms-random":
        return lambda: {"cost_model": ms.cost_model.RandomModel(seed=seed)}
    import xgboost  # noqa: F401 - TVM would import it when it first trains

    warm_up = {"num_warmup_samples": LOW_WARM_UP} if method == "ms-xgb-warm" else {}
    return lambda: {
        "cost_model": ms.cost_model.XGBModel(num_tuning_cores=cores, tree_method="auto", **warm_up)
    }  # else as `tune_tir` makes it


# -- what a run sees ---------------------------------------------------------------------------------


@dataclass
class Clock:
    """Seconds since the start, and the share of them that building and running took."""

    start: float = field(default_factory=time.perf_counter)
    measuring_secs: float = 0.0

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Counts what is done within as building and running."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.measuring_secs += time.perf_counter() - start

    @property
    def secs(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start


@dataclass(frozen=True)
class Trial:
    """A measured candidate: its TVM trace, its best time (None if it failed) and when its batch was done."""

    trace: tvm.s_tir.schedule.Trace
    run_secs: float | None
    elapsed_secs: float


@tvm.ir.utils.derived_object
class TimedBuilder(ms.builder.PyBuilder):
    """A builder whose time is taken."""

    def __init__(self, inner: ms.builder.Builder, clock: Clock) -> None:
        super().__init__()
        self._inner, self._clock = inner, clock

    def build(self, build_inputs: Sequence[ms.builder.BuilderInput]) -> list[ms.builder.BuilderResult]:
        """As the inner one."""
        with self._clock.measuring():
            return list(self._inner.build(build_inputs))


@tvm.ir.utils.derived_object
class TimedRunner(ms.runner.PyRunner):
    """A runner whose time is taken; it is done when `run` returns.

    Attributes:
        ended: seconds on the clock after each batch.
    """

    def __init__(self, inner: ms.runner.Runner, clock: Clock) -> None:
        super().__init__()
        self._inner, self._clock = inner, clock
        self.ended: list[float] = []

    def run(self, runner_inputs: Sequence[ms.runner.RunnerInput]) -> list[ms.runner.RunnerFuture]:
        """As the inner one."""
        with self._clock.measuring():
            futures = list(self._inner.run(runner_inputs))
        self.ended.append(self._clock.secs)
        return futures


@tvm.ir.utils.derived_object
class NoteTrials(ms.measure_callback.PyMeasureCallback):
    """Notes each measured candidate, in order.

    Args:
        ended: seconds on the clock after each batch.
    """

    def __init__(self, ended: list[float]) -> None:
        super().__init__()
        self._ended = ended
        self.trials: list[Trial] = []

    def apply(self, task_scheduler, task_id, measure_candidates, builder_results, runner_results) -> None:
        """Notes a batch."""
        for candidate, result in zip(measure_candidates, runner_results):
            secs = [float(s) for s in result.run_secs or ()] if result.error_msg is None else []
            self.trials.append(Trial(candidate.sch.trace, min(secs) if secs else None, self._ended[-1]))


# -- runs --------------------------------------------------------------------------------------------


def tune(task: Task, method: str, seed: int, num_trials: int, measurer: Measurer) -> tuple[list[Trial], Clock]:
    """Tunes a task through TVM's `tune_tir`; the clock covers making, and loading, the cost model."""
    mod, target = module_from_program(task.workload.program), tvm_target(task.target)
    parts, make_searcher = builder_and_runner(measurer), searcher(method, seed)
    with tempfile.TemporaryDirectory() as folder:
        clock = Clock()
        runner = TimedRunner(parts["runner"], clock)
        noted = NoteTrials(runner.ended)
        ms.tune_tir(
            mod,
            target,
            folder,
            num_trials,
            num_tuning_cores=num_usable_cores(),
            seed=seed,
            database="memory",
            runner=runner,
            builder=TimedBuilder(parts["builder"], clock),
            measure_callbacks=[noted, *ms.measure_callback.MeasureCallback.create("default")],
            **make_searcher(),
        )
    return noted.trials, clock


def tuned_row(task: Task, method: str, seed: int, num_trials: int, measurer: Measurer) -> dict[str, Any]:
    """A run of a method that measures: its curve, and the best schedule after each checkpoint."""
    trials, clock = tune(task, method, seed, num_trials, measurer)
    curve, winners, found = [], {}, {}
    best: Trial | None = None
    for number, trial in enumerate(trials, 1):
        if trial.run_secs is not None and (best is None or trial.run_secs < best.run_secs):
            best = trial
        curve.append(
            [number, round(trial.elapsed_secs, 3), _rounded(trial.run_secs), _rounded(best.run_secs if best else None)]
        )
        ends_batch = number == len(trials) or trials[number].elapsed_secs > trial.elapsed_secs
        if best is not None and (ends_batch or number in CHECKPOINTS):
            trace = trace_of(best.trace)
            winners[number], found[trace.key] = trace.key, pack(trace)
    secs = trials[-1].elapsed_secs if trials else clock.secs
    return {
        "curve": curve,
        "winners": winners,
        "traces": found,
        "elapsed_secs": secs,
        "measuring_secs": clock.measuring_secs,
        "own_secs_per_trial": (secs - clock.measuring_secs) / max(1, len(trials)),
    }


def pick_row(task: Task, seed: int) -> dict[str, Any]:
    """The pick of the bundled weights, nothing measured."""
    from foretune.compiler.metaschedule.tuner import Tuner
    from foretune.compiler.metaschedule.tuner_config import TunerConfig
    from foretune.costmodel.latent.model import LatentCostModel

    with tempfile.TemporaryDirectory() as folder, Database(Path(folder) / "records.db") as database:
        clock = Clock()
        task = task_from_module(
            module_from_program(task.workload.program), task.target, task.workload.name, task.workload.family
        )
        report = Tuner(LatentCostModel.bundled(), database, TunerConfig(trials=0, seed=seed)).tune([task])
        secs = clock.secs
    trace = report.chosen[task.workload.hash]
    return {
        "curve": [],
        "winners": {0: trace.key},
        "traces": {trace.key: pack(trace)},
        "elapsed_secs": secs,
        "measuring_secs": 0.0,
    }


def run_row(request: dict[str, Any]) -> dict[str, Any]:
    """The row of a tuning run.

    Args:
        request: `task`, `threads`, `method`, `seed`, `num_trials`.
    """
    method, seed = request["method"], request["seed"]
    random.seed(seed)
    np.random.seed(seed)  # TVM's XGBModel scores at random by it, until it is warm
    warnings = _Warnings()
    task = held_out_task(request["task"], request["threads"])
    load_before = os.getloadavg()[0]
    if method == "foretune-0":
        row = pick_row(task, seed)
    else:
        with Measurer(num_threads=request["threads"]) as measurer:
            measurer.measure([Candidate(task, Trace(()))] * num_usable_cores())  # starts a process for each core
            row = tuned_row(task, method, seed, request["num_trials"], measurer)
    loads = [round(load_before, 2), round(os.getloadavg()[0], 2)]
    return {
        **request,
        "status": "ok",
        "warnings": warnings.messages,
        "target": task.target.to_json(),
        "load_average": loads,
        **row,
    }


def comparison_row(request: dict[str, Any]) -> dict[str, Any]:
    """Run times of schedules of one task and of the unscheduled program, measured in turns by one process, and their
    errors against it.

    Args:
        request: `task`, `threads`, `traces` (key -> packed trace), `rounds`, `quiet_wait_secs`.
    """
    task = held_out_task(request["task"], request["threads"])
    default = Trace(())
    traces = {default.key: default} | {key: unpack(packed) for key, packed in request["traces"].items()}
    candidates = {key: Candidate(task, trace) for key, trace in traces.items()}
    measured: dict[str, dict[str, Any]] = {
        key: {"secs": [], "status": "ok", "max_rel_error": None} for key in candidates
    }
    rng = random.Random(0)
    with Measurer(
        COMPARING, num_threads=request["threads"], num_workers=1, quiet_wait_secs=request["quiet_wait_secs"]
    ) as measurer:
        for _ in range(request["rounds"]):
            order = rng.sample(sorted(candidates), len(candidates))
            for key, record in zip(order, measurer.measure([candidates[key] for key in order])):
                if record.status is Status.OK:
                    measured[key]["secs"].append(record.best_secs)
                else:
                    measured[key]["status"] = f"{record.status.value}: {record.error}"
        for key, candidate in candidates.items():
            error = measurer.max_rel_error(candidate)
            measured[key]["max_rel_error"] = error if math.isfinite(error) else "inf"
    return {
        "task": request["task"],
        "threads": request["threads"],
        "status": "ok",
        "default": default.key,
        "measured": measured,
    }


class _Warnings(logging.Handler):
    """Keeps Foretune's warnings, such as that a task is searched at random, and silences TVM's tables."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        logging.getLogger("foretune").addHandler(self)
        logging.getLogger(METASCHEDULE_LOG).setLevel(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def pack(trace: Trace) -> str:
    """A trace as short text."""
    return base64.b64encode(zlib.compress(json.dumps(trace.to_json(), separators=(",", ":")).encode(), 9)).decode()


def unpack(packed: str) -> Trace:
    """The trace that `pack` was given."""
    return Trace.from_json(json.loads(zlib.decompress(base64.b64decode(packed))))


def _rounded(secs: float | None) -> float | None:
    return None if secs is None else float(f"{secs:.5g}")


def _end_with_parent() -> None:
    """Ends this process when its parent is gone and standard input closes."""

    def watch() -> None:
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Serves one request."""
    _end_with_parent()
    request = json.loads(Path(sys.argv[1]).read_text())
    row = comparison_row(request) if "traces" in request else run_row(request)
    write_text_atomically(Path(sys.argv[2]), json.dumps(row, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
