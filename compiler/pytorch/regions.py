"""An ATen graph whose regions TVM runs: split, imported, tuned and built; the rest stays with PyTorch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch

from foretune.compiler.graphs.flat_program import flat_program
from foretune.compiler.graphs.operators import arguments_of, index_uses, is_within, origin_of
from foretune.compiler.graphs.region_form import form_of
from foretune.compiler.metaschedule.tuner import TuneReport, distinct
from foretune.compiler.observed.ranges import range_name
from foretune.compiler.pytorch import importer
from foretune.compiler.pytorch.graph_report import CompileReport, KernelReport, RegionReport
from foretune.compiler.pytorch.inductor import own_graph
from foretune.compiler.pytorch.partition import alone, escapes, operators_of, partition, prepare
from foretune.compiler.pytorch.products import ProductTimes, is_product, kernels_of_products
from foretune.compiler.pytorch.region import CompiledRegion, Signature, runner_of
from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.program import Code, Program, build
from foretune.errors import UnsupportedError
from foretune.support.once import warn_once
from foretune.support.text import telling_line
from foretune.target import Target
from foretune.task import Task
from foretune.trace import Trace

_log = logging.getLogger("foretune")

MOST_WATCHED_BYTES = 16 << 20  # of a region's weights; half a millisecond and more to read


class RegionGraph:
    """A functional ATen graph in which TVM's programs take the place of regions.

    Args:
        gm: the graph; it is changed (see `prepare`, which may have been called before).
        static: names of the placeholders that are weights.
        target: where it runs.
        left: products that stay with PyTorch's libraries.
        frozen: whether the user promised not to change weights behind PyTorch's back.
        go_on: called before each step; what it raises ends the work.

    Attributes:
        source: the graph before it was split.
        eager_operators: what stays with PyTorch.
        kernels_of_products: name of a node -> workload hash of the kernel that computes this product.
        codes: name of a region that is built -> what was built of it.
        chosen: workload hash -> the schedule that it was built with.
        frozen: as it was given.
    """

    def __init__(
        self,
        gm: torch.fx.GraphModule,
        static: frozenset[str],
        target: Target,
        left: Sequence[ProductTimes] = (),
        frozen: bool = False,
        go_on: Callable[[], None] = lambda: None,
    ) -> None:
        prepare(gm, left, frozen)
        self.source = gm.graph
        self._target, self.frozen = target, frozen
        self.codes: dict[str, Code] = {}
        self.chosen: Mapping[str, Trace] = {}
        self._fused, self._imported, self.eager_operators = _import_regions(gm, static, frozen, go_on)
        self._operators = {name: sorted(operators_of(_region(self._fused, name))) for name in self._imported}
        self._graph_tasks: dict[str, list[importer.GraphTask]] = {}
        self.kernels_of_products: dict[str, str] = {}
        for first, *others in self._equal_regions():
            go_on()
            mod = self._imported[first][0]
            graph_tasks = importer.extract_tasks(mod, target)
            products = {kernel for t in graph_tasks if is_product(t.task) for kernel in t.kernels}
            graph = _region(self._fused, first).graph
            kernels = kernels_of_products(graph, importer.kernel_calls(mod, products), graph_tasks)
            for name in (first, *others):
                self._graph_tasks[name] = graph_tasks
                pairs = zip(graph.nodes, _region(self._fused, name).graph.nodes, strict=True)
                self.kernels_of_products |= {node.name: kernels[n.name] for n, node in pairs if n.name in kernels}

    @property
    def tasks(self) -> list[Task]:
        """Distinct tuning tasks of all regions."""
        return distinct(t.task for tasks in self._graph_tasks.values() for t in tasks)

    def build(self, chosen: Mapping[str, Trace], go_on: Callable[[], None] = lambda: None) -> None:
        """Builds all regions, or builds them anew; what TVM cannot build stays as it was, with PyTorch at first.

        Args:
            chosen: workload hash -> schedule.
            go_on: called before each build; what it raises ends the work.
        """
        graph_tasks = [task for tasks in self._graph_tasks.values() for task in tasks]
        schedules = importer.schedule_database(importer.first_of_equal(graph_tasks), chosen, self._target)
        self.chosen = chosen
        for names in self._equal_regions():
            go_on()
            try:
                mod = importer.apply_schedules(self._imported[names[0]][0], schedules, self._target)
                code = build(mod, self._target)
            except Exception as error:  # the boundary to TVM, which raises built-in errors of every kind
                for name in names:
                    self._keep(name, telling_line(error))
                continue
            for name in names:
                self.codes[name] = code
                region = getattr(self._fused, name)
                if isinstance(region, CompiledRegion):
                    region.replace(Program(code))
                else:
                    signature = self._imported[name][1]
                    label = range_name("region", self._operators[name])
                    setattr(self._fused, name, CompiledRegion(Program(code), signature, region, self.frozen, label))
        self._fused.recompile()

    def _equal_regions(self) -> list[list[str]]:
        """Names of the regions that are the same program, together."""
        found: dict[int, list[str]] = {}
        for name, (mod, _) in self._imported.items():
            found.setdefault(id(mod), []).append(name)
        return list(found.values())

    def _keep(self, name: str, why: str) -> None:
        """Leaves a region as it was, because TVM cannot build it."""
        if isinstance(getattr(self._fused, name), CompiledRegion):
            warn_once(_log, "a region keeps its kernels, because TVM cannot build it with others: %s", why)
        else:
            self._leave(name, why)

    def _leave(self, name: str, why: str) -> None:
        """Leaves a region with PyTorch for good."""
        warn_once(_log, "a region stays with PyTorch, because TVM cannot build it: %s", why)
        self.eager_operators.append(
            f"{' with '.join(operators_of(_region(self._fused, name)))} (TVM cannot build it: {why})"
        )
        del self._imported[name], self._graph_tasks[name]

    def runner(self) -> Callable:
        """What runs the graph, on separate arguments; built first."""
        return runner_of(self._fused, list(self._imported))

    @property
    def fused(self) -> torch.fx.GraphModule:
        """The graph, with regions as submodules."""
        return self._fused

    def module(self, name: str) -> tvm.IRModule:
        """The Relax module of a region, without schedules; equal regions have the same one."""
        return self._imported[name][0]

    def report(self, tuned: TuneReport, report: CompileReport) -> None:
        """Adds what was tuned to a report."""
        report.num_regions += len(self._imported)
        report.num_static_inputs += sum(len(signature.static_inputs) for _, signature in self._imported.values())
        report.weights = (
            "by your promise (freeze)"
            if self.frozen
            else "read again in each call to see whether they changed (freeze spares it)"
        )
        report.num_tasks += tuned.num_tasks
        report.add_rungs(tuned)
        report.operators += sorted(
            {operator for name in self._imported for operator in self._operators[name]} - {*report.operators}
        )
        report.eager_operators += self.eager_operators
        report.regions += self.region_reports()
        report.kernels += kernel_reports(self.tasks, tuned)

    def region_reports(self) -> list[RegionReport]:
        """One report for each region."""
        return [
            RegionReport(
                name, tuple(self._operators[name]), tuple(t.task.workload.hash for t in self._graph_tasks[name])
            )
            for name in self._imported
        ]


def kernel_reports(tasks: Sequence[Task], tuned: TuneReport) -> list[KernelReport]:
    """One report for each task."""
    return [
        KernelReport(
            t.workload.name,
            t.workload.hash,
            t.weight,
            tuned.secs.get(t.workload.hash),
            tuned.default_secs.get(t.workload.hash),
            tuple(str(tuned.chosen[t.workload.hash]).splitlines()) if t.workload.hash in tuned.chosen else (),
        )
        for t in tasks
    ]


_Imported = tuple[Any, Signature]  # (Relax module, how it is called)
_Modules = dict[tuple[str, frozenset[int]], Any]  # (form of a region, its weights) -> Relax module


def _import_regions(
    gm: torch.fx.GraphModule, static: frozenset[str], frozen: bool, go_on: Callable[[], None]
) -> tuple[torch.fx.GraphModule, dict[str, _Imported], list[str]]:
    """(graph with regions as submodules, what each becomes in TVM and how it is called, what stays with PyTorch).

    Where a region cannot be imported, the operators of it that cannot be by themselves are refused, and the graph is
    split anew.
    """
    refused: dict[str, str] = {}
    mods: _Modules = {}
    while True:
        fused, regions, left = partition(own_graph(gm), frozenset(refused))
        imported, failed, found = {}, {}, {}
        for name in regions:
            go_on()
            try:
                imported[name] = _import(fused, name, static, frozen, mods)
            except UnsupportedError as error:
                failed[name] = str(error)
                found.update(_refused_operators(_region(fused, name), go_on))
        if not found or found.keys() <= refused.keys():
            return fused, imported, [*(f"{name} ({why})" for name, why in (left | refused).items()), *failed.values()]
        refused.update(found)


def _region(fused: torch.fx.GraphModule, name: str) -> torch.fx.GraphModule:
    return cast("torch.fx.GraphModule", fused.get_submodule(name))


def _import(fused: torch.fx.GraphModule, name: str, static: frozenset[str], frozen: bool, known: _Modules) -> _Imported:
    """A region as a Relax module, and how it is called.

    Args:
        fused: the graph that has the region.
        name: of the region.
        static: names of the graph's inputs that are weights.
        frozen: whether the user promised not to change these.
        known: what was imported before; equal regions share one module.

    Raises:
        UnsupportedError: TVM cannot take it.
    """
    submodule = _region(fused, name)
    placeholders = [n for n in submodule.graph.nodes if n.op == "placeholder"]
    call = next(n for n in fused.graph.nodes if n.op == "call_module" and n.target == name)
    weights = {p for n, p in zip(call.args, placeholders) if isinstance(n, torch.fx.Node) and n.name in static}
    prepared = _prepared_ahead(submodule, weights, frozen)
    output = arguments_of(next(n for n in submodule.graph.nodes if n.op == "output"))[0]
    single = isinstance(output, torch.fx.Node)
    values = [n.meta["val"] for n in ([output] if single else output)]
    signature = Signature(
        len(placeholders),
        frozenset(i for i, p in enumerate(placeholders) if p in prepared),
        single,
        {i: value.stride() for i, value in enumerate(values) if not value.is_contiguous() and 0 not in value.stride()},
        _escaping(call, single),
        _indices(submodule, placeholders),
    )
    form, mod = form_of(submodule.graph), None
    if form is not None:
        mod = known.get((form, signature.static_inputs))
    if mod is None:
        mod = importer.import_exported(flat_program(submodule), signature.static_inputs)
    if form is not None:
        known[form, signature.static_inputs] = mod
    return mod, signature


def _prepared_ahead(submodule: torch.fx.GraphModule, weights: set[torch.fx.Node], frozen: bool) -> set[torch.fx.Node]:
    """The weights of which something is computed ahead of time: a node takes nothing but them, or what was made of
    them.

    Unless they are frozen they are read in each call, to see whether they are still the same; many are better used as
    they are.
    """
    known, prepared = set(weights), set()
    for node in submodule.graph.nodes:
        sources = node.all_input_nodes
        if node.op == "call_function" and known.issuperset(sources):
            known.add(node)
            prepared.update(weights.intersection(sources))
    if not frozen and sum(p.meta["val"].nbytes for p in prepared) > MOST_WATCHED_BYTES:
        return set()
    return prepared


def _escaping(call: torch.fx.Node, single: bool) -> frozenset[int]:
    """Positions of a region's outputs that the graph returns, as they are or as views."""
    if single:
        return frozenset({0} if escapes(call) else ())
    return frozenset(arguments_of(user)[1] for user in call.users if escapes(user))


def _indices(submodule: torch.fx.GraphModule, placeholders: Sequence[torch.fx.Node]) -> dict[int, int]:
    """Positions of inputs that hold indices, and what these must be below."""
    found: dict[int, int] = {}
    for node in submodule.graph.nodes:
        for use in index_uses(node):
            seen = next((n for n in (use.index, origin_of(use.index)) if n in placeholders), None)
            if seen is not None:
                position = placeholders.index(seen)
                found[position] = min(use.size, found.get(position, use.size))
            elif not is_within(use):
                raise UnsupportedError("indices that cannot be looked at before the region is called")
    return found


def _refused_operators(submodule: torch.fx.GraphModule, go_on: Callable[[], None]) -> dict[str, str]:
    """Operators of a region that TVM does not even take alone, and why."""
    refused: dict[str, str] = {}
    for name, node in operators_of(submodule).items():
        go_on()
        try:
            importer.import_exported(flat_program(alone(submodule, node)))
        except UnsupportedError as error:
            refused[name] = str(error)
    return refused
