"""The torch.compile backend: `torch.compile(model, backend="foretune", options={...})`.

Dynamo hands over a graph; AOTAutograd makes it functional ATen; what Relax can import becomes regions
that are tuned and compiled with TVM; the rest stays with PyTorch. The guard then compares the whole with
PyTorch's own kernels and with Inductor, and the fastest one runs the graph.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from foretune.compiler import importer
from foretune.compiler.background import Switch, tune_in_background
from foretune.compiler.graph_report import CompileReport, compile_reports, note_graph
from foretune.compiler.guard import Choice, asks_for_gradients, choose, rel_error
from foretune.compiler.inductor import FrozenGraph, compile_with_inductor, is_weight, own_graph
from foretune.compiler.options import BackendOptions
from foretune.compiler.progress import progress_bar
from foretune.compiler.regions import RegionGraph
from foretune.compiler.target import parse_target
from foretune.compiler.tuner import Tuner
from foretune.costmodel.latent import LatentCostModel
from foretune.datasets.database import Database
from foretune.errors import OptionError

__all__ = ["MODES", "TVM", "Backend", "compile_reports", "foretune_backend"]

_log = logging.getLogger("foretune")

TVM, INDUCTOR, FROZEN = "tvm", "inductor", "inductor, weights frozen"
MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def foretune_backend(gm: torch.fx.GraphModule, example_inputs: Sequence[Any], *, options: dict[str, Any] | None = None, mode: str | None = None) -> Callable:
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
        self.target = parse_target(options.target)
        self.database = Database(options.database)
        self.model = LatentCostModel.bundled() if options.cost_model is None else LatentCostModel.load(options.cost_model)

    def compile(self, gm: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable:
        """The graph as the fastest of its compilers runs it, or, without the guard, as TVM does."""
        start = time.perf_counter()
        report = CompileReport()
        note_graph(report, filter(is_weight, inputs))
        symbols = sorted({str(x.node.expr) for x in inputs if isinstance(x, torch.SymInt)})
        later = [] if self.options.background and self.options.trials and not asks_for_gradients(inputs) else None
        inductor = lru_cache(lambda: compile_with_inductor(gm, inputs, self.mode))
        contenders: dict[str, Callable[[], Callable]] = {
            TVM: lru_cache(lambda: self._with_tvm(gm, inputs, report, later)),
            INDUCTOR: inductor,
            FROZEN: lru_cache(lambda: FrozenGraph(gm, inputs, inductor(), self.mode)),
        }
        only = self.only or (TVM if any(isinstance(x, FakeTensor) for x in inputs) else None)
        if only is not None:
            run, report.choice = contenders.get(only, lambda: gm.forward)(), Choice(only)
        else:
            if symbols:
                del contenders[TVM]
            run, report.choice = choose(gm.forward, contenders, inputs, self.options.tolerance)
        if symbols:
            report.choice.refused[TVM] = f"shapes are dynamic: {', '.join(symbols)}"
            _log.warning("left with PyTorch, because %s", report.choice.refused[TVM])
        report.secs = time.perf_counter() - start
        if not later:
            return run
        switch = Switch(run)
        tune_in_background(later, self.tuner, switch, report, None if only else lambda: self._choose_again(gm, contenders, inputs))
        return switch

    def _choose_again(self, gm: torch.fx.GraphModule, contenders: dict[str, Callable[[], Callable]], inputs: Sequence[Any]) -> tuple[Callable, Choice]:
        with torch.no_grad():  # another thread has gradients on
            return choose(gm.forward, contenders, inputs, self.options.tolerance)

    def tuner(self, trials: int | None = None) -> Tuner:
        """Spends the budget of the options, or another one."""
        config = self.options.tuner()
        return Tuner(self.model, self.database, config if trials is None else replace(config, trials=trials))

    def _with_tvm(self, gm: torch.fx.GraphModule, inputs: Sequence[Any], report: CompileReport, later: list[RegionGraph] | None) -> Callable:
        """Compiles forward and backward with TVM; where there is a list of those to be tuned later, the model alone picks for now."""

        def forward(graph: torch.fx.GraphModule, _: Sequence[Any]) -> Callable:
            return self._compile_aten(graph, _static_placeholders(graph), report, later)

        def backward(graph: torch.fx.GraphModule, _: Sequence[Any]) -> Callable:
            return self._compile_aten(graph, frozenset(), report, later)

        compiler = aot_autograd(
            fw_compiler=forward, bw_compiler=backward, inference_compiler=forward, decompositions=importer.decompositions(),
            partition_fn=min_cut_rematerialization_partition,
        )  # fmt: skip
        return compiler(own_graph(gm), list(inputs))

    def _compile_aten(self, gm: torch.fx.GraphModule, static: frozenset[str], report: CompileReport, later: list[RegionGraph] | None) -> Callable:
        """Compiles a functional ATen graph; the result takes a list of inputs (boxed) and returns a tuple."""
        with unset_fake_temporarily():  # the cost model computes with real tensors
            return self._compile_regions(gm, static, report, later)

    def _compile_regions(self, gm: torch.fx.GraphModule, static: frozenset[str], report: CompileReport, later: list[RegionGraph] | None) -> Callable:
        reference = copy.deepcopy(gm) if self.only == TVM else None
        graph = RegionGraph(gm, static, self.target)
        if graph.eager_operators:
            _log.warning("left with PyTorch: %s", ", ".join(graph.eager_operators))
        with progress_bar("tuning", self.options.progress, transient=True) as show, contextlib.closing(self.tuner(None if later is None else 0)) as tuner:
            tuned = tuner.tune(graph.tasks, lambda p: show(p.done, p.total, p.task))
        if later is not None:
            later.append(graph)
        graph.build(tuned.chosen)
        graph.report(tuned, report)
        run = graph.runner()
        return make_boxed_func(run if reference is None else _FirstCallCheck(run, reference, self.options.tolerance))


def _static_placeholders(gm: torch.fx.GraphModule) -> frozenset[str]:
    """Names of the inputs that are parameters or buffers of the model."""
    context = torch._guards.TracingContext.try_get()
    metadata = getattr(context, "fw_metadata", None)
    indices = set(getattr(metadata, "static_input_indices", None) or ())
    placeholders = [n.name for n in gm.graph.nodes if n.op == "placeholder"]
    return frozenset(name for i, name in enumerate(placeholders) if i in indices)


class _FirstCallCheck:
    """Runs the compiled graph and, the first time, PyTorch's own beside it; a wrong answer keeps PyTorch's for good."""

    def __init__(self, compiled: Callable, reference: Callable, tolerance: float) -> None:
        self._run, self._reference, self._tolerance = compiled, reference, tolerance
        self._checked = False

    def __call__(self, *inputs: Any) -> Any:
        if self._checked:
            return self._run(*inputs)
        expected = self._reference(*inputs)
        actual = self._run(*inputs)
        error = max((rel_error(e, a) for e, a in zip(expected, actual) if isinstance(e, torch.Tensor)), default=0.0)
        self._checked = True
        if error > self._tolerance:
            _log.warning("the compiled graph differs from PyTorch's by %.3g (tolerance %.3g); PyTorch's is used instead", error, self._tolerance)
            self._run = self._reference
            return expected
        return actual
