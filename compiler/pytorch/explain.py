"""What the torch.compile backend did with a model, and why: `foretune.explain(model)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from foretune.compiler.contest.choice import Choice
from foretune.compiler.pytorch.graph_report import CompiledGraph, CompileReport, compiled_graphs


@dataclass(frozen=True)
class Explanation:
    """The graphs of a model, as they were compiled; printing it is its purpose.

    Attributes:
        graphs: oldest first.
    """

    graphs: tuple[CompiledGraph, ...]

    def __str__(self) -> str:
        if not self.graphs:
            return "no graph of this model was compiled by Foretune in this process; call the compiled model first"
        return "\n".join(f"graph {i}: {describe(graph.report)}" for i, graph in enumerate(self.graphs, 1))

    def to_json(self) -> list[dict[str, Any]]:
        """The reports as JSON data."""
        return [graph.report.to_json() for graph in self.graphs]


def explain(model: nn.Module | Callable) -> Explanation:
    """Tells, for each graph of a model that was compiled with `backend="foretune"`, who runs it, how fast each
    contender was and which operators stayed with PyTorch.

    Args:
        model: the compiled model or the one that it was made from. Graphs are found by the weights that they use; of a
            function, or a model without weights, all graphs without weights are told.
    """
    weights = (
        {id(tensor) for tensor in (*model.parameters(), *model.buffers())} if isinstance(model, nn.Module) else set()
    )
    return Explanation(tuple(graph for graph in compiled_graphs() if graph.uses(weights)))


def describe(report: CompileReport) -> str:
    """What became of a graph, in words for people."""
    choice = report.choice
    lines = [f"run by {choice.name}"]
    if choice.sureness is not None:
        lines.append(_sureness(choice))
    if choice.ms:
        lines.append(_times(choice))
    lines += [f"without {name}: {reason}" for name, reason in choice.refused.items()]
    if report.num_regions:
        lines.append(
            f"TVM: {report.num_regions} regions, {report.num_tasks} kernels, {report.num_trials} measurements,"
            f" {report.num_reused} from the database; {report.num_static_inputs} weights and buffers prepared ahead of"
            " time" + (", " + report.weights if report.num_static_inputs else "")
        )
        lines.append(
            f"{report.num_ranked:,} schedules ranked in {report.rank_secs:.1f} s, {report.num_looks} looked at in"
            f" {report.look_secs:.1f} s, {report.num_trials} measured in {report.measure_secs:.1f} s"
        )
        slow = sorted(report.kernels, key=lambda kernel: -kernel.weight * (kernel.secs or 0.0))
        lines += [f"  {kernel}" for kernel in slow[:_SHOWN_KERNELS]]
        if len(slow) > _SHOWN_KERNELS:
            lines.append(f"  and {len(slow) - _SHOWN_KERNELS} more")
    if report.products:
        lines += ["heavy products by themselves:", *(f"  {product}" for product in report.products[:_SHOWN_KERNELS])]
    if report.eager_operators:
        lines.append("left with PyTorch by TVM: " + ", ".join(report.eager_operators))
    lines += [_with_kernels_of_its_own(sizes, own) for sizes, own in report.sizes.items()]
    if report.background:
        lines.append(f"tuning in the background: {report.background}")
    lines.append(f"compiled in {report.secs:.1f} s")
    return "\n  ".join(lines)


def _times(choice: Choice) -> str:
    """What each contender takes, the fastest first."""
    times = sorted(choice.ms.items(), key=lambda item: item[1])
    return "milliseconds a call: " + ", ".join(f"{name} {ms:.4g}" for name, ms in times)


def _sureness(choice: Choice) -> str:
    """How sure it is that the fastest one runs the graph."""
    told = f"it wins {choice.sureness:.0%} of resampled contests, after {choice.num_rounds} rounds"
    if choice.gain is not None:
        low, high = choice.gain
        told += f", and is {low:.2f} to {high:.2f} times as fast as {choice.second}"
    if choice.was_busy:
        told += "; the machine was busy"
    elif not choice.is_sure:
        told += "; others are about as fast"
    if choice.num_repeats:
        told += f"; measured again {choice.num_repeats} times while the program ran"
    return told + ("; it is to be measured again while the program runs" if choice.is_open else "")


def _with_kernels_of_its_own(sizes: str, report: CompileReport) -> str:
    """What became of sizes that are seen often."""
    choice = report.choice
    if report.background != "done":
        return f"kernels for {sizes}, which is seen often: {report.background}"
    told = f"{sizes}, which is seen often: run by {choice.name}"
    if choice.ms:
        told += f"; {_times(choice)}"
    told += "".join(f"; without {name}: {why}" for name, why in choice.refused.items())
    return f"{told}; {report.num_regions} regions, traced within a call in {report.secs:.1f} s"


_SHOWN_KERNELS = 10
