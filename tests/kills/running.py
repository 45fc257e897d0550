"""Kills one command at random moments, starts it again, and looks for what was lost, doubled or left."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.kills.subjects import Doubled, Kept, Subject, emptied

_ROOT = Path(__file__).parents[2]
_MARK = "FORETUNE_KILLED"  # in the environment of all that a run starts, whatever session it is in
_TIMEOUT_SECS = 600.0
_GONE_SECS = 5.0  # processes that were told to end may take so long
_EARLY_SHARE = 0.2  # of the kills: before the command has written anything
_TRIES = 4  # starts that may end before they are killed, for each kill


@dataclass
class Outcome:
    """What came of the kills of a command.

    Attributes:
        num_kills: how often it was killed while it ran.
        num_kept: records or results that were there after the kills, all together.
        lost, doubled, processes, folders, failed: for each kill with something wrong, its number and what it was.
    """

    name: str
    num_kills: int = 0
    num_kept: int = 0
    lost: list[tuple[int, str]] = field(default_factory=list)
    doubled: list[tuple[int, str]] = field(default_factory=list)
    processes: list[tuple[int, str]] = field(default_factory=list)
    folders: list[tuple[int, str]] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)

    @property
    def faults(self) -> list[tuple[int, str]]:
        """All that went wrong."""
        return [*self.lost, *self.doubled, *self.processes, *self.folders, *self.failed]

    def to_json(self) -> dict[str, Any]:
        """As a row of results."""
        return {
            "subject": self.name,
            "num_kills": self.num_kills,
            "num_kept": self.num_kept,
            "num_lost": len(self.lost),
            "num_doubled": len(self.doubled),
            "num_processes": len(self.processes),
            "num_folders": len(self.folders),
            "num_failed": len(self.failed),
            "faults": self.faults[:5],
        }


def run(subject: Subject, num_kills: int, seed: int = 0, report: Callable[[str], None] = lambda line: None) -> Outcome:
    """Kills a command so many times, each time in new folders, and starts it once more after each."""
    outcome = Outcome(subject.name)
    with tempfile.TemporaryDirectory(prefix="kills-") as name:
        place = Path(name).resolve()
        subject.prepare(emptied(place / "inputs"))
        _Runs(subject, place, random.Random(f"{subject.name} {seed}"), outcome, report).kill(num_kills)
    return outcome


class _Runs:
    """A command in folders of its own: its inputs, its results, and the system's folder for temporary files."""

    def __init__(
        self, subject: Subject, place: Path, rng: random.Random, outcome: Outcome, report: Callable[[str], None]
    ) -> None:
        self._subject, self._place, self._rng, self._outcome, self._report = subject, place, rng, outcome, report
        self._out, self._temporary = place / "out", place / "tmp"
        self._secs = self._first_secs = 0.0

    def kill(self, num_kills: int) -> None:
        """Runs it whole once, to know what is to be there; then kills it."""
        self._whole_run()  # caches are filled
        expected, left = self._whole_run()
        for number in range(num_kills):
            before = self._killed_run(number)
            if before is None:
                continue
            self._outcome.num_kills += 1
            self._outcome.num_kept += len(before)
            self._check(number, before, expected, left)
            self._report(
                f"{self._subject.name}, kill {number + 1}: {len(before)} kept, {len(self._outcome.faults)} faults"
            )

    def _whole_run(self) -> tuple[Kept, set[str]]:
        """What a run that nobody kills keeps, and what it leaves in the folders."""
        emptied(self._out), emptied(self._temporary)
        start = time.monotonic()
        with self._started() as process:
            first = None
            while process.poll() is None and time.monotonic() < start + _TIMEOUT_SECS:
                if first is None and any(self._out.iterdir()):
                    first = time.monotonic() - start
                time.sleep(0.01)
            errors = process.communicate()[1]
        self._secs = time.monotonic() - start
        self._first_secs = first if first is not None else self._secs / 2
        if process.returncode:
            raise RuntimeError(f"{self._subject.name} fails even if it is not killed: {errors[-2000:]}")
        kept = self._subject.kept(self._out)
        if not kept:
            raise RuntimeError(f"{self._subject.name} keeps nothing even if it is not killed: {errors[-2000:]}")
        return kept, self._names()

    def _killed_run(self, number: int) -> Kept | None:
        """What a run that was killed has kept; None if it always ended before."""
        for _ in range(_TRIES):
            emptied(self._out), emptied(self._temporary)
            is_early = self._rng.random() < _EARLY_SHARE
            moment = self._rng.uniform(0.0 if is_early else self._first_secs, self._secs)
            with self._started() as process:
                try:
                    process.wait(moment)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    try:
                        return self._subject.kept(self._copied(self._out))
                    except Doubled as error:
                        self._outcome.doubled.append((number, str(error)))
                        return {}
        return None

    def _copied(self, folder: Path) -> Path:
        """A copy to look at: a look must not mend what the next start has to."""
        copy = emptied(self._place / "copy")
        subprocess.run(["cp", "-a", f"{folder}/.", copy], check=True)
        return copy

    def _check(self, number: int, before: Kept, expected: Kept, left: set[str]) -> None:
        outcome = self._outcome
        with self._started() as process:
            errors = process.communicate(timeout=_TIMEOUT_SECS)[1]
        if process.returncode:
            outcome.failed.append((number, errors[-400:]))
            return
        if running := _running(self._mark):
            outcome.processes.append((number, "; ".join(running)[:400]))
        if found := self._names() - left:
            outcome.folders.append((number, ", ".join(sorted(found))[:400]))
        try:
            after = self._subject.kept(self._out)
        except Doubled as error:
            outcome.doubled.append((number, str(error)))
            return
        lost = [key for key, value in before.items() if after.get(key) != value]
        if self._subject.repeats:
            lost += [key for key, value in expected.items() if after.get(key) != value]
        if lost or len(after) < len(expected):
            outcome.lost.append((number, f"{len(after)} for {len(expected)} kept; {lost[:2]}"[:400]))
        elif len(after) > len(expected):
            outcome.doubled.append((number, f"{len(after)} for {len(expected)} kept"))

    def _names(self) -> set[str]:
        """What lies straight in the folder for temporary files, and what is hidden or half written among the
        results.
        """
        results = {path.name for path in self._out.rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"}
        return {path.name for path in self._temporary.iterdir()} | results

    @contextmanager
    def _started(self) -> Iterator[subprocess.Popen[str]]:
        self._mark = uuid.uuid4().hex if not hasattr(self, "_mark") else self._mark
        environment = {
            **os.environ,
            _MARK: self._mark,
            "TMPDIR": str(self._temporary),
            "TORCHINDUCTOR_CACHE_DIR": str(self._place / "inductor"),
            "PYTHONPATH": str(_ROOT),
        }
        arguments = map(str, self._subject.arguments(self._place / "inputs", self._out))
        process = subprocess.Popen(
            [sys.executable, "-m", self._subject.module, *arguments],
            cwd=self._place / "inputs",
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            process.stderr.close()


def _running(mark: str) -> list[str]:
    """Command lines of the processes with a mark in their environment, if they do not end within seconds."""
    deadline = time.monotonic() + _GONE_SECS
    while (found := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _marked(mark: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{_MARK}={mark}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120])
        except OSError:
            continue
    return found
