"""What became of each graph that the torch.compile backend was given."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from foretune.compiler.contest.choice import Choice

if TYPE_CHECKING:  # the tuner needs TVM, reports do not
    from foretune.compiler.metaschedule.tuner import TuneReport


@dataclass(frozen=True)
class KernelReport:
    """One of TVM's kernels.

    Attributes:
        name: that TVM gives it.
        workload: hash of the program.
        weight: calls of it in one run.
        secs: measured run time; None where the model alone picked the schedule.
        default_secs: that of the default schedule.
        schedule: the actions of its schedule, a line each; none where that is the default.
    """

    name: str
    workload: str
    weight: float
    secs: float | None
    default_secs: float | None
    schedule: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.secs is None:
            return f"{self.name}: picked by the model"
        gain = (
            f", {self.default_secs / self.secs:.1f} times as fast as the default schedule" if self.default_secs else ""
        )
        return f"{self.name}: {self.secs * 1e6:.4g} us{gain}" + (f", {self.weight:g} calls" if self.weight != 1 else "")


@dataclass(frozen=True)
class RegionReport:
    """A region that TVM runs.

    Attributes:
        name: of the submodule that it is.
        operators: in it.
        kernels: hashes of the kernels' programs.
    """

    name: str
    operators: tuple[str, ...]
    kernels: tuple[str, ...]


@dataclass
class CompileReport:
    """What compiling one graph of Dynamo's did.

    Attributes:
        num_regions: regions that TVM compiled, forward and backward.
        num_static_inputs: weights and buffers of these regions, of which all that can be is computed ahead of time.
        weights: how it is known that these are still the same.
        num_tasks: distinct tuning tasks.
        num_trials: measurements made.
        num_reused: measurements taken from the database.
        num_ranked, num_looks: schedules that the model scored, and those whose machine code was looked at.
        rank_secs, look_secs, measure_secs: that each rung of the ladder took.
        secs: wall time.
        operators: that TVM runs.
        eager_operators: operators that TVM left with PyTorch.
        regions: of all versions of the graph that were compiled.
        kernels: of the regions.
        products: heavy products, and the seconds that TVM and PyTorch's libraries take for each.
        choice: who runs the graph, and why.
        background: what became of tuning in the background: empty if there is none, `running`, `done`, or why it
            failed.
        sizes: of a graph with symbolic sizes, such as `s0=128` -> what became of kernels for these alone.
    """

    num_regions: int = 0
    num_static_inputs: int = 0
    weights: str = ""
    num_tasks: int = 0
    num_trials: int = 0
    num_reused: int = 0
    num_ranked: int = 0
    num_looks: int = 0
    rank_secs: float = 0.0
    look_secs: float = 0.0
    measure_secs: float = 0.0
    secs: float = 0.0
    operators: list[str] = field(default_factory=list)
    eager_operators: list[str] = field(default_factory=list)
    regions: list[RegionReport] = field(default_factory=list)
    kernels: list[KernelReport] = field(default_factory=list)
    products: list[str] = field(default_factory=list)
    choice: Choice = field(default_factory=Choice)
    background: str = ""
    sizes: dict[str, CompileReport] = field(default_factory=dict)

    def add_rungs(self, tuned: TuneReport) -> None:
        """Adds what the rungs of a tuning run did."""
        self.num_trials += tuned.num_trials
        self.num_reused += tuned.num_reused
        self.num_ranked += tuned.ranked.num
        self.num_looks += tuned.looked.num
        self.rank_secs += tuned.ranked.secs
        self.look_secs += tuned.looked.secs
        self.measure_secs += tuned.measured.secs

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

    @property
    def is_alive(self) -> bool:
        """Whether its model may still be there."""
        return not self.weights or any(ref() is not None for ref in self.weights)

    def uses(self, ids: set[int]) -> bool:
        """Whether one of the tensors with these ids is among the weights; of no ids, whether there are no weights."""
        alive = {id(tensor) for ref in self.weights if (tensor := ref()) is not None}
        return bool(alive & ids) if ids else not self.weights


_MOST_GRAPHS, _MOST_WITHOUT_WEIGHTS = 1000, 64  # that are remembered, the newest ones
_graphs: list[CompiledGraph] = []
_reports: deque[CompileReport] = deque(maxlen=_MOST_GRAPHS)
_lock = threading.Lock()


def note_graph(report: CompileReport, weights: Iterable[torch.Tensor]) -> None:
    """Notes a graph that is being compiled; those of models that are gone are forgotten."""
    made = CompiledGraph(report, tuple(weakref.ref(weight) for weight in weights))
    with _lock:
        _reports.append(report)
        kept = [graph for graph in _graphs if graph.is_alive] + [made]
        of_functions = [graph for graph in kept if not graph.weights]
        forgotten = {id(graph) for graph in of_functions[:-_MOST_WITHOUT_WEIGHTS]}
        _graphs[:] = [graph for graph in kept if id(graph) not in forgotten][-_MOST_GRAPHS:]


def forget_graph(report: CompileReport) -> None:
    """Forgets a graph whose compilation is begun anew."""
    with _lock:
        _graphs[:] = [graph for graph in _graphs if graph.report is not report]
        kept = [other for other in _reports if other is not report]
        _reports.clear()
        _reports.extend(kept)


def compiled_graphs() -> list[CompiledGraph]:
    """The graphs that this process compiled, oldest first, as far as their models are there; of functions the newest
    ones.
    """
    with _lock:
        return [graph for graph in _graphs if graph.is_alive]


def compile_reports() -> list[CompileReport]:
    """One report for each graph that this process compiled, oldest first; the newest thousand."""
    with _lock:
        return list(_reports)
