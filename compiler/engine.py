"""The process that times one engine: `python -m foretune.compiler.engine`.

Engines are timed in processes of their own, because the thread pools of PyTorch and TVM spin against
each other when calls alternate in one process. The parent (`demo.py`) lets them run in turns.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from foretune.compiler.models import ModelCase

ENGINES = ("eager", "inductor", "foretune")


def make_case(case: ModelCase, seed: int) -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """A model with random weights, in evaluation mode, and its inputs; the same for the same seed."""
    torch.manual_seed(seed)
    return case.make().eval(), case.inputs()


def compile_with(engine: str, model: torch.nn.Module, options: dict[str, Any] | None = None) -> Callable:
    """The model as an engine runs it; options are the engine's own."""
    return model if engine == "eager" else torch.compile(model, backend=engine, options=options)


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


def main() -> None:
    """Serves requests `{"model", "secs"}` until stdin closes."""
    from foretune.compiler import models

    warnings.simplefilter("ignore")
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    hello = json.loads(sys.stdin.readline())
    cases = {case.name: make_case(case, hello["seed"]) for case in getattr(models, hello["cases"])}
    compiled = {}
    with torch.no_grad():
        for name, (model, inputs) in cases.items():
            compiled[name] = compile_with(hello["engine"], model)
            compiled[name](*inputs)
    replies.write(json.dumps({"status": "ok"}) + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        times = time_calls(compiled[request["model"]], cases[request["model"]][1], request["secs"])
        replies.write(json.dumps({"status": "ok", "run_ms": times}) + "\n")


if __name__ == "__main__":
    main()
