"""The demo: compiles a small CNN and a small transformer and compares with eager and Inductor."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from foretune.compiler.pytorch.backend import Backend, CompileReport, compile_reports
from foretune.compiler.pytorch.options import BackendOptions
from foretune.compiler.workloads.engine import ENGINES, CompileModels, TimeCalls, compile_with, make_case, time_calls
from foretune.compiler.workloads.models import DEMO_MODELS, ModelCase
from foretune.errors import WorkerError
from foretune.workers.process import Death, Silence, WorkerProcess

_ROUNDS = 5
_BURST_SECS = 0.2
_TIMEOUT_SECS = 600.0


@dataclass(frozen=True)
class DemoConfig:
    """What the demo does.

    Attributes:
        trials: measurements for each tuning task.
        seed: of weights, inputs and search.
        database: file of measured records; empty for the user's own.
        progress: show a progress bar.
    """

    trials: int = 48
    seed: int = 0
    database: str = ""
    progress: bool = True

    def options(self) -> BackendOptions:
        """The backend's options."""
        return BackendOptions(
            trials=self.trials,
            seed=self.seed,
            database=Path(self.database) if self.database else "",
            progress=self.progress,
        )


@dataclass(frozen=True)
class ModelReport:
    """One row of the demo.

    Attributes:
        name: of the model.
        eager_ms, inductor_ms, foretune_ms: median latency of a call.
        max_rel_error: largest difference from eager, relative to the largest output.
        num_tasks: distinct tuning tasks.
        num_trials: measurements made by this run.
        secs: to tune and compile.
    """

    name: str
    eager_ms: float
    inductor_ms: float
    foretune_ms: float
    max_rel_error: float
    num_tasks: int
    num_trials: int
    secs: float


@dataclass(frozen=True)
class DemoReport:
    """All rows."""

    models: list[ModelReport]

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {"models": [asdict(m) for m in self.models]}


@dataclass(frozen=True)
class _Tuned:
    """A model of the demo after tuning, and what the tuning did."""

    compiled: Callable
    inputs: tuple[torch.Tensor, ...]
    max_rel_error: float
    report: CompileReport
    secs: float


def run(config: DemoConfig) -> DemoReport:
    """Tunes, checks and times the demo's models.

    Raises:
        OptionError, DatabaseError, TargetError: the configuration cannot be used.
        WorkerError: an engine's process fails.
    """
    Backend(config.options())  # a wrong option, database or model file fails here, at once
    options = config.options().to_json()
    tuned = {case.name: _tune(case, config.seed, options) for case in DEMO_MODELS}
    latency = _time_engines(config.seed, tuned)
    return DemoReport(
        [
            _row(name, t, {engine: ms for (engine, model), ms in latency.items() if model == name})
            for name, t in tuned.items()
        ]
    )


def _row(name: str, tuned: _Tuned, ms: dict[str, float]) -> ModelReport:
    report = tuned.report
    return ModelReport(
        name,
        eager_ms=ms["eager"],
        inductor_ms=ms["inductor"],
        foretune_ms=ms["foretune"],
        max_rel_error=tuned.max_rel_error,
        num_tasks=report.num_tasks,
        num_trials=report.num_trials,
        secs=round(tuned.secs, 1),
    )


def _tune(case: ModelCase, seed: int, options: dict[str, Any]) -> _Tuned:
    model, inputs = make_case(case, seed)
    start = time.perf_counter()
    compiled = compile_with("foretune", model, options)
    with torch.no_grad():
        actual = compiled(*inputs)
        secs = time.perf_counter() - start
        expected = model(*inputs)
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    return _Tuned(compiled, inputs, error, compile_reports()[-1], secs)


def _time_engines(seed: int, tuned: dict[str, _Tuned]) -> dict[tuple[str, str], float]:
    """Median milliseconds of a call for (engine, model).

    Engines take turns, each in a process of its own; this process, which has tuned the models, is Foretune's.
    """
    times: dict[tuple[str, str], list[float]] = {(e, name): [] for e in ENGINES for name in tuned}
    with contextlib.ExitStack() as stack:
        processes = {}
        for engine in ENGINES:
            if engine != "foretune":
                processes[engine] = WorkerProcess(
                    "foretune.compiler.workloads.engine",
                    CompileModels(engine, seed, "DEMO_MODELS"),
                    _TIMEOUT_SECS,
                )
                stack.callback(processes[engine].close)
        with ThreadPoolExecutor(len(processes)) as pool:
            list(pool.map(lambda process: process.start(), processes.values()))
        for _ in range(_ROUNDS):
            for engine, name in times:
                if engine == "foretune":
                    times[engine, name] += time_calls(tuned[name].compiled, tuned[name].inputs, _BURST_SECS)
                    continue
                try:
                    reply = processes[engine].request(TimeCalls(name, _BURST_SECS), _TIMEOUT_SECS)
                except (Silence, Death) as error:
                    raise WorkerError(f"timing {engine} on {name} failed: {error}") from error
                if reply.status != "ok":
                    raise WorkerError(f"timing {engine} on {name} failed: {reply.error}")
                times[engine, name] += reply.run_ms
    return {key: statistics.median(values) for key, values in times.items()}
