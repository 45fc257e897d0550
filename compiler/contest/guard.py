"""Guard: of several ways to run a graph, the fastest that gives PyTorch's answers.

The contenders run on copies of the example inputs: first for their answers (`comparison.py`, `rounding.py`), then for
their speed (`race.py`). Where gradients are asked for, a run is forward and backward, and the gradients are compared as
well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from foretune.compiler.contest.choice import PYTORCH, Choice
from foretune.compiler.contest.comparison import asks_for_gradients, copies_of, largest_error, observe
from foretune.compiler.contest.race import mean_secs, race
from foretune.compiler.contest.repeat import Repeats, Unsettled
from foretune.compiler.contest.rounding import QUANTISED_ERROR, WatchForRounding, observe_widened
from foretune.compiler.measure.random_numbers import NoRandomOperators, RandomOperator
from foretune.compiler.observed.phases import phase
from foretune.compiler.torch_private import RestartAnalysis, get_metrics_context
from foretune.errors import UnsupportedError
from foretune.support.once import warn_once
from foretune.support.text import telling_line

_log = logging.getLogger("foretune")

_GLANCE_SECS = 1e-3
_TOO_SMALL_SECS = 5e-6
_RACE_SHARE, _FEWEST_RACE_SECS = 0.07, 1.0  # of the time that making the contenders took


def choose(
    reference: Callable,
    contenders: Mapping[str, Callable[[], Callable]],
    inputs: Sequence[Any],
    tolerance: float,
    better: Mapping[str, Sequence[str]] = {},
    racing: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    repeats: Repeats | None = None,
) -> tuple[Callable, Choice]:
    """Runs PyTorch's own graph against others.

    Args:
        reference: PyTorch's.
        contenders: name -> makes the contender; what it raises is a reason to do without it.
        inputs: example inputs; none of them is changed.
        tolerance: largest error accepted, relative to the largest magnitude of each reference output.
        better: name -> contenders made before it, of which one that takes part makes this one needless.
        racing: makes what is entered while the contenders take turns.
        repeats: has a contest that is not settled go on while the program runs; None for contests that end here, as
            those of training do.

    Returns:
        (what runs the graph from now on, how that came).
    """
    from foretune.compiler.measure.quietness import Quietness

    choice = Choice()
    trains = asks_for_gradients(inputs)
    with _random_numbers_kept() as first_run:
        try:
            with first_run:
                expected = observe(reference, inputs, trains)
            with WatchForRounding() as watch:
                again = observe(reference, inputs, trains, expected.changed)
        except RandomOperator as error:
            choice.refused = dict.fromkeys(contenders, str(error))
            return reference, choice
        except Exception as error:  # the user's own program fails, and will say so when it is called
            choice.refused = dict.fromkeys(contenders, f"PyTorch's own run fails: {telling_line(error)}")
            return reference, choice
        if largest_error(expected, again) > tolerance:
            choice.refused = dict.fromkeys(
                contenders, "two runs of PyTorch's own differ, as those of random operators do"
            )
            return reference, choice
        if (secs := mean_secs(reference, copies_of(inputs, expected.changed), trains, _GLANCE_SECS)) < _TOO_SMALL_SECS:
            choice.ms[PYTORCH] = secs * 1e3
            choice.refused = dict.fromkeys(contenders, f"PyTorch needs {secs * 1e6:.1f} us, as much as handing over")
            return reference, choice
        exact = observe_widened(reference, inputs, trains, expected.changed) if watch.to_16_bits else None
        tolerance += QUANTISED_ERROR if watch.quantises else 0.0
        runs, start = {PYTORCH: reference}, time.perf_counter()
        for name, make in contenders.items():
            if instead := [other for other in better.get(name, ()) if other in runs]:
                choice.refused[name] = f"{instead[0]} takes its place"
                continue
            try:
                with _metrics_of_its_own():
                    run = make()
                    error = largest_error(expected, observe(run, inputs, trains, expected.changed), exact)
            except RestartAnalysis:  # Dynamo shall trace the program once more, with guards on what was found out
                raise
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
        if len(runs) == 1:
            choice.ms[PYTORCH] = secs * 1e3
            return reference, choice
        most_secs = max(_FEWEST_RACE_SECS, _RACE_SHARE * (time.perf_counter() - start))
        quiet = Quietness([os.getpid()])
        with phase("contest"), racing():
            result = race(runs, inputs, expected.changed, trains, most_secs)
    choice.note(result, result.winner, quiet.is_disturbed())
    if repeats is None or trains or choice.is_sure:
        return runs[choice.name], choice
    return Unsettled(runs, result, choice, expected.changed, repeats), choice


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
