"""The torch.compile backend: `torch.compile(model, backend="foretune", options={...})`.

Dynamo hands over a graph; AOTAutograd makes it functional ATen; what Relax can import becomes regions
that are tuned and compiled with TVM; the rest stays with PyTorch. The guard then compares the whole with
PyTorch's own kernels and with Inductor, and the fastest one runs the graph.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from foretune.compiler.caches.mega_cache import bring_to, record_artifacts
from foretune.compiler.contest.choice import PYTORCH, Choice
from foretune.compiler.contest.comparison import asks_for_gradients
from foretune.compiler.contest.guard import choose
from foretune.compiler.contest.own import AllSizes, OwnContests
from foretune.compiler.contest.repeat import Repeats
from foretune.compiler.contest.sizes import BySize
from foretune.compiler.graphs.effects import changed_inputs, effect_of
from foretune.compiler.graphs.sizes import put_in_sizes
from foretune.compiler.libraries.times import LibraryTimes
from foretune.compiler.measure.lock import Waiting
from foretune.compiler.observed import logs
from foretune.compiler.observed.graph_trace import compile_id, trace_graph
from foretune.compiler.pytorch.background import Switch, in_background, tune_in_background
from foretune.compiler.pytorch.beside import PutOff
from foretune.compiler.pytorch.compile_phases import COMPILE, CONTEST, RUN, expected_secs
from foretune.compiler.pytorch.explain import describe
from foretune.compiler.pytorch.graph_report import CompileReport, compile_reports, forget_graph, note_graph
from foretune.compiler.pytorch.inductor import FrozenGraph, InductorGraphs, is_weight, own_graph
from foretune.compiler.pytorch.loading import Loading
from foretune.compiler.pytorch.options import BackendOptions
from foretune.compiler.pytorch.precision import in_precision
from foretune.compiler.pytorch.static_inputs import StaticInputs
from foretune.compiler.pytorch.tvm_graph import TvmGraph
from foretune.compiler.torch_private import (
    CompileId,
    FakeTensor,
    FakeTensorMode,
    RestartAnalysis,
    TracingContext,
    functorch_config,
    tracing,
)
from foretune.datasets.records.database import Database
from foretune.errors import OptionError, UnsupportedError
from foretune.support.memory import give_back
from foretune.support.once import warn_once
from foretune.support.optional import expect
from foretune.support.phases import Phases, phases_line
from foretune.support.text import telling_line
from foretune.target import Target
from foretune.trace import Trace

if TYPE_CHECKING:  # they need TVM, which is loaded beside Inductor
    from foretune.compiler.metaschedule.tuner import Tuner
    from foretune.costmodel.latent.model import LatentCostModel

__all__ = ["MODES", "TVM", "Backend", "compile_reports", "foretune_backend"]

_log = logs.LOG
logs.register()

for _package in ("tvm", "tvm_ffi", "psutil"):  # `torch.compile` says so, and not the first call
    expect(_package, "scheduling tensor programs")

TVM, MIXED = "tvm", "tvm, products in libraries"
INDUCTOR, ONEDNN, FROZEN = "inductor", "inductor, products in oneDNN", "inductor, weights frozen"
CONTENDERS = (PYTORCH, TVM, MIXED, INDUCTOR, ONEDNN, FROZEN)
_PLAINER = {MIXED: TVM, ONEDNN: INDUCTOR}  # who runs a graph for which there is no such contender
_BETTER = {INDUCTOR: (FROZEN, ONEDNN), ONEDNN: (FROZEN,)}  # who differs by faster products alone
MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def foretune_backend(
    gm: torch.fx.GraphModule,
    example_inputs: Sequence[Any],
    *,
    options: dict[str, Any] | None = None,
    mode: str | None = None,
) -> Callable:
    """Compiles a Dynamo graph; see `BackendOptions` for the options.

    Args:
        gm: as Dynamo hands it over.
        example_inputs: real ones; symbolic sizes are among them where shapes are dynamic.
        options: of Foretune.
        mode: one of PyTorch's; it goes to Inductor, which Foretune's result is compared with.

    Raises:
        OptionError, TargetError, DatabaseError, ModelError: what the user gave cannot be used.
    """
    if mode not in MODES:
        raise OptionError(f"mode must be one of {list(MODES)} with backend 'foretune', but got {mode!r}")
    return Backend(BackendOptions.from_dict(options), mode).compile(gm, example_inputs)


class Backend:
    """Compiles Dynamo's graphs with one set of options.

    Args:
        options: the user's.
        mode: one of PyTorch's, for Inductor.
        only: the contender to use without a contest; TVM's where the guard is off.

    Raises:
        TargetError, DatabaseError, ModelError: at once, before anything is compiled.
    """

    def __init__(self, options: BackendOptions, mode: str | None = None, only: str | None = None) -> None:
        self.options, self.mode = options, mode
        self.only = only or (None if options.guard else TVM)
        self.database = Database(options.database)
        bring_to(self.database)
        self._loading = Loading(options.target, None if options.cost_model is None else Path(options.cost_model))
        if options.target != "auto" or options.cost_model is not None:
            self._loading.result()
        self._picks: dict[tuple[str, str], Trace] = {}

    @property
    def target(self) -> Target:
        """Where kernels run; loads TVM."""
        return self._loading.result().target

    @property
    def model(self) -> LatentCostModel:
        """Ranks schedules; loads what it is computed with."""
        return self._loading.result().model

    def compile(self, gm: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable:
        """The graph as the fastest of its compilers runs it, or, without the guard, as TVM does."""
        expected = expected_secs(len(gm.graph.nodes), self.options)
        with phases_line("compiling", expected, self.options.progress) as phases:
            run = self._compile(gm, inputs, phases)
        if CONTEST in phases.took_secs:
            give_back()  # what lost is gone by now
        _log.info("compiled: %s", ", ".join(f"{name} {secs:.1f} s" for name, secs in phases.took_secs.items()))
        return run

    def _compile(self, gm: torch.fx.GraphModule, inputs: Sequence[Any], phases: Phases) -> Callable:
        start = time.perf_counter()
        report = CompileReport()
        note_graph(report, filter(is_weight, inputs))
        if self.options.precision is not None:
            gm = in_precision(gm, self.options.precision)
        symbols = {i: str(x.node.expr) for i, x in enumerate(inputs) if isinstance(x, torch.SymInt)}
        saves = bool(functorch_config.bundled_autograd_cache)  # PyTorch is about to write what it gets to a file
        later = None
        if self.options.background and self.options.trials and not asks_for_gradients(inputs) and not saves:
            later = []
        times = LibraryTimes(lambda: StaticInputs(self.options.freeze))
        tvm = TvmGraph(gm, inputs, self.options, self._loading, self.tuner, report, times, phases)
        graphs = InductorGraphs(gm, inputs, times, self.mode)
        only = self.only or (TVM if any(isinstance(x, FakeTensor) for x in inputs) else None)

        def beside_tvm(make: Callable[[], Callable]) -> Callable:
            if only is None and not symbols and not saves:
                tvm.begin()
            with phases.phase(COMPILE):
                return make()

        def kept(run: Callable) -> Callable:
            if not saves:
                return run
            from foretune.compiler.pytorch import serialized

            return serialized.kernel_graph(run, tvm.regions_of(run), self.target, self.options.target)

        inductor = lru_cache(lambda: beside_tvm(graphs.to_be_saved if saves else graphs.as_it_is))
        contenders: dict[str, Callable[[], Callable]] = {  # in the order in which they are made
            FROZEN: lru_cache(
                lambda: beside_tvm(lambda: FrozenGraph(gm, inputs, graphs.as_it_is, self.mode, times=times))
            ),
            ONEDNN: lru_cache(lambda: beside_tvm(graphs.with_onednn)),
            INDUCTOR: inductor,
            MIXED: lru_cache(lambda: kept(tvm.compile_around_libraries())),
            TVM: lru_cache(lambda: kept(tvm.compile(later, checks=self.only == TVM and not saves))),
        }
        if saves:  # PyTorch cannot write these
            del contenders[ONEDNN], contenders[FROZEN]
        if asks_for_gradients(inputs):
            contenders.pop(ONEDNN, None)  # its operators have no gradients
        if not self.options.freeze and self.only != FROZEN:
            contenders.pop(FROZEN, None)
        effect = effect_of(gm, inputs)
        if effect or symbols:  # Inductor alone will compile it
            phases.leave_rest()
        if effect:
            only, later = INDUCTOR, None
            run, report.choice = _once_a_call(inductor, gm.forward, contenders, effect)
        elif symbols and only == TVM:  # its kernels have fixed sizes
            run, report.choice = _once_a_call(inductor, gm.forward, contenders, _dynamic(symbols))
        elif only is not None:
            run, report.choice = _without_contest(only, contenders, gm.forward)
        else:
            if symbols:
                del contenders[TVM]
            if symbols or later is not None:
                del contenders[MIXED]
            weights = frozenset(i for i, x in enumerate(inputs) if is_weight(x))
            repeats = Repeats(partial(in_background, name="foretune-contest"), weights)
            repeats = None if saves or later is not None else repeats

            def racing() -> contextlib.AbstractContextManager[Any]:
                phases.leave_rest()
                return phases.phase(CONTEST)

            try:
                with phases.phase(RUN):
                    run, report.choice = choose(
                        gm.forward, contenders, inputs, self.options.tolerance, _BETTER, racing, repeats
                    )
            except RestartAnalysis:  # Dynamo comes back with another graph
                forget_graph(report)
                raise
            by_size = symbols and self.options.sizes and not saves and not asks_for_gradients(inputs)
            if by_size and report.choice.num_rounds:
                fixed = weights - changed_inputs(gm, inputs)
                run = self._by_size(run, gm, symbols, fixed, contenders, times, report)
        if symbols:
            report.choice.refused[TVM] = _dynamic(symbols)
            if not isinstance(run, BySize):
                warn_once(_log, "left with PyTorch, because %s", report.choice.refused[TVM])
        if saves:
            from foretune.compiler.pytorch import serialized

            tolerance = None if only is None else self.options.tolerance
            run = serialized.to_be_saved(run, report.choice, gm, inputs, tolerance)
        report.secs = time.perf_counter() - start
        tell = partial(self._tell, report, compile_id())
        tell()
        if not later:
            return run
        switch = Switch(run)
        tune_in_background(
            later,
            self.tuner,
            switch,
            report,
            None if only else lambda: self._choose_again(gm, contenders, inputs, report.choice),
            tell,
        )
        return switch

    def _by_size(
        self,
        run: Callable,
        gm: torch.fx.GraphModule,
        symbols: Mapping[int, str],
        fixed: frozenset[int],
        contenders: dict[str, Callable[[], Callable]],
        times: LibraryTimes,
        report: CompileReport,
    ) -> BySize:
        """Runs the sizes that are seen most with kernels of their own.

        Args:
            run: runs all sizes.
            gm: the graph; it stays as it is.
            symbols: position of each input that is a size -> its name.
            fixed: positions of weights that the graph leaves alone.
            contenders: of all sizes.
            times: of products.
            report: of the graph.
        """
        others = {report.choice.name, INDUCTOR, ONEDNN} - report.choice.refused.keys()
        made = {name: make for name, make in _made(contenders).items() if name in others}
        options = replace(self.options, trials=0, progress=False)  # begun at once; the tuner has its own trials

        def make_report(given: Sequence[Any]) -> CompileReport:
            name = ", ".join(f"{symbol}={given[i]}" for i, symbol in symbols.items())
            return report.sizes.setdefault(name, CompileReport())

        def begin(given: Sequence[Any], own: CompileReport) -> dict[str, Callable[[], Callable]]:
            kept = [i for i in range(len(given)) if i not in symbols]
            graph = put_in_sizes(own_graph(gm), given, symbols)
            tvm = TvmGraph(graph, [given[i] for i in kept], options, self._loading, self.tuner, own, times)
            with tracing(TracingContext(FakeTensorMode())):  # without symbols; Dynamo's is gone
                tvm.begin(PutOff)

            def for_all_inputs(make: Callable[[], Callable]) -> Callable:
                run = make()
                return lambda *inputs: run(*[inputs[i] for i in kept])

            return {
                MIXED: lambda: for_all_inputs(tvm.compile_around_libraries),
                TVM: lambda: for_all_inputs(tvm.compile),
            }

        start = partial(in_background, name="foretune-sizes")
        shared = AllSizes(gm.forward, made, report.choice)
        make = OwnContests(shared, fixed, begin, make_report, start, self.options.tolerance)
        return BySize(run, [*symbols], self.options.sizes, make)

    def _choose_again(
        self,
        gm: torch.fx.GraphModule,
        contenders: dict[str, Callable[[], Callable]],
        inputs: Sequence[Any],
        first: Choice,
    ) -> tuple[Callable, Choice]:
        """A contest in another thread, of those that were made already: compiling there would touch states of the
        process.
        """
        made = _made(contenders)
        with torch.no_grad():  # another thread has gradients on
            run, choice = choose(gm.forward, made, inputs, self.options.tolerance)
        choice.refused = {**{name: why for name, why in first.refused.items() if name not in made}, **choice.refused}
        return run, choice

    def _tell(self, report: CompileReport, graph: CompileId | None) -> None:
        """Tells PyTorch's tools what became of a graph: the log, the trace, and the cache of what was tuned."""
        _log.info("graph %s: run by %s, compiled in %.1f s", graph, report.choice.name, report.secs)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("graph %s: %s", graph, describe(report))
        trace_graph(report.to_json(), graph)
        if report.kernels:
            record_artifacts(self.database, self.target, [kernel.workload for kernel in report.kernels])

    def tuner(self, waiting: Waiting = contextlib.nullcontext, **other: int) -> Tuner:
        """Spends the budget of the options.

        Args:
            waiting: see `Tuner`.
            other: fields of `TunerConfig` that shall differ.
        """
        from foretune.compiler.metaschedule.tuner import Tuner

        config = replace(self.options.tuner(), **other)
        return Tuner(
            self.model,
            self.database,
            config,
            picks=self._picks,
            callbacks=self.options.callbacks,
            waiting=waiting,
        )


def _without_contest(
    name: str, contenders: dict[str, Callable[[], Callable]], reference: Callable
) -> tuple[Callable, Choice]:
    if name not in contenders:
        return reference, Choice()
    try:
        return contenders[name](), Choice(name)
    except UnsupportedError as error:
        if name not in _PLAINER:
            raise
        return contenders[_PLAINER[name]](), Choice(_PLAINER[name], refused={name: str(error)})


def _made(contenders: Mapping[str, Any]) -> dict[str, Callable[[], Callable]]:
    """Those that were made already."""
    return {name: make for name, make in contenders.items() if make.cache_info().currsize}


def _dynamic(symbols: Mapping[int, str]) -> str:
    return f"shapes are dynamic: {', '.join(sorted({*symbols.values()}))}"


def _once_a_call(
    inductor: Callable[[], Callable], reference: Callable, names: Iterable[str], effect: str
) -> tuple[Callable, Choice]:
    """Inductor, or PyTorch's own where that fails, without a contest: a program with effects must not be run to
    compare.
    """
    choice = Choice(INDUCTOR, refused={name: effect for name in names if name != INDUCTOR})
    try:
        return inductor(), choice
    except Exception as error:  # compilers raise errors of every kind
        choice.name, choice.refused[INDUCTOR] = PYTORCH, f"{type(error).__name__}: {telling_line(error)}"
        warn_once(_log, "the graph runs without %s: %s", INDUCTOR, choice.refused[INDUCTOR])
        return reference, choice
