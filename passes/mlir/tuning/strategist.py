"""A language model suggests answers to the forks of a template, between the suggestions of another search.

The model is shown the extents of the structured operations, the forks with their answers, and what was measured so far;
nothing of the program's text, so that comments and names cannot give it orders. What it says is data: each answer is
one of the fork's, or refused with a reason.
"""

from __future__ import annotations

import json
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Any

from foretune.passes.language.answers import read_rows
from foretune.passes.language.asking import Questions, proposals_schema, worth_showing
from foretune.passes.language.llm_client import LlmClient, Message
from foretune.passes.language.strategist import ProposingStrategy
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.grammar.templates import Template
from foretune.passes.mlir.tuning.moves import Answers
from foretune.passes.mlir.tuning.search import MlirSearch

_MAX_PROPOSALS, _MAX_ANSWERS, _MAX_TEXT = 32, 40, 200
_ASKED_FOR = 8  # of one answer, which has only so many tokens
_SHOWN_OPERATIONS = 40

SCHEMA = proposals_schema(
    _MAX_PROPOSALS,
    {
        "reason": {"type": "string", "maxLength": _MAX_TEXT},
        "answers": {
            "type": "array",
            "maxItems": _MAX_ANSWERS,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["fork", "answer"],
                "properties": {
                    "fork": {"type": "string", "maxLength": _MAX_TEXT},
                    "answer": {"type": "string", "maxLength": _MAX_TEXT},
                },
            },
        },
    },
)

_SYSTEM = f"""You tune how a program of linear algebra is fused, tiled, packed and vectorised for one core. You get \
its operations with the extents of their loops, the forks of a schedule with their possible answers, and the speed of \
schedules that were measured. Propose up to {_ASKED_FOR} different lists of answers that may run faster than all of \
those: keep what helped, change one or two answers, never repeat a measured list. Forks that you leave out keep their \
first answer."""


@dataclass(frozen=True)
class Proposal:
    """One proposal of the model's, read.

    Attributes:
        answers: (fork, answer) that the template knows.
        refused: a reason for each part that was refused.
    """

    answers: tuple[tuple[str, Any], ...] = ()
    refused: tuple[str, ...] = ()


class MlirStrategist(MlirSearch, ProposingStrategy[Schedule]):
    """The model's proposals now and then, between the suggestions of another search.

    Args:
        template: of the program.
        operations: as `modules.describe` tells them; shown to the model.
        search: what suggests otherwise; it learns of everything.
        client: of the language model.
        seed: as in `MlirSearch`.
        judge: a search whose model ranks the proposals, where the other one has none.
    """

    _search: MlirSearch

    def __init__(
        self,
        template: Template,
        operations: Many[dict[str, Any]],
        search: MlirSearch,
        client: LlmClient,
        seed: int = 0,
        judge: MlirSearch | None = None,
    ) -> None:
        super().__init__(template, seed)
        self._operations = [
            {k: row[k] for k in ("name", "extents", "parallel", "uses")} for row in operations[:_SHOWN_OPERATIONS]
        ]
        self.attach(search, judge, client)
        self._answering = search  # it tells the answers of its schedules
        self._questions = Questions(client, SCHEMA, self.report)

    def _ask_if_due(self) -> None:
        if not self._questions.are_due(len(self.costs)):
            return
        if not self.domains and self._moves.decode(self._moves.first()) is None:  # which tells the forks
            return
        for text in self._questions.ask([self._question()], len(self.costs)):
            for proposal in read_proposals(text, self.domains):
                self.report.refused += proposal.refused
                schedule = self._moves.decode(Answers(dict(proposal.answers))) if proposal.answers else None
                if schedule is not None and schedule not in self.costs:
                    self.report.accepted += self._proposals.add([schedule])
        self._proposals.answered()

    def told(self, schedule: Schedule) -> tuple[dict[str, str], dict[str, Any]]:
        """Of its own proposals, and of the other search's schedules."""
        own = super().told(schedule)
        return own if own[1] else self._answering.told(schedule)

    def _question(self) -> list[Message]:
        known = {**self._answering.answers, **self.answers}
        shown = worth_showing((schedule, cost) for schedule, cost in self.costs.items() if schedule in known)
        trials = [
            {
                "speed relative to the default lowering": round(1 / cost, 3),
                "answers": {f: str(a) for f, a in known[s].items()},
            }
            for s, cost in shown
        ]
        domains = {**self._answering.domains, **self.domains}
        task = {
            "operations": self._operations,
            "forks": {fork: [str(a) for a in answers] for fork, answers in domains.items()},
            "measured, best first": trials,
        }
        return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": json.dumps(task)}]


def read_proposals(text: str, domains: dict[str, tuple[Any, ...]]) -> list[Proposal]:
    """Reads a model's answer; what is no proposal is told as a refusal, never raised.

    Args:
        text: the answer.
        domains: fork -> its answers.
    """
    rows, refused = read_rows(text, _MAX_PROPOSALS)
    return [*(_read_proposal(row, domains) for row in rows), *(Proposal(refused=(reason,)) for reason in refused)]


def _read_proposal(row: Any, domains: dict[str, tuple[Any, ...]]) -> Proposal:
    pairs = row.get("answers") if isinstance(row, dict) else None
    if not isinstance(pairs, list) or len(pairs) > _MAX_ANSWERS:
        return Proposal(refused=(f"a proposal must have a list of at most {_MAX_ANSWERS} answers",))
    taken: dict[str, Any] = {}
    refused = []
    for pair in pairs:
        fork, answer = (pair.get("fork"), pair.get("answer")) if isinstance(pair, dict) else (None, None)
        if not isinstance(fork, str) or fork not in domains:
            refused.append(f"there is no fork {str(fork)[:60]!r}")
            continue
        known = {str(value).lower(): value for value in domains[fork]}
        if str(answer).lower() in known:
            taken[fork] = known[str(answer).lower()]
        else:
            refused.append(f"fork {fork} has the answers {', '.join(known)}, but got {str(answer)[:60]!r}")
    return Proposal(tuple(taken.items()), tuple(refused))
