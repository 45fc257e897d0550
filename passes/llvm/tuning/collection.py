"""Collecting measured sequences of many programs, for training."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence as Many
from dataclasses import dataclass
from pathlib import Path

from foretune.datasets.records.store import RecordStore
from foretune.errors import DataError, OptionError
from foretune.passes.llvm.actions import PassSequence
from foretune.passes.llvm.measure import PassMeasurer
from foretune.passes.llvm.program import Program
from foretune.passes.llvm.tuning.moves import BASE
from foretune.passes.llvm.tuning.search import SearchStrategy
from foretune.passes.llvm.tuning.training import split_programs
from foretune.passes.llvm.tuning.tuning import PassTuneConfig, tune

_log = logging.getLogger(__name__)

_ROUND = 10  # measurements of a program, before it is the next one's turn
_NEAR_THE_BEST = 0.5  # of the sequences; the others are moves from -O3 alone


@dataclass(frozen=True)
class CollectConfig:
    """How much to collect.

    Attributes:
        store: folder of the records; what is there already counts.
        per_program: measurements of each program.
        seed: of the sequences.
        part, num_parts: which programs are collected here: every `num_parts`-th one, from the `part`-th on, counted
        from 1.
    """

    store: Path
    per_program: int = 100
    seed: int = 0
    part: int = 1
    num_parts: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.part <= self.num_parts:
            raise OptionError(
                f"`1 <= part <= num_parts` must hold, but got part={self.part}, num_parts={self.num_parts}"
            )
        if self.per_program < 1:
            raise OptionError(f"`per_program >= 1` must hold, but got per_program={self.per_program}")


def collect(
    programs: Many[Program],
    measurer: PassMeasurer,
    config: CollectConfig,
    report: Callable[[str, int, int], None] = lambda name, done, total: None,
) -> dict[str, int]:
    """Measures random sequences and neighbours of good ones, a few of each program in turn, so that a part of it is
    useful.

    Args:
        programs: what to measure.
        measurer: builds and times.
        config: how much.
        report: called after each turn: program, measurements there are, measurements wanted.

    Returns:
        program -> measurements there are now.
    """
    programs = programs[config.part - 1 :: config.num_parts]
    counts = _counts(config.store)
    open_programs = {program.name: program for program in programs}
    total = config.per_program * len(programs)
    for target in range(_ROUND, config.per_program + _ROUND, _ROUND):
        for name, program in list(open_programs.items()):
            known = counts[program.hash]
            if known >= min(target, config.per_program):
                continue
            try:
                result = tune(
                    program,
                    measurer,
                    lambda prepared, name=name, known=known: _Explorer(
                        _seed(config.seed, name, known), measurer.has_polly
                    ),
                    PassTuneConfig(min(target, config.per_program), batch=_ROUND, store=config.store, finals=0),
                )
            except DataError as error:
                _log.warning("%s is left out: %s", name, error)
                del open_programs[name]
                continue
            counts[program.hash] = len(result.trials)
            if counts[program.hash] <= known:
                del open_programs[name]  # nothing new is found any more
            report(name, sum(counts[p.hash] for p in programs), total)
    if config.store.is_dir():
        split_programs({program.hash: program.name for program in programs}).save(config.store)
    return {program.name: counts[program.hash] for program in programs}


def _seed(seed: int, name: str, known: int) -> int:
    """Of one turn: all programs get sequences of their own, so that together they try more."""
    return int(hashlib.sha256(f"{seed}/{name}/{known}".encode()).hexdigest()[:12], 16)


def _counts(store: Path) -> Counter[str]:
    if not store.is_dir():
        return Counter()
    with RecordStore(store) as records:
        return Counter(row["workload"] for row in records.rows(["workload"]))


class _Explorer(SearchStrategy):
    """Suggests sequences that say much about a program: some moves from `-O3`, or from one of the best so far."""

    name = "explorer"

    def suggest(self, num: int) -> list[PassSequence]:
        """Moves from `-O3` or from a good sequence."""
        best = self._best(8)

        def draw() -> PassSequence:
            sequence = best[self._rng.integers(len(best))] if self._rng.random() < _NEAR_THE_BEST else BASE
            for _ in range(int(self._rng.integers(1, 5))):
                sequence, _ = self._moves.mutate(sequence, drop=sequence != BASE)
            return sequence

        return self._fresh(num, draw)
