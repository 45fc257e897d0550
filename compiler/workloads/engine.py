"""The process that times one engine: `python -m foretune.compiler.workloads.engine`.

Engines are timed in processes of their own, because the thread pools of PyTorch and TVM spin against
each other when calls alternate in one process. The parent (`demo.py`) lets them run in turns.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from foretune.compiler.contest.comparison import rel_error
from foretune.compiler.workloads.models import ModelCase

ENGINES = ("eager", "inductor", "foretune")
MAX_AUTOTUNE, FREEZING = "inductor max-autotune", "inductor freezing"


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
        from torch._inductor import config

        config.freezing = True  # for the whole process: Dynamo looks at it while it traces
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


def serve(hello: dict[str, Any], own: Sequence[ModelCase] = ()) -> Iterator[dict[str, Any]]:
    """Compiles the models and answers requests `{"model", "secs"}` with the times of calls.

    Args:
        hello: `engine`, `seed`, `cases` (`DEMO_MODELS` or `BENCHMARK_MODELS`), and optionally `only` (names) and
            `options`.
        own: models in place of `cases`.

    Yields:
        What compiling took; then, for each request sent in, the times.
    """
    from foretune.compiler.workloads.models import DEMO_MODELS
    from foretune.compiler.workloads.suite import BENCHMARK_MODELS

    known = own or {"DEMO_MODELS": DEMO_MODELS, "BENCHMARK_MODELS": BENCHMARK_MODELS}[hello["cases"]]
    cases = {
        case.name: make_case(case, hello["seed"])
        for case in known
        if case.name in hello.get("only", [c.name for c in known])
    }
    compiled, made = {}, {}
    with torch.no_grad():
        for name, (model, inputs) in cases.items():
            expected = model(*copy.deepcopy(inputs))
            start = time.perf_counter()
            compiled[name] = compile_with(hello["engine"], model, hello.get("options"))
            actual = compiled[name](*copy.deepcopy(inputs))
            made[name] = {"compile_secs": time.perf_counter() - start, "max_rel_error": outputs_error(expected, actual)}
    request = yield {
        "made": made,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "reports": reports(),
    }
    while True:
        times = time_calls(compiled[request["model"]], cases[request["model"]][1], request["secs"])
        request = yield {"run_ms": times}


def reports() -> list[dict[str, Any]]:
    """What Foretune's backend did in this process, if it was asked."""
    backend = sys.modules.get("foretune.compiler.pytorch.backend")
    return [report.to_json() for report in backend.compile_reports()] if backend is not None else []


def main(own: Sequence[ModelCase] = ()) -> None:
    """Serves until stdin closes; models of the caller's own, if there are any."""
    warnings.simplefilter("ignore")
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    server = serve(json.loads(sys.stdin.readline()), own)
    reply = next(server)
    while True:
        replies.write(json.dumps({"status": "ok", **reply}) + "\n")
        line = sys.stdin.readline()
        if not line:
            return
        reply = server.send(json.loads(line))


if __name__ == "__main__":
    main()
