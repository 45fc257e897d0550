"""Guard: of several ways to run a graph, the fastest that gives PyTorch's answers.

The contenders run in turns on copies of the example inputs, in bursts with a pause between them, because the thread
pools of PyTorch and TVM spin on for a while after each call. Where gradients are asked for, a run is forward and
backward, and the gradients are compared as well.
"""

from __future__ import annotations

import contextlib
import logging
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from foretune.compiler.measure.random_numbers import NoRandomOperators, RandomOperator
from foretune.compiler.torch_private import clone_preserve_strides, get_metrics_context
from foretune.errors import UnsupportedError
from foretune.support.once import warn_once
from foretune.support.text import telling_line

_log = logging.getLogger("foretune")

PYTORCH = "pytorch"
_ROUNDS, _BURST_SECS, _PAUSE_SECS = 7, 0.01, 0.005
_MOST_SECS = 20.0  # for all rounds of slow graphs; there are two at least
_TOO_SMALL_SECS = 5e-6
_SMALLEST = 1e-6  # magnitude that errors are relative to, at least
_VANISHING = 1e-3  # gradients so much smaller than the largest are sums that cancel
_COARSE, _ROUNDINGS = 1e-4, 4.0  # types with such an epsilon may differ by so many of it


@dataclass
class Choice:
    """What became of a contest.

    Attributes:
        name: of the contender that runs the graph.
        ms: name -> median milliseconds of a call, of those that took part.
        refused: name -> why it did not take part.
    """

    name: str = PYTORCH
    ms: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def choose(
    reference: Callable, contenders: Mapping[str, Callable[[], Callable]], inputs: Sequence[Any], tolerance: float
) -> tuple[Callable, Choice]:
    """Runs PyTorch's own graph against others.

    Args:
        reference: PyTorch's.
        contenders: name -> makes the contender; what it raises is a reason to do without it.
        inputs: example inputs; none of them is changed.
        tolerance: largest error accepted, relative to the largest magnitude of each reference output.

    Returns:
        (what runs the graph from now on, how that came).
    """
    choice = Choice()
    trains = asks_for_gradients(inputs)
    with _random_numbers_kept() as first_run:
        try:
            with first_run:
                expected = _observe(reference, inputs, trains)
            again = _observe(reference, inputs, trains, expected.changed)
        except RandomOperator as error:
            choice.refused = dict.fromkeys(contenders, str(error))
            return reference, choice
        except Exception as error:  # the user's own program fails, and will say so when it is called
            choice.refused = dict.fromkeys(contenders, f"PyTorch's own run fails: {telling_line(error)}")
            return reference, choice
        if _largest_error(expected, again) > tolerance:
            choice.refused = dict.fromkeys(
                contenders, "two runs of PyTorch's own differ, as those of random operators do"
            )
            return reference, choice
        if (
            secs := mean_secs(reference, _copies(inputs, expected.changed), trains, _BURST_SECS / 10)
        ) < _TOO_SMALL_SECS:
            choice.ms[PYTORCH] = secs * 1e3
            choice.refused = dict.fromkeys(contenders, f"PyTorch needs {secs * 1e6:.1f} us, as much as handing over")
            return reference, choice
        runs = {PYTORCH: reference}
        for name, make in contenders.items():
            try:
                with _metrics_of_its_own():
                    run = make()
                    error = _largest_error(expected, _observe(run, inputs, trains, expected.changed))
            except UnsupportedError as failure:
                choice.refused[name] = str(failure)
                continue
            except Exception as failure:  # compilers raise errors of every kind; the graph runs without this one
                choice.refused[name] = f"{type(failure).__name__}: {telling_line(failure)}"
                warn_once(_log, "the graph runs without %s: %s", name, choice.refused[name])
                continue
            if error > tolerance:
                choice.refused[name] = f"differs from PyTorch by {error:.3g} (tolerance {tolerance:.3g})"
                warn_once(
                    _log,
                    "the graph compiled by %s differs from PyTorch's by %.3g (tolerance %.3g) and is not used",
                    name,
                    error,
                    tolerance,
                )
            else:
                runs[name] = run
        choice.ms = _race(runs, inputs, expected.changed, trains) if len(runs) > 1 else {PYTORCH: secs * 1e3}
    choice.name = min(choice.ms, key=lambda name: choice.ms[name])
    return runs[choice.name], choice


def asks_for_gradients(inputs: Sequence[Any]) -> bool:
    """Whether a run on these inputs would be followed by one backward."""
    return torch.is_grad_enabled() and any(isinstance(x, torch.Tensor) and x.requires_grad for x in inputs)


@contextlib.contextmanager
def _random_numbers_kept() -> Iterator[contextlib.AbstractContextManager]:
    """Leaves PyTorch's random numbers as they are; gives what the first run goes under.

    The user's own thread waits for the contest, so that the state can be put back. Beside other threads, which may draw
    numbers meanwhile, that would have them drawn again: there no operator draws any.
    """
    if threading.current_thread() is threading.main_thread():
        with torch.random.fork_rng(devices=[]):
            yield contextlib.nullcontext()
    else:
        yield NoRandomOperators()


@contextlib.contextmanager
def _metrics_of_its_own() -> Iterator[None]:
    """Lets a graph be compiled once more: Dynamo notes figures of each compilation, and raises if one is noted
    twice.
    """
    context = get_metrics_context()
    if not context.in_progress():  # nothing is noted, as in the background
        yield
        return
    kept = context._metrics, context._edits
    context._metrics, context._edits = {}, []
    try:
        yield
    finally:
        context._metrics, context._edits = kept


def _race(
    runs: Mapping[str, Callable], inputs: Sequence[Any], changed: frozenset[int], trains: bool
) -> dict[str, float]:
    """Median milliseconds of a call of each, measured in turns."""
    copies = {name: _copies(inputs, changed) for name in runs}
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + _MOST_SECS
    for number in range(_ROUNDS):
        for name, run in runs.items():
            time.sleep(_PAUSE_SECS)
            times[name].append(mean_secs(run, copies[name], trains, _BURST_SECS))
        if number and time.perf_counter() > end:
            break
    return {name: statistics.median(values) * 1e3 for name, values in times.items()}


def mean_secs(run: Callable, inputs: Sequence[Any], trains: bool, secs: float) -> float:
    """Seconds of a call, on average over a span of time; the first ones do not count."""
    _call(run, inputs, trains)
    start = time.perf_counter()
    _call(run, inputs, trains)
    number = max(1, min(10_000, int(secs / max(time.perf_counter() - start, 1e-9))))
    start = time.perf_counter()
    for _ in range(number):
        _call(run, inputs, trains)
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return (time.perf_counter() - start) / number


def _call(run: Callable, inputs: Sequence[Any], trains: bool) -> tuple[Any, Sequence[torch.Tensor | None]]:
    """(outputs, gradients) of one run."""
    outputs = run(*inputs)
    if not trains:
        return outputs, ()
    sources = [x for x in inputs if isinstance(x, torch.Tensor) and x.requires_grad]
    ends = [y for y in _flat(outputs) if isinstance(y, torch.Tensor) and y.requires_grad and y.grad_fn is not None]
    if not ends:
        return outputs, ()
    return outputs, torch.autograd.grad(ends, sources, [torch.ones_like(y) for y in ends], allow_unused=True)


@dataclass(frozen=True)
class _Observed:
    """All that a run leaves.

    Attributes:
        outputs: with the values of changed inputs behind them.
        gradients: of those inputs that have any.
        changed: positions of the inputs that were changed in place.
        shared: for each output and then each input, the first of all these that it shares memory with.
    """

    outputs: list[Any]
    gradients: list[Any]
    changed: frozenset[int]
    shared: tuple[int, ...]


def _observe(run: Callable, inputs: Sequence[Any], trains: bool, changed: frozenset[int] | None = None) -> _Observed:
    """Runs on copies; which inputs it changes is told by their values, where it is not known.

    Versions do not tell it: batch norm changes its running statistics without a new one.
    """
    copies = _copies(inputs, changed)
    outputs, gradients = _call(run, copies, trains)
    if changed is None:
        changed = frozenset(
            i for i, (x, y) in enumerate(zip(inputs, copies)) if isinstance(x, torch.Tensor) and not torch.equal(x, y)
        )
    shared = _shared_memory([*_flat(outputs), *copies])
    return _Observed(
        [*map(_kept, _flat(outputs)), *(_kept(copies[i]) for i in sorted(changed))],
        [*map(_kept, gradients)],
        changed,
        shared,
    )


def _shared_memory(values: Sequence[Any]) -> tuple[int, ...]:
    """Of each value, the position of the first one with the same storage."""
    first: dict[Any, int] = {}
    return tuple(first.setdefault(_storage_of(value) or ("none", i), i) for i, value in enumerate(values))


def _storage_of(value: Any) -> int:
    """The address of a tensor's memory; 0 if it has none."""
    return (
        value.untyped_storage().data_ptr() if isinstance(value, torch.Tensor) and value.layout == torch.strided else 0
    )


def _kept(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _flat(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


def _copies(inputs: Sequence[Any], changed: frozenset[int] | None = None) -> list[Any]:
    """Inputs to run on: copies, or only of those that a run changes, where that is known.

    What is the same tensor stays so, and symbolic sizes become the numbers that they stand for.
    """
    copied: dict[int, Any] = {}
    for i, x in enumerate(inputs):
        if id(x) not in copied:
            copied[id(x)] = _copy(x, changed is None or i in changed)
    return [copied[id(x)] for x in inputs]


def _copy(x: Any, changes: bool) -> Any:
    if isinstance(x, (torch.SymInt, torch.SymFloat, torch.SymBool)):
        return x.node.hint
    if not isinstance(x, torch.Tensor) or not changes:
        return x
    return clone_preserve_strides(x.detach()).requires_grad_(x.requires_grad)


def _largest_error(expected: _Observed, actual: _Observed) -> float:
    if len(expected.outputs) != len(actual.outputs) or len(expected.gradients) != len(actual.gradients):
        return math.inf
    if expected.shared != actual.shared:  # a caller who writes to one would change another
        return math.inf
    floor = _VANISHING * max((_scale(g) for g in expected.gradients if isinstance(g, torch.Tensor)), default=0.0)
    errors = [_error(e, a) for e, a in zip(expected.outputs, actual.outputs)]
    errors += [_error(e, a, floor) for e, a in zip(expected.gradients, actual.gradients)]
    return max(errors, default=0.0)


def _error(expected: Any, actual: Any, floor: float = 0.0) -> float:
    if isinstance(expected, torch.Tensor) and isinstance(actual, torch.Tensor):
        return rel_error(expected, actual, floor)
    return 0.0 if type(expected) is type(actual) and expected == actual else math.inf


def rel_error(expected: torch.Tensor, actual: torch.Tensor, floor: float = 0.0) -> float:
    """Largest difference relative to the largest finite expected magnitude, or to `floor` if that is more.

    Of 16-bit types it is the error beyond what their rounding explains. Infinite where shapes, types, NaNs or
    infinities disagree, or integers differ.
    """
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return math.inf
    if not (expected.is_floating_point() or expected.is_complex()):
        return 0.0 if torch.equal(expected, actual) else math.inf
    wide = torch.complex128 if expected.is_complex() else torch.float64
    eps = torch.finfo(expected.dtype).eps
    expected, actual = expected.detach().to(wide), actual.detach().to(wide)
    finite = expected.isfinite()
    if not torch.equal(finite, actual.isfinite()) or not torch.equal(
        expected[~finite].nan_to_num(), actual[~finite].nan_to_num()
    ):
        return math.inf
    difference = (expected - actual).abs()[finite]
    if not difference.numel():
        return 0.0
    error = difference.max().item() / max(_scale(expected), floor, _SMALLEST)
    return max(0.0, error - _ROUNDINGS * eps) if eps > _COARSE else error


def _scale(x: torch.Tensor) -> float:
    magnitudes = x.detach().abs()[x.isfinite()]
    return magnitudes.max().item() if magnitudes.numel() else 0.0
