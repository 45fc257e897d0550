"""The tuning loop of every domain: within a budget of measurements it asks a strategy, measures, and tells it.

The loop owns the budget, the code that is known, the records, going on from those of an earlier run, and the second
round of the finalists, which decides. A domain (`foretune/tuning/domain.py`) builds and times.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from foretune.datasets.records.store import RecordStore, was_never_listed
from foretune.errors import IllegalActionError, OptionError
from foretune.record import Status, Trajectory
from foretune.tuning.callback import RELATIVE, Announcer, Callback
from foretune.tuning.domain import Built, Candidate, Compared, Domain, Measured
from foretune.tuning.rungs import RUNGS, Rung, RungClock
from foretune.tuning.search import SearchStrategy
from foretune.tuning.trials import UNCERTAIN, TrialLog, append_records

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TuneConfig:
    """How a program is tuned.

    Attributes:
        budget: measurements, those of the finalists' second round among them.
        batch: candidates suggested at once.
        finals: of the budget, for the second round of the best; none means that no winner is told.
        final_turns: runs of each finalist and of the baseline in the second round.
        store: folder of all records, which a run that was stopped goes on from; None keeps nothing.
    """

    budget: int = 50
    batch: int = 4
    finals: int = 3
    final_turns: int = 9
    store: Path | None = None

    def __post_init__(self) -> None:
        require_counts(self, budget=1, batch=1, finals=0, final_turns=3)

    @property
    def num_finals(self) -> int:
        """Measurements that are kept for the second round."""
        return min(self.finals, self.budget // 4)


def require_counts(config: Any, **least: int) -> None:
    """Checks fields of a configuration.

    Raises:
        OptionError: one of them is no integer, or less than it must be.
    """
    for name, number in least.items():
        value = getattr(config, name)
        if type(value) is not int or value < number:
            raise OptionError(f"`{name} >= {number}` must hold and be an integer, but got {name}={value!r}")


@dataclass(frozen=True)
class Trial(Generic[Candidate]):
    """One measurement of a run.

    Attributes:
        candidate: what was measured.
        status: how it ended.
        cost: relative to the baseline's; infinite if it failed. Lower is better.
        error: why it failed.
    """

    candidate: Candidate
    status: Status
    cost: float
    error: str = ""


@dataclass
class TuneResult(TrialLog, Generic[Candidate]):
    """What a run found.

    Attributes:
        program, hash: which program.
        best: the winner; the baseline if nothing was better.
        gain: the baseline's cost over the winner's, higher is better; 1 if the baseline stays. Of times, the ratio of
            medians of the second round.
        interval: 95 % of it, by bootstrap over the turns; empty for costs that are counted.
        baseline_secs, best_secs: medians of the second round; 0 where time is not what counts.
        fastest_secs: the winner's fastest turn.
        trials: in order.
        num_reused: of them, from an earlier run.
        num_skipped: candidates that were not tried, because the domain had something against them.
        secs: wall time of this run.
        first_secs: of it, until the first measurement was there; 0 if there was none.
        strategy: what suggested, as it is in the end.
        rungs: name -> what it did: candidates that a model ranked and the search for them, those that were built, those
            that were run.
    """

    trial: ClassVar[type[Trial[Any]]] = Trial

    program: str
    hash: str
    best: Candidate
    gain: float = 1.0
    interval: tuple[float, ...] = ()
    baseline_secs: float = 0.0
    best_secs: float = 0.0
    fastest_secs: float = 0.0
    trials: list[Any] = field(default_factory=list)
    num_reused: int = 0
    num_skipped: int = 0
    secs: float = 0.0
    first_secs: float = 0.0
    strategy: Any = None
    rungs: dict[str, Rung] = field(default_factory=dict)

    def rungs_json(self) -> dict[str, dict[str, float]]:
        """The rungs as JSON data."""
        return {name: asdict(rung) for name, rung in self.rungs.items()}

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data."""
        return {
            "program": self.program,
            "hash": self.hash,
            "best": str(self.best),
            "gain": self.gain,
            "interval": list(self.interval),
            "baseline_secs": self.baseline_secs,
            "best_secs": self.best_secs,
            "num_trials": len(self.trials),
            "num_reused": self.num_reused,
            "num_skipped": self.num_skipped,
            "statuses": self.statuses,
            "best_so_far": self.best_so_far(),
            "secs": self.secs,
            "first_secs": self.first_secs,
            "rungs": self.rungs_json(),
        }


Result = TypeVar("Result", bound=TuneResult[Any])


def tune(
    domain: Domain[Candidate],
    make_strategy: Callable[[], SearchStrategy[Candidate]],
    config: TuneConfig,
    result: Result,
    report: Callable[[Result], None] = lambda result: None,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Searches for a candidate that beats the baseline.

    Args:
        domain: builds and times.
        make_strategy: for the program, when it is prepared.
        config: budget.
        result: is filled; its `best` is the baseline.
        report: called after each trial.
        callbacks: follow the run.

    Returns:
        The result: the winner, measured again beside the baseline, or the baseline itself.

    Raises:
        DataError: the program cannot be tuned; see `Domain.prepare`.
    """
    announcer = Announcer(callbacks, RELATIVE)
    try:
        return _Run(domain, config, result, report, announcer).run(make_strategy)
    finally:
        announcer.end()


class _Run(Generic[Candidate, Result]):
    def __init__(
        self,
        domain: Domain[Candidate],
        config: TuneConfig,
        result: Result,
        report: Callable[[Result], None],
        announcer: Announcer,
    ) -> None:
        self._start, self._clock, self._announcer = time.perf_counter(), RungClock(), announcer
        self._domain, self._config, self._result, self._report = domain, config, result, report
        self._prepared = domain.prepare()
        result.hash = result.hash or self._prepared.task.workload.hash
        self._known = {self._prepared.code_hash: 1.0}  # code -> cost
        self._built: dict[Candidate, Built[Candidate]] = {}  # that may become finalists
        self._unwritten: list[Trajectory] = []

    def run(self, make_strategy: Callable[[], SearchStrategy[Candidate]]) -> Result:
        strategy = self._result.strategy = make_strategy()
        strategy.observe(self._load())
        idle = 0
        while (left := self._num_left) > 0 and idle < self._domain.idle_rounds:
            with self._clock.spending("look"):
                strategy.look_further(time.perf_counter() - self._start)
            before = len(self._result.trials)
            with self._clock.spending("rank"):
                batch = strategy.next_batch(min(self._config.batch, left))
            try:
                costs = [(candidate, self._cost_of(candidate, strategy)) for candidate in batch]
            finally:
                self._write()
            strategy.observe(costs)
            idle = 0 if len(self._result.trials) > before else idle + 1
        try:
            self._decide()
            if self._result.gain > 1:
                self._result.best = self._domain.simplify(self._result.best)
        finally:
            self._keep_best(0)
            self._result.rungs = {
                name: self._clock.rung(name, strategy.num_ranked if name == "rank" else None) for name in RUNGS
            }
        self._result.secs = time.perf_counter() - self._start
        return self._result

    @property
    def _num_finals(self) -> int:
        return self._config.num_finals if self._domain.is_timed else 0

    @property
    def _num_left(self) -> int:
        return self._config.budget - self._num_finals - len(self._result.trials)

    def _cost_of(self, candidate: Candidate, strategy: SearchStrategy[Candidate]) -> float:
        """Measures a candidate, unless it gives code that was measured before, or the domain has something against
        it.
        """
        if self._domain.why_not(candidate):
            self._result.num_skipped += 1
            return math.inf
        with self._clock.spending("look", 1):
            built = self._domain.build(candidate, self._known.keys())
        is_known = built.status is Status.OK and built.code_hash in self._known
        try:
            measured = None if is_known else self._time(built)
        except BaseException:
            self._domain.discard(built)
            raise
        if measured is None:
            self._domain.discard(built)
            strategy.repeats.add(candidate)
            return self._known[built.code_hash]
        if built.status is Status.OK and built.code_hash:
            self._known[built.code_hash] = measured.cost
        if measured.trajectory is not None and self._config.store is not None:
            self._unwritten.append(measured.trajectory)
        self._note(candidate, measured)
        self._domain.learn(candidate, measured)
        self._built[candidate] = built
        self._keep_best(2 * self._num_finals)
        return measured.cost

    def _time(self, built: Built[Candidate]) -> Measured:
        with self._clock.spending("measure", int(built.status is Status.OK)):
            return self._domain.time(built)

    def _note(self, candidate: Candidate, measured: Measured) -> None:
        self._result.first_secs = self._result.first_secs or time.perf_counter() - self._start
        self._result.trials.append(self._result.trial(candidate, measured.status, measured.cost, measured.error))
        self._report(self._result)
        self._announcer.tell(self._result.program, measured.status, measured.cost)

    def _keep_best(self, num: int) -> None:
        """Keeps what was built of the best candidates only."""
        costs = {trial.candidate: trial.cost for trial in self._result.trials}
        for candidate in sorted(self._built, key=lambda c: costs.get(c, math.inf))[num:]:
            self._domain.discard(self._built.pop(candidate))

    # -- the second round ----------------------------------------------------------------------------

    def _decide(self) -> None:
        """Of the finalists that are right on all inputs, the best wins if it is surely better than the baseline: times
        are taken again, counted costs are as they are.
        """
        finalists: list[Built[Candidate]] = []
        best: dict[Candidate, Trial[Candidate]] = {}
        for trial in sorted((t for t in self._result.trials if t.cost < 1), key=lambda t: t.cost):
            best.setdefault(trial.candidate, trial)
        for trial in best.values():
            if len(finalists) == (self._num_finals if self._domain.is_timed else 1):
                break
            built = self._build_again(trial.candidate)
            if self._is_right(trial, built):
                finalists.append(built)
        if not self._domain.is_timed:
            for built in finalists:
                self._result.best, self._result.gain = built.candidate, 1 / best[built.candidate].cost
        elif finalists:
            with self._clock.spending("measure", len(finalists)):
                found = self._domain.compare(finalists, self._config.final_turns)
            for built, compared in zip(finalists, found):
                self._decide_on(built.candidate, compared)

    def _build_again(self, candidate: Candidate) -> Built[Candidate]:
        if candidate not in self._built:
            self._built[candidate] = self._domain.build(candidate)
        return self._built[candidate]

    def _is_right(self, trial: Trial[Candidate], built: Built[Candidate]) -> bool:
        """Whether a finalist is right on further inputs; if not, its trial says so."""
        wrong = self._domain.check(built) if built.status is Status.OK else ""
        if wrong:
            at = next(i for i, known in enumerate(self._result.trials) if known is trial)
            self._result.trials[at] = replace(trial, status=Status.WRONG_OUTPUT, cost=math.inf, error=wrong)
            self._report(self._result)
        return not wrong

    def _decide_on(self, candidate: Candidate, compared: Compared) -> None:
        found, result = compared.comparison, self._result
        self._note(candidate, Measured(found.status, compared.cost, found.error))
        if not found.interval:
            return
        if result.gain == 1:
            result.baseline_secs = result.best_secs = found.baseline_secs or 0.0
        if found.interval[0] > UNCERTAIN and found.gain > result.gain:
            result.best, result.gain, result.interval = candidate, found.gain, tuple(found.interval)
            facts = {name: getattr(found, name) for name in ("baseline_secs", "best_secs", "fastest_secs")}
            for name, value in {**facts, **dict(compared.facts)}.items():
                setattr(result, name, value)

    # -- records -------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Stores what was measured since the last time."""
        features = (self._prepared.features,) if self._prepared.features else ()
        if self._config.store is not None:
            append_records(self._config.store, self._prepared.task, self._unwritten, self._domain.source, features)
        self._unwritten = []

    def _load(self) -> list[tuple[Candidate, float]]:
        """What earlier runs measured of this program, as far as the budget goes."""
        path = self._config.store
        if path is None or not self._domain.is_timed or not path.is_dir():
            return []
        names = {entry.name for entry in path.iterdir()} - self._domain.beside_records
        if was_never_listed(names):
            with RecordStore(path, writable=True) as store:
                if not store.manifest.workloads and not store.manifest.shards:
                    return []
        found: dict[Candidate, float] = {}
        with RecordStore(path) as store:
            for record in (t.record for t in store.trajectories([self._prepared.task.workload.hash])):
                try:
                    candidate = self._domain.read(record.trace)
                except IllegalActionError as error:
                    _log.warning("a stored %s is left out: %s", self._domain.noun, error)
                    continue
                if self._num_left > 0 and candidate not in found:
                    found[candidate] = cost = self._domain.stored_cost(record)
                    self._result.trials.append(self._result.trial(candidate, record.status, cost, record.error))
                    if record.program_hash:
                        self._known[record.program_hash] = cost
        self._result.num_reused = len(found)
        return list(found.items())
