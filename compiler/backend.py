"""The torch.compile backend: `torch.compile(model, backend="foretune", options={...})`.

Dynamo hands over a graph; AOTAutograd makes it functional ATen; what Relax can import becomes regions
that are tuned and compiled with TVM; the rest stays with PyTorch.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import operator
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._subclasses.fake_tensor import unset_fake_temporarily

from foretune.compiler import importer
from foretune.compiler.options import BackendOptions
from foretune.compiler.partition import partition
from foretune.compiler.progress import progress_bar
from foretune.compiler.region import CompiledRegion, check_inputs
from foretune.compiler.target import parse_target
from foretune.compiler.tuner import Tuner, TunerConfig
from foretune.compiler.views import sink_views
from foretune.costmodel.latent import LatentCostModel
from foretune.datasets.database import Database
from foretune.errors import OptionError, UnsupportedError

_log = logging.getLogger("foretune")

_MODES = (None, "default")


@dataclass
class CompileReport:
    """What compiling one graph did.

    Attributes:
        num_regions: regions that TVM runs.
        num_tasks: distinct tuning tasks.
        num_trials: measurements made.
        num_reused: measurements taken from the database.
        secs: wall time.
        eager_operators: operators that stayed with PyTorch.
    """

    num_regions: int = 0
    num_tasks: int = 0
    num_trials: int = 0
    num_reused: int = 0
    secs: float = 0.0
    eager_operators: list[str] = field(default_factory=list)


_reports: list[CompileReport] = []


def compile_reports() -> list[CompileReport]:
    """One report for each graph that this process compiled, oldest first."""
    return list(_reports)


def foretune_backend(gm: torch.fx.GraphModule, example_inputs: Sequence[Any], *, options: dict[str, Any] | None = None, mode: str | None = None) -> Callable:
    """Compiles a Dynamo graph; see `BackendOptions` for the options.

    Raises:
        OptionError, TargetError, DatabaseError, ModelError: what the user gave cannot be used.
    """
    if mode not in _MODES:
        raise OptionError(f"mode must be one of {list(_MODES)} with backend 'foretune', but got {mode!r}; use options={{'trials': ...}}")
    backend = Backend(BackendOptions.from_dict(options))
    compiler = aot_autograd(
        fw_compiler=backend.compile, bw_compiler=_keep_with_pytorch, inference_compiler=backend.compile, decompositions=importer.decompositions()
    )
    return compiler(gm, example_inputs)


def _keep_with_pytorch(gm: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Callable:
    return make_boxed_func(gm.forward)


class Backend:
    """Compiles ATen graphs with one set of options.

    Raises:
        TargetError, DatabaseError, ModelError: at once, before anything is compiled.
    """

    def __init__(self, options: BackendOptions) -> None:
        self.options = options
        self.target = parse_target(options.target)
        self.database = Database(options.database)
        self.model = LatentCostModel.bundled() if options.cost_model is None else LatentCostModel.load(options.cost_model)

    def compile(self, gm: torch.fx.GraphModule, example_inputs: Sequence[Any]) -> Callable:
        """Compiles a functional ATen graph; the result takes a list of inputs (boxed) and returns a tuple."""
        with unset_fake_temporarily():  # the cost model computes with real tensors
            return self._compile(gm)

    def _compile(self, gm: torch.fx.GraphModule) -> Callable:
        start = time.perf_counter()
        report = CompileReport()
        static = _static_placeholders(gm)
        reference = copy.deepcopy(gm)
        sink_views(gm)
        fused, regions, report.eager_operators = partition(gm)
        imported: dict[str, tuple] = {}
        for name in regions:
            try:
                imported[name] = self._import(fused, name, static)
            except UnsupportedError as error:
                report.eager_operators.append(str(error))
        if report.eager_operators:
            _log.warning("left with PyTorch: %s", ", ".join(report.eager_operators))
        tasks = [task for mod, *_ in imported.values() for task in importer.extract_tasks(mod, self.target)]
        tuner = Tuner(self.model, self.database, TunerConfig(self.options.trials, tolerance=self.options.tolerance, seed=self.options.seed))
        with progress_bar("tuning", self.options.progress, transient=True) as show, contextlib.closing(tuner):
            tuned = tuner.tune([t.task for t in tasks], lambda p: show(p.done, p.total, p.task))
        schedules = importer.schedule_database(list({t.task.workload.hash: t for t in tasks}.values()), tuned.chosen, self.target)
        for name, (mod, *signature) in imported.items():
            scheduled = importer.apply_schedules(mod, schedules, self.target)
            region = CompiledRegion(importer.build(scheduled, self.target), *signature)
            setattr(fused, name, region)
        report.num_regions, report.num_tasks = len(imported), tuned.num_tasks
        report.num_trials, report.num_reused = tuned.num_trials, tuned.num_reused
        report.secs = time.perf_counter() - start
        _reports.append(report)
        fused.recompile()
        return make_boxed_func(_FirstCallCheck(_direct_call(fused, regions) or fused, reference, self.options.tolerance))

    def _import(self, fused: torch.fx.GraphModule, name: str, static: frozenset[str]) -> tuple:
        submodule = fused.get_submodule(name)
        placeholders = [n for n in submodule.graph.nodes if n.op == "placeholder"]
        check_inputs([n.meta["val"] for n in placeholders])
        call = next(n for n in fused.graph.nodes if n.op == "call_module" and n.target == name)
        static_inputs = frozenset(i for i, n in enumerate(call.args) if isinstance(n, torch.fx.Node) and n.name in static)
        inputs = tuple(_zeros_like(n.meta["val"]) for n in placeholders)
        try:
            with torch.no_grad():
                exported = torch.export.export(submodule, inputs)
        except Exception as error:  # export raises errors of many kinds; the region stays with PyTorch
            raise UnsupportedError(f"a region that cannot be exported ({type(error).__name__})") from error
        output = next(n for n in submodule.graph.nodes if n.op == "output").args[0]
        return importer.import_exported(exported, static_inputs), len(placeholders), static_inputs, isinstance(output, torch.fx.Node)


def _zeros_like(value: torch.Tensor) -> torch.Tensor:
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype).zero_()


def _static_placeholders(gm: torch.fx.GraphModule) -> frozenset[str]:
    """Names of the inputs that are parameters or buffers of the model."""
    context = torch._guards.TracingContext.try_get()
    metadata = getattr(context, "fw_metadata", None)
    indices = set(getattr(metadata, "static_input_indices", None) or ())
    placeholders = [n.name for n in gm.graph.nodes if n.op == "placeholder"]
    return frozenset(name for i, name in enumerate(placeholders) if i in indices)


def _direct_call(fused: torch.fx.GraphModule, regions: Sequence[str]) -> Callable | None:
    """A shortcut past the graph's own Python code, where the whole graph is one region."""
    nodes = [n for n in fused.graph.nodes if n.op not in ("placeholder", "output") and n.target is not operator.getitem]
    if len(nodes) != 1 or len(regions) != 1 or nodes[0].target != regions[0]:
        return None
    placeholders = [n for n in fused.graph.nodes if n.op == "placeholder"]
    positions = [placeholders.index(a) for a in nodes[0].args]
    outputs = next(n for n in fused.graph.nodes if n.op == "output").args[0]
    region = getattr(fused, regions[0])
    if not isinstance(region, CompiledRegion) or not isinstance(outputs, (tuple, list)):
        return None
    if list(outputs) == [nodes[0]]:
        return lambda *inputs: (region.forward(*[inputs[i] for i in positions]),)
    if not all(isinstance(o, torch.fx.Node) and o.target is operator.getitem for o in outputs):
        return None
    picks = [o.args[1] for o in outputs]

    def call(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        results = region.forward(*[inputs[i] for i in positions])
        return tuple([results[k] for k in picks])

    return call


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
        error = max((_rel_error(e, a) for e, a in zip(expected, actual) if isinstance(e, torch.Tensor)), default=0.0)
        self._checked = True
        if error > self._tolerance:
            _log.warning("the compiled graph differs from PyTorch's by %.3g (tolerance %.3g); PyTorch's is used instead", error, self._tolerance)
            self._run = self._reference
            return expected
        return actual


def _rel_error(expected: torch.Tensor, actual: torch.Tensor) -> float:
    """Largest difference relative to the largest expected magnitude; infinite where shapes, types or NaNs disagree."""
    if expected.shape != actual.shape or expected.dtype != actual.dtype:
        return float("inf")
    if expected.numel() == 0:
        return 0.0
    expected, actual = expected.detach().double(), actual.detach().double()
    if not torch.equal(expected.isnan(), actual.isnan()):
        return float("inf")
    same = (expected == actual) | expected.isnan()
    difference = (expected - actual).masked_fill(same, 0.0).abs().max().item()
    scale = expected.masked_fill(~expected.isfinite(), 0.0).abs().max().item()
    return difference / max(scale, 1e-6)
