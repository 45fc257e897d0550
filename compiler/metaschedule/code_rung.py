"""The rung between ranking and measuring: of the schedules that the model ranks first, the machine code is looked at.

The model scores fifty thousand schedules a second by what they do to loops, and what LLVM makes of the loops it does
not see: of two that look alike one may be vector code and the other scalar code or spills. Compiling shows that without
a run. So the few dozen that rank first are compiled in parallel, while nothing is timed, and ranked again.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

import numpy as np

from foretune.compiler.measure.looker import CodeLook, Looker
from foretune.compiler.tir.target import architecture
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.machine_code.ranker import CodeRanker
from foretune.errors import IllegalActionError, WorkerError
from foretune.record import Status
from foretune.support.once import warn_once
from foretune.task import Candidate, Task

_LOG2_ITERATIONS = 3  # among the features of a block, see `datasets/programs/tir_graph.py`
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shortlist:
    """Candidates of one task that are being looked at.

    Attributes:
        task: theirs.
        candidates: the most promising first.
        looks: of each.
    """

    task: Task
    candidates: tuple[Candidate, ...]
    looks: tuple[Future[CodeLook], ...]


class CodeRung:
    """Looks at candidates and ranks them again.

    Args:
        model: ranks candidates; it may have been adapted to their task.
        ranker: knows what machine code is worth.
        looker: compiles.

    Attributes:
        num_looks: candidates that were looked at.
        num_failed: of these, those that did not compile.
    """

    def __init__(self, model: LatentCostModel, ranker: CodeRanker, looker: Looker) -> None:
        self._model, self._ranker, self._looker = model, ranker, looker
        self.num_looks = self.num_failed = 0

    def start(self) -> None:
        """Has the processes start while the model still ranks."""
        self._looker.start()

    def serves(self, task: Task) -> bool:
        """Whether the machine code for a task's target can be read."""
        return task.target.kind == "llvm" and architecture(task.target) in ("x86_64", "amd64")

    def submit(self, candidates: Sequence[Candidate]) -> Shortlist:
        """Has candidates of one task looked at, the first one first."""
        looks = tuple(self._looker.submit(candidate) for candidate in candidates)
        return Shortlist(candidates[0].task, tuple(candidates), looks)

    def choose(self, shortlist: Shortlist, until: float = math.inf) -> list[Candidate]:
        """The candidates in the order of what is known in the end, the best first.

        Those that compile come first; those that were not looked at in time follow as they were, and then those that do
        not compile.

        Args:
            shortlist: what `submit` gave.
            until: `time.monotonic()` at which to wait no longer.
        """
        looks = [_result(look, until) for look in shortlist.looks]
        known = [look for look in looks if look is not None]
        self.num_looks += len(known)
        self.num_failed += sum(look.status is not Status.OK for look in known)
        if not any(look.status is Status.OK for look in known):
            scores = np.full(len(looks), -np.inf)
        else:
            scores = self._scores(shortlist, looks)
        order = sorted(range(len(looks)), key=lambda i: (_class_of(looks[i]), -scores[i] if looks[i] else 0.0, i))
        return [shortlist.candidates[i] for i in order]

    def _scores(self, shortlist: Shortlist, looks: Sequence[CodeLook | None]) -> np.ndarray:
        counters = [look.counters if look is not None else None for look in looks]
        try:
            return self._ranker.score(self._model.predict(shortlist.task, shortlist.candidates), counters)
        except IllegalActionError as error:
            warn_once(_log, "%s is ranked without its machine code: %s", shortlist.task.workload.name, error)
            return -np.arange(len(looks), dtype=np.float64)


def work_of(task: Task) -> float:
    """How much a task weighs in its model, in points that its blocks compute; tells heavy kernels from light ones
    before anything is known of their time.
    """
    blocks = [node for node in task.workload.graph.nodes if node.kind == "block"]
    return task.weight * sum(2.0 ** node.features[_LOG2_ITERATIONS] for node in blocks)


def _result(look: Future[CodeLook], until: float) -> CodeLook | None:
    """What a look saw; None if it is not over in time, or no process could be started, which is said once."""
    try:
        return look.result(max(0.0, until - time.monotonic()) if until < math.inf else None)
    except (TimeoutError, CancelledError):
        look.cancel()
    except WorkerError as error:
        warn_once(_log, "schedules are chosen without a look at their machine code: %s", error)
    return None


def _class_of(look: CodeLook | None) -> int:
    if look is None:
        return 1
    return 0 if look.status is Status.OK else 2
