"""Asking a language model now and then during a search: when, how often, what it is shown, and what came of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import Any, TypeVar

from foretune.passes.language.llm_client import LlmClient, Message
from foretune.passes.language.proposals import Proposals

_ASKS_EVERY = 12  # measurements
_PATIENCE = 2  # questions without an answer, after which none is asked any more
_SHOWN_BEST, _SHOWN_WORST = 8, 2

Item = TypeVar("Item")


@dataclass
class StrategistReport:
    """What the strategist did, and what came of it.

    Attributes:
        measured: origin (`skills`, `model`, `search`) -> candidates measured.
        best_gain: origin -> the best gain among them.
        accepted, refused: proposals of the model's that were taken, and reasons for parts that were not.
        replies: the model's texts, as they came.
        proposals: those that were taken, with their predicted ranks and what was measured of them.
    """

    measured: Counter = field(default_factory=Counter)
    best_gain: dict[str, float] = field(default_factory=dict)
    accepted: int = 0
    refused: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    proposals: Proposals = field(default_factory=Proposals)

    def note(self, origin: str, cost: float) -> None:
        """Counts a measurement for who had the idea; `cost` is infinite if it failed."""
        self.measured[origin] += 1
        if math.isfinite(cost):
            self.best_gain[origin] = max(self.best_gain.get(origin, 0.0), 1 / cost)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {
            "measured": dict(self.measured),
            "best_gain": self.best_gain,
            "accepted": self.accepted,
            "refused": self.refused[:100],
            "num_refused": len(self.refused),
            "replies": [reply[:20_000] for reply in self.replies],
            "proposals": self.proposals.to_json(),
        }


def proposals_schema(most: int, parts: Mapping[str, Any]) -> dict[str, Any]:
    """JSON schema of an answer that is a list of proposals.

    Args:
        most: proposals.
        parts: name -> schema; each proposal has all of them.
    """
    proposal = {"type": "object", "additionalProperties": False, "required": list(parts), "properties": dict(parts)}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["proposals"],
        "properties": {"proposals": {"type": "array", "minItems": 1, "maxItems": most, "items": proposal}},
    }


class Questions:
    """Questions to one model during one search.

    Args:
        client: of the language model.
        schema: of its answers.
        report: gets the replies, and why there was none.
    """

    def __init__(self, client: LlmClient, schema: Mapping[str, Any], report: StrategistReport) -> None:
        self._client, self._schema, self._report = client, schema, report
        self._asked_at, self._silent = -_ASKS_EVERY, 0

    def are_due(self, num_measured: int) -> bool:
        """Whether enough was measured since the last one, and the model still answers."""
        return self._silent < _PATIENCE and num_measured - self._asked_at >= _ASKS_EVERY

    def ask(self, questions: Iterable[list[Message]], num_measured: int) -> list[str]:
        """The model's answers, as far as they came; the report says why there was none, after which no more is asked
        this time.
        """
        self._asked_at = num_measured
        texts: list[str] = []
        for question in questions:
            reply = self._client.ask(question, self._schema)
            if reply.error:
                self._report.refused.append(reply.error)
                break
            texts.append(reply.text)
        self._silent = 0 if texts else self._silent + 1
        self._report.replies += texts
        return texts


def worth_showing(costs: Iterable[tuple[Item, float]]) -> Many[tuple[Item, float]]:
    """What a model is shown of the measurements: the best, and the two worst, the best first."""
    ordered = sorted(((item, cost) for item, cost in costs if math.isfinite(cost)), key=lambda row: row[1])
    return [*ordered[:_SHOWN_BEST], *ordered[-_SHOWN_WORST:]] if len(ordered) > _SHOWN_BEST + _SHOWN_WORST else ordered
