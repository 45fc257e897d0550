"""The demo: compiles a small CNN and a small transformer and compares with eager and Inductor."""

from __future__ import annotations

import contextlib
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from foretune.compiler.backend import compile_reports
from foretune.compiler.engine import ENGINES, compile_with, make_case
from foretune.compiler.models import DEMO_MODELS
from foretune.compiler.options import BackendOptions
from foretune.compiler.process import Death, Silence, WorkerProcess
from foretune.errors import WorkerError

_ROUNDS = 7
_BURST_SECS = 0.25
_START_TIMEOUT_SECS = 600.0


@dataclass(frozen=True)
class DemoConfig:
    """What the demo does.

    Attributes:
        trials: measurements for each tuning task.
        seed: of weights, inputs and search.
        database: file of measured records; empty for the user's own.
        progress: show a progress bar.
    """

    trials: int = 64
    seed: int = 0
    database: str = ""
    progress: bool = True

    def options(self) -> BackendOptions:
        """The backend's options."""
        return BackendOptions(trials=self.trials, seed=self.seed, database=Path(self.database) if self.database else "", progress=self.progress)


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


def run(config: DemoConfig) -> DemoReport:
    """Tunes, checks and times the demo's models.

    Raises:
        OptionError, DatabaseError, TargetError: the configuration cannot be used.
        WorkerError: an engine's process fails.
    """
    options = {**config.options().to_json()}
    rows = {case.name: _tune(case, config.seed, options) for case in DEMO_MODELS}
    latency = _time_engines(config.seed, {**options, "progress": False})
    return DemoReport(
        [
            ModelReport(name, *(latency[engine, name] for engine in ENGINES), error, report.num_tasks, report.num_trials, round(secs, 1))
            for name, (error, report, secs) in rows.items()
        ]
    )


def _tune(case, seed: int, options: dict[str, Any]) -> tuple:
    model, inputs = make_case(case, seed)
    start = time.perf_counter()
    with torch.no_grad():
        expected = model(*inputs)
        actual = compile_with("foretune", model, options)(*inputs)
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    return error, compile_reports()[-1], time.perf_counter() - start


def _time_engines(seed: int, options: dict[str, Any]) -> dict[tuple[str, str], float]:
    """Median milliseconds of a call for (engine, model); engines take turns, each in its own process."""
    times: dict[tuple[str, str], list[float]] = {(e, c.name): [] for e in ENGINES for c in DEMO_MODELS}
    with contextlib.ExitStack() as stack:
        processes = {}
        for engine in ENGINES:
            hello = {"engine": engine, "seed": seed, "options": options, "cases": "DEMO_MODELS"}
            processes[engine] = WorkerProcess("foretune.compiler.engine", hello, _START_TIMEOUT_SECS)
            stack.callback(processes[engine].close)
        with ThreadPoolExecutor(len(ENGINES)) as pool:
            list(pool.map(lambda process: process.start(), processes.values()))
        for _ in range(_ROUNDS):
            for engine, name in times:
                try:
                    reply = processes[engine].request({"model": name, "secs": _BURST_SECS}, _START_TIMEOUT_SECS)
                except (Silence, Death) as error:
                    raise WorkerError(f"timing {engine} on {name} failed: {error}") from error
                times[engine, name] += reply["run_ms"]
    return {key: statistics.median(values) for key, values in times.items()}
