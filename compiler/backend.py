"""The torch.compile backend: `torch.compile(model, backend="foretune", options={...})`.

Dynamo hands over a graph; AOTAutograd makes it functional ATen; what Relax can import becomes regions
that are tuned and compiled with TVM; the rest stays with PyTorch. The guard then compares the whole with
PyTorch's own kernels and with Inductor, and the fastest one runs the graph.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import operator
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import torch
from torch._dynamo.backends.common import aot_autograd
from torch._functorch.aot_autograd import make_boxed_func
from torch._functorch.partitioners import min_cut_rematerialization_partition
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

from foretune.compiler import importer
from foretune.compiler.guard import Choice, choose, rel_error
from foretune.compiler.inductor import FrozenGraph, compile_with_inductor, is_weight, own_graph
from foretune.compiler.openmp import on_openmp
from foretune.compiler.options import BackendOptions
from foretune.compiler.partition import alone, operators_of, partition
from foretune.compiler.progress import progress_bar
from foretune.compiler.region import CompiledRegion, check_inputs
from foretune.compiler.target import parse_target
from foretune.compiler.tuner import Tuner, distinct
from foretune.compiler.views import sink_views
from foretune.costmodel.latent import LatentCostModel
from foretune.datasets.database import Database
from foretune.errors import OptionError, UnsupportedError

_log = logging.getLogger("foretune")

TVM, INDUCTOR, FROZEN = "tvm", "inductor", "inductor, weights frozen"
MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


@dataclass(frozen=True)
class KernelReport:
    """One of TVM's kernels.

    Attributes:
        name: that TVM gives it.
        workload: hash of the program.
        weight: calls of it in one run.
        secs: measured run time; None where the model alone picked the schedule.
        default_secs: that of the default schedule.
    """

    name: str
    workload: str
    weight: float
    secs: float | None
    default_secs: float | None

    def __str__(self) -> str:
        if self.secs is None:
            return f"{self.name}: picked by the model"
        gain = f", {self.default_secs / self.secs:.1f} times as fast as the default schedule" if self.default_secs else ""
        return f"{self.name}: {self.secs * 1e6:.4g} us{gain}" + (f", {self.weight:g} calls" if self.weight != 1 else "")


@dataclass
class CompileReport:
    """What compiling one graph of Dynamo's did.

    Attributes:
        num_regions: regions that TVM compiled, forward and backward.
        num_static_inputs: weights and buffers of these regions, of which all that can be is computed ahead of time.
        num_tasks: distinct tuning tasks.
        num_trials: measurements made.
        num_reused: measurements taken from the database.
        secs: wall time.
        eager_operators: operators that TVM left with PyTorch.
        kernels: of the regions.
        choice: who runs the graph, and why.
    """

    num_regions: int = 0
    num_static_inputs: int = 0
    num_tasks: int = 0
    num_trials: int = 0
    num_reused: int = 0
    secs: float = 0.0
    eager_operators: list[str] = field(default_factory=list)
    kernels: list[KernelReport] = field(default_factory=list)
    choice: Choice = field(default_factory=lambda: Choice(TVM))

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class CompiledGraph:
    """A graph that this process compiled.

    Attributes:
        report: what that did.
        weights: parameters and buffers among its inputs.
    """

    report: CompileReport
    weights: tuple[weakref.ref[torch.Tensor], ...]

    def uses(self, ids: set[int]) -> bool:
        """Whether one of the tensors with these ids is among the weights; of no ids, whether there are no weights."""
        alive = {id(tensor) for ref in self.weights if (tensor := ref()) is not None}
        return bool(alive & ids) if ids else not self.weights


_graphs: list[CompiledGraph] = []


def compiled_graphs() -> list[CompiledGraph]:
    """The graphs that this process compiled, oldest first."""
    return list(_graphs)


def compile_reports() -> list[CompileReport]:
    """One report for each graph that this process compiled, oldest first."""
    return [graph.report for graph in _graphs]


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
        _graphs.append(CompiledGraph(report, tuple(weakref.ref(x) for x in inputs if is_weight(x))))
        symbols = sorted({str(x.node.expr) for x in inputs if isinstance(x, torch.SymInt)})
        inductor = lru_cache(lambda: compile_with_inductor(gm, inputs, self.mode))
        contenders: dict[str, Callable[[], Callable]] = {
            TVM: lambda: self._with_tvm(gm, inputs, report),
            INDUCTOR: inductor,
            FROZEN: lambda: FrozenGraph(gm, inputs, inductor(), self.mode),
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
        return run

    def _with_tvm(self, gm: torch.fx.GraphModule, inputs: Sequence[Any], report: CompileReport) -> Callable:
        def forward(graph: torch.fx.GraphModule, _: Sequence[Any]) -> Callable:
            return self._compile_aten(graph, _static_placeholders(graph), report)

        def backward(graph: torch.fx.GraphModule, _: Sequence[Any]) -> Callable:
            return self._compile_aten(graph, frozenset(), report)

        compiler = aot_autograd(
            fw_compiler=forward, bw_compiler=backward, inference_compiler=forward, decompositions=importer.decompositions(),
            partition_fn=min_cut_rematerialization_partition,
        )  # fmt: skip
        return compiler(own_graph(gm), list(inputs))

    def _compile_aten(self, gm: torch.fx.GraphModule, static: frozenset[str], report: CompileReport) -> Callable:
        """Compiles a functional ATen graph; the result takes a list of inputs (boxed) and returns a tuple."""
        with unset_fake_temporarily():  # the cost model computes with real tensors
            return self._compile_regions(gm, static, report)

    def _compile_regions(self, gm: torch.fx.GraphModule, static: frozenset[str], report: CompileReport) -> Callable:
        reference = copy.deepcopy(gm) if self.only == TVM else None
        sink_views(gm)
        fused, imported, eager_operators = self._import_regions(gm, static)
        if eager_operators:
            _log.warning("left with PyTorch: %s", ", ".join(eager_operators))
        tasks = [task for mod, *_ in imported.values() for task in importer.extract_tasks(mod, self.target)]
        tuner = Tuner(self.model, self.database, self.options.tuner())
        with progress_bar("tuning", self.options.progress, transient=True) as show, contextlib.closing(tuner):
            tuned = tuner.tune([t.task for t in tasks], lambda p: show(p.done, p.total, p.task))
        schedules = importer.schedule_database(list({t.task.workload.hash: t for t in tasks}.values()), tuned.chosen, self.target)
        for name, (mod, *signature) in imported.items():
            scheduled = importer.apply_schedules(mod, schedules, self.target)
            setattr(fused, name, CompiledRegion(on_openmp(importer.build(scheduled, self.target)), *signature))
        report.num_regions += len(imported)
        report.num_static_inputs += sum(len(static_inputs) for _, _, static_inputs, *_ in imported.values())
        report.num_tasks += tuned.num_tasks
        report.kernels += [
            KernelReport(t.workload.name, t.workload.hash, t.weight, tuned.secs.get(t.workload.hash), tuned.default_secs.get(t.workload.hash)) for t in distinct(t.task for t in tasks)
        ]
        report.num_trials += tuned.num_trials
        report.num_reused += tuned.num_reused
        report.eager_operators += eager_operators
        fused.recompile()
        run = _direct_call(fused, list(imported)) or fused
        return make_boxed_func(run if reference is None else _FirstCallCheck(run, reference, self.options.tolerance))

    def _import_regions(self, gm: torch.fx.GraphModule, static: frozenset[str]) -> tuple[torch.fx.GraphModule, dict[str, tuple], list[str]]:
        """(graph with regions as submodules, what each becomes in TVM, what stays with PyTorch).

        Where a region cannot be imported, the operators of it that cannot be by themselves are refused, and the graph is split anew.
        """
        refused: dict[str, str] = {}
        while True:
            fused, regions, left = partition(own_graph(gm), frozenset(refused))
            imported, failed, found = {}, {}, {}
            for name in regions:
                try:
                    imported[name] = _import(fused, name, static)
                except UnsupportedError as error:
                    failed[name] = str(error)
                    found.update(_refused_operators(fused.get_submodule(name)))
            if not found or found.keys() <= refused.keys():
                return fused, imported, [*(name for name in left if name not in refused), *(f"{name} ({why})" for name, why in refused.items()), *failed.values()]
            refused.update(found)


def _import(fused: torch.fx.GraphModule, name: str, static: frozenset[str]) -> tuple:
    """(Relax module, number of inputs, positions of the static ones, whether there is one output, strides of outputs) of a region.

    Raises:
        UnsupportedError: TVM cannot take it.
    """
    submodule = fused.get_submodule(name)
    placeholders = [n for n in submodule.graph.nodes if n.op == "placeholder"]
    call = next(n for n in fused.graph.nodes if n.op == "call_module" and n.target == name)
    static_inputs = frozenset(i for i, n in enumerate(call.args) if isinstance(n, torch.fx.Node) and n.name in static)
    output = next(n for n in submodule.graph.nodes if n.op == "output").args[0]
    single = isinstance(output, torch.fx.Node)
    values = [n.meta["val"] for n in ([output] if single else output)]
    strides = {i: value.stride() for i, value in enumerate(values) if not value.is_contiguous()}
    return importer.import_exported(_exported(submodule), static_inputs), len(placeholders), static_inputs, single, strides


def _exported(submodule: torch.fx.GraphModule) -> torch.export.ExportedProgram:
    values = [n.meta["val"] for n in submodule.graph.nodes if n.op == "placeholder"]
    check_inputs(values)
    try:
        with torch.no_grad():
            return torch.export.export(submodule, tuple(map(_zeros_like, values)))
    except Exception as error:  # export raises errors of many kinds; the region stays with PyTorch
        raise UnsupportedError(f"a region that cannot be exported ({type(error).__name__})") from error


def _refused_operators(submodule: torch.fx.GraphModule) -> dict[str, str]:
    """Operators of a region that TVM does not even take alone, and why."""
    refused: dict[str, str] = {}
    for name, node in operators_of(submodule).items():
        try:
            importer.import_exported(_exported(alone(submodule, node)))
        except UnsupportedError as error:
            refused[name] = str(error)
    return refused


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
        error = max((rel_error(e, a) for e, a in zip(expected, actual) if isinstance(e, torch.Tensor)), default=0.0)
        self._checked = True
        if error > self._tolerance:
            _log.warning("the compiled graph differs from PyTorch's by %.3g (tolerance %.3g); PyTorch's is used instead", error, self._tolerance)
            self._run = self._reference
            return expected
        return actual
