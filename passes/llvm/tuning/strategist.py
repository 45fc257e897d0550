"""The strategist: skills and a language model suggest, the rest of the search goes on beside them.

The model is shown counts of the program, what was measured so far and the skills that apply. It answers with intents and
sequences, which are data: each is read by the closed grammar of `actions.py` and taken, or refused with a reason. Nothing of the
program's text is shown to it, so that comments and strings cannot give it orders.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Any

from foretune.passes.language.asking import Questions, StrategistReport, read_rows
from foretune.passes.language.llm_client import LlmClient
from foretune.passes.llvm.actions import INTENTS, PASSES, Pass, PassSequence, parse_sequence
from foretune.passes.llvm.measure import PreparedProgram
from foretune.passes.llvm.tuning.question import MAX_PROPOSALS, make_question, skills_for
from foretune.passes.llvm.tuning.screening import Screen
from foretune.passes.llvm.tuning.search import SearchStrategy

MAX_PASSES, MAX_FLAGS, MAX_TEXT = 6, 8, 200  # of one proposal: before or after the level each; flags; characters of a text
_MAX_STEPS = 24

SCHEMA: dict[str, Any] = {
    "type": "object", "additionalProperties": False, "required": ["proposals"],
    "properties": {
        "proposals": {
            "type": "array", "minItems": 1, "maxItems": MAX_PROPOSALS,
            "items": {
                "type": "object", "additionalProperties": False, "required": ["intent", "reason", "before", "level", "after", "flags"],
                "properties": {
                    "intent": {"type": "string", "enum": list(INTENTS)},
                    "reason": {"type": "string", "maxLength": MAX_TEXT},
                    "before": {"type": "array", "maxItems": MAX_PASSES, "items": {"type": "string", "maxLength": MAX_TEXT}},
                    "level": {"type": "string", "enum": ["O3", "O2", "O1", "Os", "Oz"]},
                    "after": {"type": "array", "maxItems": MAX_PASSES, "items": {"type": "string", "maxLength": MAX_TEXT}},
                    "flags": {"type": "array", "maxItems": MAX_FLAGS, "items": {"type": "string", "maxLength": MAX_TEXT}},
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
        num_parts: passes and flags that it named; one if it could not be read.
    """

    sequence: PassSequence | None
    intent: str = ""
    refused: tuple[str, ...] = ()
    num_parts: int = 1


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
        self._known_steps = screen.steps if screen is not None else None
        self._untried = search.order([skill.steps for skill in skills_for(prepared.features, polly, self._known_steps)])[:num_skills]
        self._proposed: list[PassSequence] = []
        self._origin: dict[PassSequence, str] = {}
        self.report = StrategistReport()
        self._questions = Questions(client, SCHEMA, self.report) if client is not None else None

    def suggest(self, num: int) -> list[PassSequence]:
        """Half of them from skills and the model, as far as there are any."""
        found: dict[PassSequence, str] = {}
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

    def observe(self, costs: Iterable[tuple[PassSequence, float]]) -> None:
        """Learns costs, and notes who had the idea."""
        costs = list(costs)
        super().observe(costs)
        self._search.observe(costs)
        for sequence, cost in costs:
            self.report.note(self._origin.pop(sequence, "search"), cost)

    def _ask_if_due(self) -> None:
        if self._questions is None or not self._questions.are_due(len(self.costs)):
            return
        reply = self._questions.ask(make_question(self._features, self._polly, self._known_steps, self.costs.items()), len(self.costs))
        for proposal in read_proposals(reply) if reply is not None else []:
            self.report.refused += proposal.refused
            if proposal.sequence is not None and proposal.sequence not in self.costs and (self._polly or not proposal.sequence.uses_polly):
                self.report.accepted += 1
                self._proposed.append(proposal.sequence)


def read_proposals(text: str) -> list[Proposal]:
    """Reads a model's answer; what is no proposal is told as a refusal, never raised."""
    rows, refused = read_rows(text, MAX_PROPOSALS)
    return [*map(_read_proposal, rows), *(Proposal(None, "", (reason,)) for reason in refused)]


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
    sequence = PassSequence(passes, after.flags)
    return Proposal(sequence, intent if intent in INTENTS else "", (*refused_before, *refused_after), sum(map(len, parts.values())))


def _once(passes: Many[Pass]) -> tuple[Pass, ...]:
    """Small models repeat themselves: the same pass again and again is one."""
    return tuple(step for i, step in enumerate(passes) if i == 0 or step != passes[i - 1])


__all__ = ["SCHEMA", "Proposal", "Strategist", "StrategistReport", "read_proposals"]
