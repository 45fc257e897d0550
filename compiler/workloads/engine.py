"""The process that times one engine: `python -m foretune.compiler.workloads.engine`.

Engines are timed in processes of their own, because the thread pools of PyTorch and TVM spin against
each other when calls alternate in one process. The parent (`demo.py`) lets them run in turns.
"""

from __future__ import annotations

import copy
import resource
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from foretune.compiler.contest.comparison import rel_error
from foretune.compiler.workloads.models import ModelCase
from foretune.workers.messages import Reply, Request
from foretune.workers.serve import Service, serve

ENGINES = ("eager", "inductor", "foretune")
MAX_AUTOTUNE, FREEZING = "inductor max-autotune", "inductor freezing"


@dataclass(frozen=True)
class Made:
    """What compiling one model took, in seconds, and the largest error of its outputs (lower is better)."""

    compile_secs: float
    max_rel_error: float


@dataclass(frozen=True)
class Compiled(Reply):
    """What compiling took.

    Attributes:
        made: by name of the model.
        peak_bytes: most memory that the process had.
        reports: what Foretune's backend did, as JSON data.
    """

    made: dict[str, Made] = field(default_factory=dict)
    peak_bytes: int = 0
    reports: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class CompileModels(Request[Compiled]):
    """The greeting: compiles models.

    Attributes:
        engine: of `ENGINES`, or `MAX_AUTOTUNE`.
        seed: of weights and inputs.
        cases: `DEMO_MODELS` or `BENCHMARK_MODELS`.
        only: names of models; empty for all of them.
        options: the engine's own.
    """

    engine: str
    seed: int
    cases: str
    only: tuple[str, ...] = ()
    options: dict[str, Any] | None = None


@dataclass(frozen=True)
class CallTimes(Reply):
    """`run_ms`: milliseconds of each call."""

    run_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class TimeCalls(Request[CallTimes]):
    """Calls a model, by name, for so many seconds."""

    model: str
    secs: float


def make_case(case: ModelCase, seed: int) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """A model with random weights, in evaluation mode, and its inputs; the same for the same seed."""
    torch.manual_seed(seed)
    return case.make().eval(), case.inputs()


def compile_with(engine: str, model: torch.nn.Module, options: dict[str, Any] | None = None) -> Callable:
    """The model as an engine runs it; options are the engine's own."""
    if engine == "eager":
        return model
    if engine == MAX_AUTOTUNE:
        return torch.compile(model, mode="max-autotune-no-cudagraphs")
    if engine == FREEZING:
        from foretune.compiler.torch_private import inductor_config

        inductor_config.freezing = True  # for the whole process: Dynamo looks at it while it traces
        return torch.compile(model)
    return torch.compile(model, backend=engine, options=options)


def time_calls(run: Callable, inputs: Sequence[torch.Tensor], secs: float) -> list[float]:
    """Milliseconds of each call within a span of time, after a warm-up."""
    times: list[float] = []
    with torch.no_grad():
        for _ in range(5):
            run(*inputs)
        end = time.perf_counter() + secs
        while time.perf_counter() < end:
            start = time.perf_counter()
            run(*inputs)
            times.append((time.perf_counter() - start) * 1e3)
    return times


def outputs_error(expected: Any, actual: Any) -> float:
    """Largest error of a model's outputs, relative to the largest magnitude of each."""
    pairs = [(expected, actual)] if isinstance(expected, torch.Tensor) else zip(expected, actual, strict=True)
    return max(rel_error(e, a) for e, a in pairs)


def start(hello: CompileModels, own: Sequence[ModelCase] = ()) -> Service:
    """Compiles the models, or the caller's own in place of ours; the service times them."""
    from foretune.compiler.workloads.models import DEMO_MODELS
    from foretune.compiler.workloads.suite import BENCHMARK_MODELS

    warnings.simplefilter("ignore")
    known = own or {"DEMO_MODELS": DEMO_MODELS, "BENCHMARK_MODELS": BENCHMARK_MODELS}[hello.cases]
    cases = {case.name: make_case(case, hello.seed) for case in known if case.name in hello.only or not hello.only}
    compiled, made = {}, {}
    with torch.no_grad():
        for name, (model, inputs) in cases.items():
            expected = model(*copy.deepcopy(inputs))
            begin = time.perf_counter()
            compiled[name] = compile_with(hello.engine, model, hello.options)
            actual = compiled[name](*copy.deepcopy(inputs))
            made[name] = Made(time.perf_counter() - begin, outputs_error(expected, actual))
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def time_model(request: TimeCalls) -> CallTimes:
        return CallTimes(run_ms=tuple(time_calls(compiled[request.model], cases[request.model][1], request.secs)))

    welcome = Compiled(made=made, peak_bytes=peak_bytes, reports=tuple(reports()))
    return Service(welcome, {TimeCalls: time_model})


def reports() -> list[dict[str, Any]]:
    """What Foretune's backend did in this process, if it was asked."""
    backend = sys.modules.get("foretune.compiler.pytorch.backend")
    return [report.to_json() for report in backend.compile_reports()] if backend is not None else []


if __name__ == "__main__":
    serve({CompileModels: start})
