"""What tuning a model would do, without doing it: `foretune.dry_run`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from foretune.compiler.graphs.effects import effect_of
from foretune.compiler.libraries.times import LibraryTimes
from foretune.compiler.pytorch.artifact import read_program
from foretune.compiler.pytorch.graph_report import CompileReport, RegionReport
from foretune.compiler.pytorch.options import BackendOptions
from foretune.compiler.pytorch.precision import in_precision
from foretune.compiler.pytorch.static_inputs import StaticInputs
from foretune.compiler.pytorch.tvm_graph import TvmGraph
from foretune.compiler.tir.target import parse_target
from foretune.datasets.records.database import Database
from foretune.errors import DataError, UnsupportedError
from foretune.target import Target


@dataclass(frozen=True)
class PlannedTask:
    """A kernel that would be tuned.

    Attributes:
        name: that TVM gives it.
        workload: hash of its program.
        weight: calls of it in one run.
        num_known: measurements of it that the database has.
        is_measured: whether the budget is for it.
    """

    name: str
    workload: str
    weight: float
    num_known: int
    is_measured: bool


@dataclass(frozen=True)
class PlannedGraph:
    """A graph of a model.

    Attributes:
        regions: that TVM would take.
        left: operators that would stay with PyTorch, and why.
        tasks: distinct kernels of the regions.
        refused: why TVM takes nothing of it; empty if it does.
    """

    regions: tuple[RegionReport, ...] = ()
    left: tuple[str, ...] = ()
    tasks: tuple[PlannedTask, ...] = ()
    refused: str = ""


@dataclass(frozen=True)
class DryRun:
    """What tuning a model would do; printing it is its purpose.

    Attributes:
        graphs: in the order in which a call runs them.
        trials: measurements for each task.
    """

    graphs: tuple[PlannedGraph, ...]
    trials: int

    @property
    def tasks(self) -> list[PlannedTask]:
        """Distinct kernels of all graphs."""
        return list({task.workload: task for graph in self.graphs for task in graph.tasks}.values())

    @property
    def most_measurements(self) -> int:
        """Measurements that are made at most."""
        return sum(max(0, self.trials - task.num_known) for task in self.tasks if task.is_measured)

    def __str__(self) -> str:
        lines = [line for i, graph in enumerate(self.graphs, 1) for line in _lines(i, graph)]
        num_regions = sum(len(graph.regions) for graph in self.graphs)
        lines.append(
            f"{num_regions} regions, {len(self.tasks)} tasks to tune, at most {self.most_measurements} measurements;"
            " nothing was tuned"
        )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON data."""
        return {
            "graphs": [asdict(graph) for graph in self.graphs],
            "num_tasks": len(self.tasks),
            "most_measurements": self.most_measurements,
        }


def _lines(number: int, graph: PlannedGraph) -> list[str]:
    if graph.refused:
        return [f"graph {number}: stays with PyTorch and Inductor: {graph.refused}"]
    lines = [f"graph {number}: {len(graph.regions)} regions"]
    lines += [f"  {region.name}: {', '.join(region.operators)}" for region in graph.regions]
    if graph.left:
        lines.append(f"  left with PyTorch: {', '.join(graph.left)}")
    for task in graph.tasks:
        calls = f", {task.weight:g} calls" if task.weight != 1 else ""
        known = f", {task.num_known} measurements known" if task.num_known else ""
        lines.append(f"  task {task.name}{calls}{known}" + ("" if task.is_measured else ", not measured"))
    return lines


def dry_run(
    model: nn.Module | Callable, inputs: Sequence[Any], kwargs: Mapping[str, Any] | None = None, **options: Any
) -> DryRun:
    """Tells which regions, refusals and tuning tasks a model has, without tuning or building anything.

    The model runs once, with PyTorch's own kernels, since what a graph is shows only then.

    Args:
        model: as it would be compiled.
        inputs: positional arguments of an example call.
        kwargs: keyword arguments of that call.
        options: those of `torch.compile(..., backend="foretune")`; see `BackendOptions`.

    Raises:
        OptionError, TargetError, DatabaseError: an option cannot be used.
    """
    chosen = BackendOptions.from_dict(options)
    target, graphs = parse_target(chosen.target), []
    with contextlib.ExitStack() as stack:
        database = None
        if Path(chosen.database).exists():
            database = stack.enter_context(Database(chosen.database, read_only=True))

        def look(gm: torch.fx.GraphModule, given: Sequence[Any]) -> Callable:
            graphs.append(_planned(gm, given, chosen, target, database))
            return gm.forward

        torch.compile(model, backend=look)(*inputs, **(kwargs or {}))
    return DryRun(tuple(graphs), chosen.trials)


def dry_run_of(source: str, operators: Collection[str] = (), **options: Any) -> DryRun:
    """The same of a program that `foretune tune` takes, which serves calls without gradients.

    Args:
        source: see `read_program`.
        operators: see `read_program`.
        options: of the backend.

    Raises:
        OptionError, DataError, TargetError, DatabaseError: see `read_program` and `dry_run`.
    """
    program = read_program(source, operators)
    if program.example_inputs is None:
        raise DataError(f"{source} has no example inputs; export it with them")
    args, kwargs = program.example_inputs
    with torch.no_grad():
        return dry_run(program.module(check_guards=False), args, kwargs, **options)


def _planned(
    gm: torch.fx.GraphModule,
    inputs: Sequence[Any],
    options: BackendOptions,
    target: Target,
    database: Database | None,
) -> PlannedGraph:
    if effect := effect_of(gm, inputs):
        return PlannedGraph(refused=effect)
    if symbols := sorted({str(x.node.expr) for x in inputs if isinstance(x, torch.SymInt)}):
        return PlannedGraph(refused=f"shapes are dynamic: {', '.join(symbols)}")
    if options.precision is not None:
        gm = in_precision(gm, options.precision)
    times = LibraryTimes(lambda: StaticInputs(options.freeze))
    try:
        found = TvmGraph(gm, inputs, options, target, _no_tuner, CompileReport(), times).regions()
    except UnsupportedError as error:
        return PlannedGraph(refused=str(error))
    config = options.tuner()
    return PlannedGraph(
        tuple(report for graph in found for report in graph.region_reports()),
        tuple(dict.fromkeys(name for graph in found for name in graph.eager_operators)),
        tuple(
            PlannedTask(
                task.workload.name,
                task.workload.hash,
                task.weight,
                database.num_records(task) if database is not None else 0,
                config.measures(task),
            )
            for graph in found
            for task in graph.tasks
        ),
    )


def _no_tuner(**_: int) -> Any:
    raise UnsupportedError("nothing is tuned in a dry run")
