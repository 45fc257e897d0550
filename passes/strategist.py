"""The strategist: skills and a language model suggest, the rest of the search goes on beside them.

The model is shown counts of the program, what was measured so far and the skills that apply. It answers with intents and
sequences, which are data: each is read by the closed grammar of `actions.py` and taken, or refused with a reason. Nothing of the
program's text is shown to it, so that comments and strings cannot give it orders.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import Any

from foretune.passes.actions import FLAGS, INTENTS, PASSES, Pass, Sequence, parse_sequence
from foretune.passes.llm_client import LlmClient, Message
from foretune.passes.measure import PreparedProgram
from foretune.passes.observe import FEATURES
from foretune.passes.screening import Screen
from foretune.passes.search import SearchStrategy
from foretune.passes.skills import SKILLS, Skill, applicable

_MAX_PROPOSALS, _MAX_STEPS, _MAX_TEXT = 6, 24, 200
_SHOWN_TRIALS = 8
_ASKS_EVERY = 12  # measurements
_PATIENCE = 2  # questions without an answer, after which none is asked any more

SCHEMA: dict[str, Any] = {
    "type": "object", "additionalProperties": False, "required": ["proposals"],
    "properties": {
        "proposals": {
            "type": "array", "minItems": 1, "maxItems": _MAX_PROPOSALS,
            "items": {
                "type": "object", "additionalProperties": False, "required": ["intent", "reason", "before", "level", "after", "flags"],
                "properties": {
                    "intent": {"type": "string", "enum": list(INTENTS)},
                    "reason": {"type": "string", "maxLength": _MAX_TEXT},
                    "before": {"type": "array", "maxItems": 6, "items": {"type": "string", "maxLength": _MAX_TEXT}},
                    "level": {"type": "string", "enum": ["O3", "O2", "O1", "Os", "Oz"]},
                    "after": {"type": "array", "maxItems": 6, "items": {"type": "string", "maxLength": _MAX_TEXT}},
                    "flags": {"type": "array", "maxItems": 8, "items": {"type": "string", "maxLength": _MAX_TEXT}},
                },
            },
        },
    },
}  # fmt: skip


@dataclass(frozen=True)
class Proposal:
    """One proposal of the model's, read.

    Attributes:
        sequence: what of it the grammar knows; None if nothing is left.
        intent: of `INTENTS`; empty if it named none.
        refused: a reason for each part that was refused.
    """

    sequence: Sequence | None
    intent: str = ""
    refused: tuple[str, ...] = ()


@dataclass
class StrategistReport:
    """What the strategist did, and what came of it.

    Attributes:
        measured: origin (`skills`, `model`, `search`) -> sequences measured.
        best_gain: origin -> the best gain among them.
        accepted, refused: proposals of the model's that were taken, and reasons for parts that were not.
        replies: the model's texts, as they came.
    """

    measured: Counter = field(default_factory=Counter)
    best_gain: dict[str, float] = field(default_factory=dict)
    accepted: int = 0
    refused: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {
            "measured": dict(self.measured), "best_gain": self.best_gain, "accepted": self.accepted, "refused": self.refused[:100], "num_refused": len(self.refused),
            "replies": [reply[:20_000] for reply in self.replies],
        }  # fmt: skip


class Strategist(SearchStrategy):
    """Skills first, then the model's proposals now and then, between the suggestions of another search.

    Args:
        prepared: the program.
        search: what suggests otherwise; it learns of everything.
        client: of the language model; None does without.
        seed, polly: as in `SearchStrategy`.
        num_skills: most skills that are tried by themselves.
        screen: which steps change the program's code; the model is shown those alone.

    Attributes:
        report: what came of it.
    """

    name = "strategist"

    def __init__(
        self, prepared: PreparedProgram, search: SearchStrategy, client: LlmClient | None = None, seed: int = 0, polly: bool = True, num_skills: int = 8,
        screen: Screen | None = None,
    ) -> None:  # fmt: skip
        super().__init__(seed, polly, screen)
        self._features, self._search, self.client = prepared.features, search, client
        self._skills = [skill for skill in applicable(prepared.features, polly) if screen is None or screen.may_matter(skill.steps)]
        self._untried = search.order([skill.steps for skill in self._skills])[:num_skills]
        self._proposed: list[Sequence] = []
        self._origin: dict[Sequence, str] = {}
        self._num_asked_at, self._silent = -_ASKS_EVERY, 0
        self.report = StrategistReport()

    def suggest(self, num: int) -> list[Sequence]:
        """Half of them from skills and the model, as far as there are any."""
        found: dict[Sequence, str] = {}
        self._ask_if_due()
        while len(found) < (num + 1) // 2 and (self._proposed or self._untried):
            origin = "model" if self._proposed else "skills"
            sequence = self._proposed.pop(0) if self._proposed else self._untried.pop(0)
            if sequence not in self.costs:
                found[sequence] = origin
        for sequence in self._search.suggest(num - len(found)) if len(found) < num else []:
            found.setdefault(sequence, "search")
        self._origin.update(found)
        return list(found)

    def observe(self, costs: Iterable[tuple[Sequence, float]]) -> None:
        """Learns costs, and notes who had the idea."""
        costs = list(costs)
        super().observe(costs)
        self._search.observe(costs)
        for sequence, cost in costs:
            origin = self._origin.pop(sequence, "search")
            self.report.measured[origin] += 1
            if math.isfinite(cost):
                self.report.best_gain[origin] = max(self.report.best_gain.get(origin, 0.0), 1 / cost)

    def _ask_if_due(self) -> None:
        if self.client is None or self._silent >= _PATIENCE or len(self.costs) - self._num_asked_at < _ASKS_EVERY:
            return
        self._num_asked_at = len(self.costs)
        reply = self.client.ask(self._question(), SCHEMA)
        self._silent = self._silent + 1 if reply.error else 0
        if reply.error:
            self.report.refused.append(reply.error)
            return
        self.report.replies.append(reply.text)
        for proposal in read_proposals(reply.text):
            self.report.refused += proposal.refused
            if proposal.sequence is not None and proposal.sequence not in self.costs and (self._polly or not proposal.sequence.uses_polly):
                self.report.accepted += 1
                self._proposed.append(proposal.sequence)

    def _question(self) -> list[Message]:
        counts = {name: round(number) for name, number in zip(FEATURES, self._features) if number}
        ordered = sorted(((c, s) for s, c in self.costs.items() if math.isfinite(c)), key=lambda row: row[0])
        shown = [*ordered[:_SHOWN_TRIALS], *ordered[-2:]] if len(ordered) > _SHOWN_TRIALS + 2 else ordered
        trials = [f"{1 / cost:.3f}x: {sequence}" for cost, sequence in shown]
        skills = [_tell(skill) for skill in self._skills]
        task = {**self._steps(), "counts": counts, "measured speed relative to -O3, best first": trials, "skills that apply": skills}
        return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": json.dumps(task, indent=1)}]


    def _steps(self) -> dict[str, list[str]]:
        """The passes and flags to choose from: those that change the program's code, where that is known."""
        if self._screen is None:
            passes = [name for name in PASSES if not name.startswith("default<")]
            return {"passes": passes, "flags": [f"-{name}={'|'.join(_word(v) for v in kind.values)}" for name, kind in FLAGS.items() if self._polly or not kind.polly]}
        steps = sorted(map(str, self._screen.steps))
        return {"passes": [s for s in steps if not s.startswith(("-", "default<"))], "flags": [s for s in steps if s.startswith("-")]}


def _word(value: bool | int | str) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_SYSTEM = f"""You tune the pass sequence of a C program for LLVM's `opt`. You get the passes and flags to choose from, counts of its unoptimised IR, the speed of \
sequences that were measured, and skills that apply. Propose up to {_MAX_PROPOSALS} different sequences that may run faster than all of those. A sequence is passes before a level, the level, \
passes after it, and flags. Combine what helped, leave out what hurt, follow one intent each. Never repeat a measured sequence."""


def _tell(skill: Skill) -> str:
    return f"{skill.name} ({skill.intent}): when {skill.when}; {skill.why}. opt {skill.steps}"


def read_proposals(text: str) -> list[Proposal]:
    """Reads a model's answer; what is no proposal is told as a refusal, never raised."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return [Proposal(None, "", ("the answer is no JSON",))]
    rows = answer.get("proposals") if isinstance(answer, dict) else None
    if not isinstance(rows, list):
        return [Proposal(None, "", ("the answer has no list of proposals",))]
    found = [_read_proposal(row) for row in rows[:_MAX_PROPOSALS]]
    if len(rows) > _MAX_PROPOSALS:
        found.append(Proposal(None, "", (f"more than {_MAX_PROPOSALS} proposals",)))
    return found


def _read_proposal(row: Any) -> Proposal:
    if not isinstance(row, dict):
        return Proposal(None, "", ("a proposal must be an object",))
    parts = {name: row.get(name, []) for name in ("before", "after", "flags")}
    if not all(isinstance(part, list) and len(part) <= _MAX_STEPS for part in parts.values()):
        return Proposal(None, "", (f"before, after and flags must be lists of at most {_MAX_STEPS}",))
    level = row.get("level", "O3")
    if not isinstance(level, str) or f"default<{level}>" not in PASSES:
        return Proposal(None, "", ("level must be one of O1, O2, O3, Os, Oz",))
    before, refused_before = parse_sequence(parts["before"])
    after, refused_after = parse_sequence(parts["after"], parts["flags"])
    passes = (*_once(before.passes), Pass(f"default<{level}>"), *_once(after.passes))
    intent = row.get("intent")
    sequence = Sequence(passes, after.flags)
    return Proposal(sequence, intent if intent in INTENTS else "", (*refused_before, *refused_after))


def _once(passes: Many[Pass]) -> tuple[Pass, ...]:
    """Small models repeat themselves: the same pass again and again is one."""
    return tuple(step for i, step in enumerate(passes) if i == 0 or step != passes[i - 1])


__all__ = ["SCHEMA", "SKILLS", "Proposal", "Strategist", "StrategistReport", "read_proposals"]
