"""An ATen graph whose regions TVM runs: split, imported, tuned and built; the rest stays with PyTorch."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Mapping, Sequence

import torch

from foretune.compiler.metaschedule.tuner import TuneReport, distinct
from foretune.compiler.pytorch import importer
from foretune.compiler.pytorch.graph_report import CompileReport, KernelReport
from foretune.compiler.pytorch.inductor import own_graph
from foretune.compiler.pytorch.partition import alone, operators_of, partition
from foretune.compiler.pytorch.products import ProductTimes, leave_with_library
from foretune.compiler.pytorch.region import CompiledRegion, check_inputs
from foretune.compiler.pytorch.views import sink_views
from foretune.compiler.tir import traces
from foretune.compiler.tir.openmp import on_openmp
from foretune.errors import UnsupportedError
from foretune.target import Target
from foretune.task import Task
from foretune.trace import Trace

_log = logging.getLogger("foretune")


class RegionGraph:
    """A functional ATen graph in which TVM's programs take the place of regions.

    Args:
        gm: the graph; it is changed.
        static: names of the placeholders that are weights.
        target: where it runs.
        left: products that stay with PyTorch's libraries.

    Attributes:
        source: the graph before it was split.
        eager_operators: what stays with PyTorch.
    """

    def __init__(self, gm: torch.fx.GraphModule, static: frozenset[str], target: Target, left: Sequence[ProductTimes] = ()) -> None:
        sink_views(gm)
        leave_with_library(gm, left)
        self.source = gm.graph
        self._target = target
        self._fused, self._imported, self.eager_operators = _import_regions(gm, static)
        self._operators = {name: sorted(operators_of(self._fused.get_submodule(name))) for name in self._imported}
        self._graph_tasks = {name: importer.extract_tasks(mod, target) for name, (mod, *_) in self._imported.items()}

    @property
    def tasks(self) -> list[Task]:
        """Distinct tuning tasks of all regions."""
        return distinct(t.task for tasks in self._graph_tasks.values() for t in tasks)

    def build(self, chosen: Mapping[str, Trace]) -> None:
        """Builds all regions, or builds them anew; what TVM cannot build stays as it was, with PyTorch at first.

        Args:
            chosen: workload hash -> schedule.
        """
        graph_tasks = [task for tasks in self._graph_tasks.values() for task in tasks]
        first_of_equal = list({t.task.workload.hash: t for t in reversed(graph_tasks)}.values())  # as in `tasks`
        schedules = importer.schedule_database(first_of_equal, chosen, self._target)
        for name, (mod, *signature) in list(self._imported.items()):
            region = getattr(self._fused, name)
            try:
                executable = on_openmp(importer.build(importer.apply_schedules(mod, schedules, self._target), self._target))
            except Exception as error:  # the boundary to TVM, which raises built-in errors of every kind
                if isinstance(region, CompiledRegion):
                    _log.warning("a region keeps its kernels, because TVM cannot build it with others: %s", traces.last_line(error))
                else:
                    self._leave(name, traces.last_line(error))
                continue
            if isinstance(region, CompiledRegion):
                region.replace(executable)
            else:
                setattr(self._fused, name, CompiledRegion(executable, *signature))
        self._fused.recompile()

    def _leave(self, name: str, why: str) -> None:
        """Leaves a region with PyTorch for good."""
        _log.warning("a region stays with PyTorch, because TVM cannot build it: %s", why)
        self.eager_operators.append(f"{' with '.join(operators_of(self._fused.get_submodule(name)))} (TVM cannot build it: {why})")
        del self._imported[name], self._graph_tasks[name]

    def runner(self) -> Callable:
        """What runs the graph, on separate arguments; built first."""
        return _direct_call(self._fused, list(self._imported)) or self._fused

    def report(self, tuned: TuneReport, report: CompileReport) -> None:
        """Adds what was tuned to a report."""
        report.num_regions += len(self._imported)
        report.num_static_inputs += sum(len(static_inputs) for _, _, static_inputs, *_ in self._imported.values())
        report.num_tasks += tuned.num_tasks
        report.num_trials += tuned.num_trials
        report.num_reused += tuned.num_reused
        report.operators += sorted({operator for name in self._imported for operator in self._operators[name]} - {*report.operators})
        report.eager_operators += self.eager_operators
        report.kernels += kernel_reports(self.tasks, tuned)


def kernel_reports(tasks: Sequence[Task], tuned: TuneReport) -> list[KernelReport]:
    """One report for each task."""
    return [KernelReport(t.workload.name, t.workload.hash, t.weight, tuned.secs.get(t.workload.hash), tuned.default_secs.get(t.workload.hash)) for t in tasks]


def _import_regions(gm: torch.fx.GraphModule, static: frozenset[str]) -> tuple[torch.fx.GraphModule, dict[str, tuple], list[str]]:
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
