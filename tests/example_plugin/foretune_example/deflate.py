"""A domain of its own: how a file is compressed, so that it takes least time over a slow link.

Candidates are settings of zlib; a build is the compressed file; equal bytes are equal code; the output is right if it
unpacks to the file; a time is what the link takes, which goes by the number of bytes.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np

from foretune import (
    Action,
    Candidate,
    DataError,
    HardwareFeatures,
    IllegalActionError,
    MeasureRecord,
    OptionError,
    ProgramGraph,
    Status,
    Target,
    Task,
    Trace,
    Trajectory,
    Workload,
)
from foretune.tuning.domain import Built, Compared, Domain, Measured, Prepared
from foretune.tuning.paired import Comparison
from foretune.tuning.search import FAR, Moves

BYTES_PER_SEC = 1e6
CHOICES = {"level": range(1, 10), "window": range(9, 16), "memory": range(1, 10), "strategy": range(5)}


@dataclass(frozen=True)
class Settings:
    """How zlib compresses; the default is what `zlib.compress` does."""

    level: int = 6
    window: int = 15
    memory: int = 8
    strategy: int = 0

    def __str__(self) -> str:
        return f"level={self.level} window={self.window} memory={self.memory} strategy={self.strategy}"


class SettingsMoves(Moves[Settings]):
    """Other numbers for one setting."""

    def _changed(self, point: Settings) -> Settings:
        name = list(CHOICES)[self.rng.integers(len(CHOICES))]
        return replace(point, **{name: int(self.rng.choice(CHOICES[name]))})

    def random(self, most: int = FAR) -> Settings:
        """Some changes away from the default."""
        point = self.base
        for _ in range(int(self.rng.integers(1, most + 1))):
            point = self._changed(point)
        return point

    def mutate(self, point: Settings) -> tuple[Settings, str]:
        """One setting anew."""
        return self._changed(point), ""

    def cross(self, one: Settings, other: Settings) -> Settings:
        """Each setting from one of both."""
        return Settings(*(a if self.rng.random() < 0.5 else b for a, b in zip(astuple(one), astuple(other))))

    def steps(self, candidate: Settings) -> list[tuple[str, int]]:
        """Each number of each setting."""
        return [(name, number) for name, numbers in CHOICES.items() for number in numbers]

    def take(self, candidate: Settings, step: tuple[str, int]) -> Settings:
        """One setting changed."""
        return replace(candidate, **{step[0]: step[1]})


class DeflateDomain(Domain[Settings]):
    """Settings of zlib for one file.

    Args:
        data: of the file.
        name: of the file.
    """

    noun = "setting"
    source = "deflate"

    def __init__(self, data: bytes, name: str = "data") -> None:
        self._data, self._name = data, name

    @classmethod
    def open(cls, program: str) -> DeflateDomain:
        """A file by its path."""
        path = Path(program)
        if not path.is_file():
            raise OptionError(f"there is no file {path}")
        return cls(path.read_bytes(), path.name)

    def moves(self, rng: np.random.Generator) -> SettingsMoves:
        """Moves between settings."""
        return SettingsMoves(rng, Settings())

    def prepare(self) -> Prepared:
        """Compresses with the default settings."""
        if not self._data:
            raise DataError(f"{self._name} is empty, so that nothing can be compressed")
        digest = hashlib.sha256(self._data).hexdigest()[:16]
        workload = Workload(digest, "", ProgramGraph((), ()), self._name, "deflate")
        self._task = Task(workload, Target("zlib", (), HardwareFeatures()))
        baseline = self.build(Settings())
        self._baseline_secs = len(baseline.made) / BYTES_PER_SEC
        return Prepared(self._task, baseline.code_hash)

    def build(self, candidate: Settings, known: Collection[str] = ()) -> Built[Settings]:
        """Compresses the file."""
        packer = zlib.compressobj(
            candidate.level, zlib.DEFLATED, candidate.window, candidate.memory, candidate.strategy
        )
        packed = packer.compress(self._data) + packer.flush()
        return Built(candidate, Status.OK, "", hashlib.sha256(packed).hexdigest()[:16], packed)

    def _record(self, built: Built[Settings], turns: int) -> MeasureRecord:
        action = Action("compress", (), astuple(built.candidate))
        candidate = Candidate(self._task, Trace((action,)))
        if zlib.decompress(built.made) != self._data:
            return MeasureRecord(candidate, Status.WRONG_OUTPUT, (), "it unpacks to something else", built.code_hash)
        secs = (len(built.made) / BYTES_PER_SEC,) * turns
        return MeasureRecord(candidate, Status.OK, secs, "", built.code_hash)

    def time(self, built: Built[Settings]) -> Measured:
        """What the link takes."""
        record = self._record(built, 1)
        return Measured(record.status, self.stored_cost(record), record.error, Trajectory(record))

    def compare(self, built: Sequence[Built[Settings]], turns: int) -> list[Compared]:
        """What the link takes each time; the same."""
        records = [self._record(one, turns) for one in built]
        return [
            Compared(Comparison.of(record, (self._baseline_secs,) * turns), self.stored_cost(record))
            for record in records
        ]

    def read(self, trace: Trace) -> Settings:
        """The settings of a stored trace."""
        if len(trace) != 1 or trace.actions[0].op != "compress" or len(trace.actions[0].attrs) != len(CHOICES):
            raise IllegalActionError(f"a trace of settings must be one `compress` with {len(CHOICES)} numbers")
        return Settings(*trace.actions[0].attrs)

    def stored_cost(self, record: MeasureRecord) -> float:
        """Relative to the default settings."""
        return record.best_secs / self._baseline_secs if record.status is Status.OK else float("inf")
