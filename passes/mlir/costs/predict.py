"""Predicting what a module will cost, and which of its operations cost it.

A module from outside is parsed in a worker process only: this file sends it there and predicts from the graph that
comes back. The cost of an operation is the share that the model's parts give the statements that it stands for; shares
add up to 1 for each cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from foretune.costmodel.mlir.encoding import encode
from foretune.costmodel.mlir.model import MlirCostModel, MlirPrediction
from foretune.costmodel.mlir.network import ADDITIVE
from foretune.costmodel.mlir.target import MlirTarget, known_target
from foretune.errors import UnsupportedError
from foretune.passes.mlir.costs.learned import bundled_model, learned_of_graph
from foretune.passes.mlir.environment.session import MlirSession
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.graph.module_facts import ModuleFacts
from foretune.program import ProgramGraph

SHOWN = (
    "secs",
    "instructions",
    "dynamic_instructions",
    "registers",
    "spills",
    "mca_cycles",
    "mca_throughput",
    "vector_share",
    "bytes_read",
    "bytes_written",
)
EXPLAINED = ("secs", "mca_cycles", "dynamic_instructions", "bytes_read", "instructions")


@dataclass(frozen=True)
class OperationCost:
    """What one statement of a module costs.

    Attributes:
        operation: what it is: a structured operation, or the operations of a loop's body by kind.
        loops: extents of the loops around it, the outermost first.
        line: of the module's text, from 1; 0 where it stands in several places.
        shares: cost -> share of the whole module's.
        costs: cost -> predicted value.
    """

    operation: str
    loops: tuple[float, ...]
    line: int
    shares: dict[str, float]
    costs: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """It as JSON data."""
        return asdict(self)


def predict(
    session: MlirSession,
    source: str,
    target: MlirTarget | None = None,
    schedule: Schedule = Schedule(),
    model: MlirCostModel | None = None,
    values: Sequence[int] = (),
) -> MlirPrediction:
    """Predicts the costs of a module, compiled by the default lowering; `tiers.predict_costs` counts them where it can.

    Args:
        session: its workers parse the module.
        source: text of the module, at any stage from linalg to the LLVM dialect.
        target: processor; this machine's by default.
        schedule: actions to apply first.
        model: the bundled one by default.
        values: of the integer arguments of functions that are called from outside, from left to right.

    Raises:
        DataError, IllegalActionError: the module or the schedule is refused, see `MlirSession`.
        UnsupportedError: the module has operations of dialects that the model does not know.
    """
    graph, _, facts = read_graph_with_facts(session, source, schedule, values)
    return learned_of_graph(graph, facts, target or known_target(), model)


def predict_schedules(
    session: MlirSession,
    source: str,
    schedules: Sequence[Schedule],
    target: MlirTarget | None = None,
    model: MlirCostModel | None = None,
) -> list[MlirPrediction]:
    """Predicts the costs after each of some schedules by rolling them out in latent space: none of them is applied."""
    graph, _ = read_graph(session, source)
    return (model or bundled_model()).predict_after(
        encode(graph), [s.trace() for s in schedules], target or known_target()
    )


def explain(
    session: MlirSession,
    source: str,
    target: MlirTarget | None = None,
    schedule: Schedule = Schedule(),
    model: MlirCostModel | None = None,
) -> list[OperationCost]:
    """The predicted cost of each statement of a module, the most expensive in time first; see `predict`."""
    model, target = model or bundled_model(), target or known_target()
    graph, described = read_graph(session, source, schedule)
    program = encode(graph)
    whole = model.predict([program], target)[0].costs
    parts = model.parts(program, target)  # [S, A]
    found = []
    for row, told in zip(parts, described):
        shares = {name: float(row[ADDITIVE.index(name)]) for name in EXPLAINED}
        found.append(
            OperationCost(
                told["operation"],
                tuple(told["loops"]),
                told["line"],
                shares,
                {name: share * whole[name] for name, share in shares.items()},
            )
        )
    return sorted(found, key=lambda cost: -cost.shares["secs"])


def read_graph_with_facts(
    session: MlirSession, source: str, schedule: Schedule = Schedule(), values: Sequence[int] = ()
) -> tuple[ProgramGraph, list[dict[str, Any]], ModuleFacts]:
    """As `read_graph`, and what the graph leaves out."""
    reply = session.graph(source, schedule, values)
    if reply.unsupported:
        raise UnsupportedError(reply.unsupported)
    return ProgramGraph.from_json(reply.graph), list(reply.statements), ModuleFacts.from_json(reply.facts)


def read_graph(
    session: MlirSession, source: str, schedule: Schedule = Schedule()
) -> tuple[ProgramGraph, list[dict[str, Any]]]:
    """The graph of a module after a schedule, and what each of its statements is; see `predict`.

    Raises:
        DataError, IllegalActionError, UnsupportedError: as `predict`.
    """
    return read_graph_with_facts(session, source, schedule)[:2]
