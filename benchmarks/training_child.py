"""The process of one engine and one model of `training.py`."""

from __future__ import annotations

import copy
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from training_cases import SIZES, Batch, TrainingCase

from foretune.compiler.contest.comparison import rel_error
from foretune.compiler.workloads.engine import (
    CallTimes,
    Compiled,
    CompileModels,
    Made,
    TimeCalls,
    compile_with,
    reports,
)
from foretune.workers.serve import Service, serve

_LEARNING_RATE, _WARM_UP_STEPS = 1e-3, 3
_VANISHING = 1e-3  # gradients so much smaller than the largest are sums that cancel, as in the guard


class Training:
    """Steps of plain SGD on one batch: forward, backward, update.

    Args:
        model: is trained.
        forward: how it is called; the model, compiled or not.
        case: has the loss.
        batch: the same in each step.
    """

    def __init__(self, model: nn.Module, forward: Callable, case: TrainingCase, batch: Batch) -> None:
        self._model, self._forward, self._loss = model, forward, case.loss
        self._inputs, self._classes = batch
        self._optimizer = torch.optim.SGD(model.parameters(), _LEARNING_RATE)

    def gradients(self) -> list[torch.Tensor]:
        """The loss, and gradients of all parameters, without an update."""
        loss = self._loss(self._forward(self._inputs), self._classes)
        loss.backward()
        return [loss.detach(), *(p.grad.clone() for p in self._model.parameters() if p.grad is not None)]

    def step(self) -> None:
        """Takes a step."""
        self._optimizer.zero_grad(set_to_none=True)
        self._loss(self._forward(self._inputs), self._classes).backward()
        self._optimizer.step()

    def step_ms(self, secs: float) -> list[float]:
        """Milliseconds of each step within a span of time, after a warm-up."""
        times: list[float] = []
        for _ in range(_WARM_UP_STEPS):
            self.step()
        end = time.perf_counter() + secs
        while time.perf_counter() < end or not times:
            start = time.perf_counter()
            self.step()
            times.append((time.perf_counter() - start) * 1e3)
        return times


def largest_error(expected: list[torch.Tensor], actual: list[torch.Tensor]) -> float:
    """Of the loss and the gradients, relative to the largest magnitude of each; lower is better."""
    floor = _VANISHING * max(float(gradient.abs().max()) for gradient in expected[1:])
    return max(rel_error(e, a, floor) for e, a in zip(expected, actual, strict=True))


def start(hello: CompileModels) -> Service:
    """Compiles a model and takes the first gradients."""
    warnings.simplefilter("ignore")
    (case,) = (case for case in SIZES[hello.cases] if case.name in hello.only)
    torch.manual_seed(hello.seed)
    model, batch = case.make(), case.make_batch()
    expected = Training(plain := copy.deepcopy(model), plain, case, batch).gradients()
    begin = time.perf_counter()
    training = Training(model, compile_with(hello.engine, model, hello.options), case, batch)
    actual = training.gradients()
    made = Made(time.perf_counter() - begin, largest_error(expected, actual))
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    welcome = Compiled(made={case.name: made}, peak_bytes=peak_bytes, reports=tuple(reports()))
    return Service(welcome, {TimeCalls: lambda request: CallTimes(run_ms=tuple(training.step_ms(request.secs)))})


if __name__ == "__main__":
    serve({CompileModels: start})
