"""Moves between schedules: other answers to the forks of a template.

A point is what is answered at some forks, and how the others are answered; the template makes a schedule of it, or says
why there is none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from foretune.errors import IllegalActionError
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.grammar.templates import Template
from foretune.tuning import search

_SHOWN_CHARS = 160
_NONE = object()


@dataclass(frozen=True)
class Answers:
    """A point.

    Attributes:
        given: fork -> its answer; one that does not fit counts as none.
        by_chance: whether other forks are answered by chance; by the most promising answer, otherwise.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    by_chance: bool = False


class Moves(search.Moves[Schedule]):
    """Random answers, from one generator.

    Args:
        template: of the program.
        rng: numbers.

    Attributes:
        answers: schedule -> fork -> the answer that led to it.
        operations: schedule -> place -> operation that was scheduled there; see `Template`.
        domains: fork -> its answers, as far as forks were met.
        illegal: why answers led to no schedule -> how often.
    """

    tries = 30

    def __init__(self, template: Template, rng: np.random.Generator) -> None:
        super().__init__(rng, Schedule())
        self._template = template
        self.answers: dict[Schedule, dict[str, Any]] = {}
        self.operations: dict[Schedule, dict[str, str]] = {}
        self.domains: dict[str, tuple[Any, ...]] = {}
        self.illegal: Counter[str] = Counter()

    @property
    def num_answers(self) -> int:
        """Combinations of answers to the forks that were met, which bounds the number of schedules."""
        return math.prod(len(answers) for answers in self.domains.values())

    def decode(self, point: Answers) -> Schedule | None:
        """The schedule of some answers; None where they lead to something illegal."""
        given: dict[str, Any] = {}

        def choose(name: str, answers: Many[Any]) -> Any:
            self.domains[name] = tuple(answers)
            if point.given.get(name, _NONE) in answers:
                given[name] = point.given[name]
            else:
                given[name] = answers[int(self.rng.integers(len(answers))) if point.by_chance else 0]
            return given[name]

        try:
            schedule = self._template.schedule(choose)
        except IllegalActionError as error:
            self.illegal[str(error)[:_SHOWN_CHARS]] += 1
            return None
        self.answers.setdefault(schedule, given)
        self.operations.setdefault(schedule, dict(self._template.operations))
        return schedule

    def encode(self, candidate: Schedule) -> Answers | None:
        """The answers that led to a schedule; None of one that somebody else made."""
        return Answers(self.answers[candidate]) if candidate in self.answers else None

    def first(self) -> Answers:
        """The most promising answers."""
        return Answers()

    def random(self, most: int = search.FAR) -> Answers:
        """All answers by chance."""
        return Answers(by_chance=True)

    def mutate(self, point: Answers) -> tuple[Answers, str]:
        """Another answer at one fork."""
        names = [name for name in point.given if len(self.domains.get(name, ())) > 1]
        if not names:
            return point, ""
        name = names[self.rng.integers(len(names))]
        domain = self.domains[name]
        return Answers({**point.given, name: domain[self.rng.integers(len(domain))]}), ""

    def cross(self, one: Answers, other: Answers) -> Answers:
        """Each answer from one of both by chance."""
        return Answers({n: (v if self.rng.random() < 0.5 else other.given.get(n, v)) for n, v in one.given.items()})

    def steps(self, candidate: Schedule) -> list[tuple[str, Any]]:
        """Each answer to each fork that the schedule meets."""
        return [(name, value) for name in self.answers[candidate] for value in self.domains[name]]

    def take(self, candidate: Schedule, step: tuple[str, Any]) -> Answers | None:
        """The schedule's answers with one of them changed; None where it does not meet that fork."""
        answers, (name, value) = self.answers[candidate], step
        return Answers({**answers, name: value}) if name in answers else None
