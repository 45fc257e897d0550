"""The exact tier: counts by compiling, from the calling process; a batch of modules is one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from foretune.errors import DataError, IllegalActionError, OptionError
from foretune.passes.mlir.costs.messages import Count, CountedOne
from foretune.passes.mlir.environment.session import MlirSession
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.graph.module_facts import ModuleFacts
from foretune.program import ProgramGraph

_RUN_MS = 20.0


@dataclass(frozen=True)
class ExactSettings:
    """How modules are counted.

    Attributes:
        run_ms: milliseconds of one core that the counting run may take; 20 by default, and more where counts were asked
            for by name.
        entry: the function that is run; by default all that are called from outside.
        values: of its integer arguments, from left to right; by default derived from what loops access.
        deadline_ms: for the whole of one module; None for the session's limit.
    """

    run_ms: float | None = None
    entry: str | None = None
    values: tuple[int, ...] = ()
    deadline_ms: float | None = None

    def __post_init__(self) -> None:
        for name in ("run_ms", "deadline_ms"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1e7:
                raise OptionError(f"`0 < {name} < 1e7` must hold, but got {name}={value}")


@dataclass(frozen=True)
class Counts:
    """What compiling a module told.

    Attributes:
        labels: label -> counted value; those that depend on a run are missing where it was not counted.
        stopped: why it was not; empty where it was.
        estimated: labels that depend on how a run that was stopped would have gone on.
        structure: sums over the module's graph, see `structure.structure_features`; none where it cannot be read.
        graph: it, where not everything was counted.
        facts: what it leaves out.
        notes: what should be known of the numbers.
        ms: stage -> milliseconds.
    """

    labels: dict[str, float]
    stopped: str = ""
    estimated: tuple[str, ...] = ()
    structure: tuple[float, ...] = ()
    graph: ProgramGraph | None = None
    facts: ModuleFacts = ModuleFacts()
    notes: tuple[str, ...] = ()
    ms: dict[str, float] = field(default_factory=dict)


class ExactSession(MlirSession):
    """Worker processes that also compile and count modules; see `MlirSession`."""

    worker = "foretune.passes.mlir.costs.worker"

    def count(
        self, source: str, cpu: str = "", schedule: Schedule = Schedule(), settings: ExactSettings = ExactSettings()
    ) -> Counts:
        """Counts one module.

        Args:
            source: text of the module, at any stage.
            cpu: processor to compile for, as LLVM names it; empty for this machine's.
            schedule: actions to apply first.
            settings: limits.

        Raises:
            DataError: it is not valid, cannot be lowered or compiled, or takes too long; the message says what.
            IllegalActionError: an action cannot be applied.
        """
        [counts] = self.count_all([source], cpu, schedule, settings)
        if isinstance(counts, Exception):
            raise counts
        return counts

    def count_all(
        self,
        sources: Sequence[str],
        cpu: str = "",
        schedule: Schedule = Schedule(),
        settings: ExactSettings = ExactSettings(),
    ) -> list[Counts | DataError | IllegalActionError]:
        """Counts some modules, with one llvm-mca for all; for each its counts, or why there are none."""
        if not sources:
            return []
        self._check_size(max(sources, key=len))
        limit_secs = settings.deadline_ms / 1e3 if settings.deadline_ms else self.settings.build_timeout_secs
        request = Count(
            tuple(sources),
            limit_secs,
            tuple(schedule.to_json()),
            cpu,
            settings.run_ms or _RUN_MS,
            settings.entry,
            tuple(settings.values),
        )
        self._start()
        reply = self._exchange(self._builder, request, len(sources) * limit_secs, "build")
        if reply.status != "ok":
            return [DataError(reply.error)] * len(sources)
        if reply.mca_error:
            raise OptionError(
                f"{reply.mca_error}; name a processor that LLVM knows, as `llvm-mca -mcpu=help` lists them"
            )
        return [self._counts(one) for one in reply.replies]

    def _counts(self, reply: CountedOne) -> Counts | DataError | IllegalActionError:
        if reply.status == "illegal" and reply.step >= 0:
            return IllegalActionError(reply.error)
        if reply.status == "build_timeout":
            return DataError(f"the module takes too long to be compiled: {reply.error}")
        if "was killed by signal" in reply.error:
            return DataError(
                f"the module is too much for MLIR or LLVM, by its depth, its size or a fault of theirs: {reply.error}"
            )
        made = reply.counted
        if reply.status != "ok" or made is None:
            return DataError(reply.error)
        graph = ProgramGraph.from_json(made["graph"]) if made["graph"] else None
        return Counts(
            made["labels"],
            made["stopped"],
            tuple(made["estimated"]),
            tuple(made["structure"] or ()),
            graph,
            ModuleFacts.from_json(made["facts"] or {}),
            tuple(made["notes"]),
            made["ms"],
        )
