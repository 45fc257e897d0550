"""The strategist: skills and a language model suggest, the rest of the search goes on beside them.

The language model is shown counts of the program, what was measured so far and the skills that apply. It answers with
intents and sequences, which are data: each is read by the closed grammar of `actions.py` and taken, or refused with a
reason. Nothing of the program's text is shown to it, so that comments and strings cannot give it orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Any

from foretune.passes.language.answers import read_rows
from foretune.passes.language.asking import Questions, StrategistReport, proposals_schema
from foretune.passes.language.llm_client import LlmClient, Message
from foretune.passes.language.strategist import ProposingStrategy
from foretune.passes.llvm.actions import INTENTS, Pass, PassSequence, parse_sequence
from foretune.passes.llvm.measure import PreparedProgram
from foretune.passes.llvm.tuning.macros import MACROS
from foretune.passes.llvm.tuning.question import MAX_PROPOSALS, intents_of, make_question, skills_for
from foretune.passes.llvm.tuning.screening import LEVELS, Screen, Screening
from foretune.passes.llvm.tuning.search import SearchStrategy
from foretune.passes.llvm.tuning.spellings import spell_flags, spell_passes

MAX_PASSES, MAX_FLAGS, MAX_TEXT = (
    6,
    8,
    200,
)  # of one proposal: before or after the level each; flags; characters of a text
_MAX_STEPS = 24
_NUM_SAMPLES = 2  # answers to one question, which follow different intents
_TOLD_REFUSALS = 6

SCHEMA = proposals_schema(
    MAX_PROPOSALS,
    {
        "intent": {"type": "string", "enum": list(INTENTS)},
        "reason": {"type": "string", "maxLength": MAX_TEXT},
        "before": {
            "type": "array",
            "maxItems": MAX_PASSES,
            "items": {"type": "string", "maxLength": MAX_TEXT},
        },
        "level": {"type": "string", "enum": ["O3", "O2", "O1", "Os", "Oz", *MACROS]},
        "after": {
            "type": "array",
            "maxItems": MAX_PASSES,
            "items": {"type": "string", "maxLength": MAX_TEXT},
        },
        "flags": {
            "type": "array",
            "maxItems": MAX_FLAGS,
            "items": {"type": "string", "maxLength": MAX_TEXT},
        },
    },
)


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


class Strategist(SearchStrategy, ProposingStrategy[PassSequence]):
    """Skills first, then the model's proposals now and then, between the suggestions of another search.

    Args:
        prepared: the program.
        search: what suggests otherwise; it learns of everything.
        client: of the language model; None does without.
        seed, polly: as in `SearchStrategy`.
        num_skills: most skills that are tried by themselves.
        screen: which steps change the program's code; the model is shown those alone.
        experimental: as in `SearchStrategy`.
        num_samples: answers that are asked for each time.
        judge: a search whose model ranks the proposals, where the other one has none.
    """

    _search: SearchStrategy

    def __init__(
        self,
        prepared: PreparedProgram,
        search: SearchStrategy,
        client: LlmClient | None = None,
        seed: int = 0,
        polly: bool = True,
        num_skills: int = 8,
        screen: Screen | None = None,
        experimental: bool = False,
        num_samples: int = _NUM_SAMPLES,
        judge: SearchStrategy | None = None,
    ) -> None:
        super().__init__(seed, polly, screen, experimental)
        self.attach(search, judge, client)
        self._features = prepared.features
        skills = skills_for(prepared.features, polly, self._shown_steps, experimental)
        self._untried = search.order([skill.steps for skill in skills])[:num_skills]
        self._num_samples = num_samples
        self._questions = Questions(client, SCHEMA, self.report) if client is not None else None

    def _others(self, num: int, taken: Callable[[PassSequence], bool]) -> Iterator[tuple[PassSequence, str]]:
        """Skills that were not tried yet."""
        while num > 0 and self._untried:
            sequence = self._untried.pop(0)
            if sequence not in self.costs:
                num -= not taken(sequence)
                yield sequence, "skills"

    def follow(self, screening: Screening) -> None:
        """The search follows it, too."""
        super().follow(screening)
        self._search.follow(screening)

    @property
    def _shown_steps(self) -> frozenset | None:
        return self._screen.possible if self._screen is not None else None

    def _ask_if_due(self) -> None:
        if self._questions is None or not self._questions.are_due(len(self.costs)):
            return
        for text in self._questions.ask(map(self._question, range(self._num_samples)), len(self.costs)):
            for proposal in read_proposals(text, self._experimental):
                self.report.refused += proposal.refused
                sequence = proposal.sequence
                if sequence is not None and sequence not in self.costs and (self._polly or not sequence.uses_polly):
                    self.report.accepted += self._proposals.add(
                        [self._screen.active(sequence) if self._screen is not None else sequence]
                    )
        self._proposals.answered()

    def _question(self, sample: int) -> list[Message]:
        intents, refused = (
            intents_of(sample, self._num_samples),
            list(dict.fromkeys(self.report.refused))[-_TOLD_REFUSALS:],
        )
        return make_question(
            self._features, self._polly, self._shown_steps, self.costs.items(), self._experimental, intents, refused
        )


def read_proposals(text: str, experimental: bool = True) -> list[Proposal]:
    """Reads a model's answer; what is no proposal is told as a refusal, never raised.

    Args:
        text: the answer.
        experimental: whether steps that are held back are taken.
    """
    rows, refused = read_rows(text, MAX_PROPOSALS)
    return [
        *(_read_proposal(row, experimental) for row in rows),
        *(Proposal(None, "", (reason,)) for reason in refused),
    ]


def _read_proposal(row: Any, experimental: bool) -> Proposal:
    if not isinstance(row, dict):
        return Proposal(None, "", ("a proposal must be an object",))
    parts = {name: row.get(name, []) for name in ("before", "after", "flags")}
    if not all(isinstance(part, list) and len(part) <= _MAX_STEPS for part in parts.values()):
        return Proposal(None, "", (f"before, after and flags must be lists of at most {_MAX_STEPS}",))
    core = _read_level(row.get("level", "O3"))
    if core is None:
        return Proposal(None, "", (f"level must be one of O1, O2, O3, Os, Oz, {', '.join(MACROS)}",))
    (before, more_flags), (after, yet_more) = spell_passes(parts["before"]), spell_passes(parts["after"])
    first, refused_before = parse_sequence(before)
    last, refused_after = parse_sequence(after, spell_flags([*more_flags, *yet_more, *parts["flags"]]))
    whole = PassSequence((*_once(first.passes), *core.passes, *_once(last.passes)), (*core.flags, *last.flags))
    sequence, held_back = (whole, ()) if experimental else _without_held_back(whole)
    intent = row.get("intent")
    num_parts = sum(map(len, parts.values()))
    return Proposal(
        sequence, intent if intent in INTENTS else "", (*refused_before, *refused_after, *held_back), num_parts
    )


def _read_level(level: Any) -> PassSequence | None:
    """The core of a proposal: a level, or a macro in its place; None of what is neither."""
    if not isinstance(level, str):
        return None
    name = level.strip().lstrip("-")
    if name in MACROS:
        return MACROS[name].sequence
    name = name if name.startswith("default<") else f"default<{name}>"
    return PassSequence((Pass(name),)) if name in LEVELS else None


def _without_held_back(sequence: PassSequence) -> tuple[PassSequence, tuple[str, ...]]:
    """(the rest of a sequence, a reason for each step that is held back)."""
    passes = tuple(step for step in sequence.passes if not step.kind.opt_in)
    return PassSequence(passes, tuple(flag for flag in sequence.flags if not flag.kind.opt_in)), sequence.held_back


def _once(passes: Many[Pass]) -> tuple[Pass, ...]:
    """Small models repeat themselves: the same pass again and again is one."""
    return tuple(step for i, step in enumerate(passes) if i == 0 or step != passes[i - 1])


__all__ = ["SCHEMA", "Proposal", "Strategist", "StrategistReport", "read_proposals"]
