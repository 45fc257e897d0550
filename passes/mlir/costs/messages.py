"""What the worker that counts (`worker.py`) is asked beside MLIR's requests, and what it replies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foretune.passes.mlir.environment.messages import ModuleReply, OfModule
from foretune.workers.messages import Reply, Request


@dataclass(frozen=True)
class CountedOne(ModuleReply):
    """`counted`: as `counting.Counted.to_json` writes it; None where the module could not be counted."""

    counted: dict[str, Any] | None = None


@dataclass(frozen=True)
class CountOne(OfModule[CountedOne]):
    """One module of a `Count`, in a child."""

    actions: tuple[str, ...]
    cpu: str
    run_ms: float
    entry: str | None
    values: tuple[int, ...]


@dataclass(frozen=True)
class CountedAll(Reply):
    """What became of each module.

    Attributes:
        replies: one for each, in order.
        mca_error: why llvm-mca could not be asked; empty where it was.
    """

    replies: tuple[CountedOne, ...] = ()
    mca_error: str = ""


@dataclass(frozen=True)
class Count(Request[CountedAll]):
    """Counts some modules by compiling them.

    Attributes:
        sources: texts of the modules.
        timeout_secs: limit of each of them.
        actions: to apply first.
        cpu: processor to compile for, as LLVM names it; empty for this machine's.
        run_ms: milliseconds of one core that the counting run may take.
        entry: the function that is run; None for all that are called from outside.
        values: of its integer arguments.
    """

    sources: tuple[str, ...]
    timeout_secs: float
    actions: tuple[str, ...]
    cpu: str
    run_ms: float
    entry: str | None
    values: tuple[int, ...]

    def one(self, source: str) -> CountOne:
        """The request for one of the modules."""
        return CountOne(source, self.timeout_secs, self.actions, self.cpu, self.run_ms, self.entry, self.values)
