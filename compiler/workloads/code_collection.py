"""`foretune data code`: counters of the machine code of recorded candidates, compiled and never run.

Records are taken in rounds over all tasks, a few of each in a round, so that whatever moment it is stopped at, tasks
are covered evenly; those of the validation and test workloads come first in each round. What is on disk decides where
the next run goes on.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foretune.compiler.measure.looker import Looker, LookSettings
from foretune.costmodel.machine_code.counters import NAMES
from foretune.datasets.records.code_table import FILE_NAME, CodeTable, read_parts, write_part
from foretune.datasets.records.store import RecordStore
from foretune.errors import OptionError
from foretune.record import Status
from foretune.task import Candidate

_FEWEST = 8  # timed records of a task that is looked at; fewer say little of a ranking
_ROWS_PER_PART = 256


@dataclass(frozen=True)
class CodeCollectionConfig:
    """What to look at.

    Attributes:
        data: folder of the data set.
        parts: folder of what is known already, and of what is added.
        num_records: candidates that shall be known in the end; all by default.
        round_sizes: candidates of a task in a round, for each part of the split.
        num_workers: processes; one for each usable core by default.
        secs: ends after so long.
    """

    data: Path
    parts: Path
    num_records: int | None = None
    round_sizes: tuple[tuple[str, int], ...] = (("validation", 8), ("test", 24), ("train", 8))
    num_workers: int | None = None
    secs: float = float("inf")

    def __post_init__(self) -> None:
        if self.num_records is not None and self.num_records < 1:
            raise OptionError(f"`records >= 1` must hold, but got {self.num_records}")
        if not self.secs > 0:
            raise OptionError(f"`secs > 0` must hold, but got {self.secs}")


def collect_code(config: CodeCollectionConfig, report: Callable[[int, int], None] = lambda done, total: None) -> int:
    """Looks at candidates of a data set until enough are known.

    Args:
        config: which.
        report: called with (known, wanted).

    Returns:
        How many are known.

    Raises:
        DataError: the data or the parts are damaged.
    """
    end = time.monotonic() + config.secs
    known = read_parts(config.parts, NAMES)
    chosen = list(_in_rounds(config))[: config.num_records]
    todo = [candidate for candidate in chosen if candidate not in known]
    done = len(chosen) - len(todo)
    with Looker(LookSettings(), config.num_workers) as looker:
        while todo and time.monotonic() < end:
            batch, todo = todo[:_ROWS_PER_PART], todo[_ROWS_PER_PART:]
            looks = looker.look(batch)
            write_part(
                config.parts, CodeTable.of(NAMES, [(c, look.status, look.counters) for c, look in zip(batch, looks)])
            )
            done += len(batch)
            report(done, len(chosen))
    return done


def pack_code(config: CodeCollectionConfig) -> dict[str, Any]:
    """Makes one file beside the data of all parts.

    Returns:
        `{"num_records", "statuses", "bytes"}`.
    """
    table = read_parts(config.parts, NAMES)
    path = config.data / FILE_NAME
    table.save(path)
    return {"num_records": len(table), "statuses": table.counts(), "bytes": path.stat().st_size}


def _in_rounds(config: CodeCollectionConfig) -> Iterator[Candidate]:
    """The timed candidates of a data set, in the order in which to look at them."""
    with RecordStore(config.data) as store:
        split = store.split()
        groups: defaultdict[str, list[Candidate]] = defaultdict(list)
        for trajectory in store.trajectories():
            record = trajectory.record
            if record.status is Status.OK and len(record.trace):
                groups[record.candidate.task.workload.hash].append(record.candidate)
    members = {workload: _shuffled(group) for workload, group in groups.items() if len(group) >= _FEWEST}
    sizes = dict(config.round_sizes)
    parts = [(size, sorted(members.keys() & getattr(split, part))) for part, size in sizes.items()] if split else []
    if split is None:
        parts = [(sizes["train"], sorted(members))]
    most = max((len(group) for group in members.values()), default=0)
    for turn in range(most):
        for size, workloads in parts:
            for workload in workloads:
                yield from members[workload][turn * size : (turn + 1) * size]


def _shuffled(candidates: Sequence[Candidate]) -> list[Candidate]:
    """In an order that does not depend on that of the data."""
    return sorted(candidates, key=lambda c: hashlib.sha256(c.trace.key.encode()).digest())
