"""Evidence as questions and answers that a language model can learn from, split by program."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from foretune.errors import DataError
from foretune.passes.language.llm_client import Message
from foretune.passes.llvm.actions import parse_step
from foretune.passes.llvm.teaching.evidence import EvidenceRecord
from foretune.passes.llvm.tuning.question import make_question
from foretune.passes.llvm.tuning.strategist import MAX_FLAGS, MAX_PASSES, MAX_TEXT

_HELD_OUT = 0.25  # of the programs, where none are named


@dataclass(frozen=True)
class Example:
    """The strategist's question about a program before anything is measured, and the answer that a record of evidence
    gives.

    Attributes:
        record: of evidence.
        question: as the strategist asks it.
        answer: JSON in the strategist's schema, with one proposal.
    """

    record: EvidenceRecord
    question: tuple[Message, ...]
    answer: str


def make_examples(records: Sequence[EvidenceRecord]) -> list[Example]:
    """An example of each record whose decision is a proposal: passes before a level, the level, passes after it, few
    enough of each.
    """
    found = []
    for record in records:
        steps = frozenset(map(parse_step, record.steps)) if record.steps else None
        if (answer := answer_of(record)) is not None:
            found.append(Example(record, tuple(make_question(record.features, steps=steps, experimental=True)), answer))
    return found


def answer_of(record: EvidenceRecord) -> str | None:
    """The answer that a record gives; None if its decision is no proposal."""
    names = [str(step) for step in record.decision.passes]
    level = next((i for i, name in enumerate(names) if name.startswith("default<")), None)
    flags = [str(flag) for flag in record.decision.flags]
    if level is None or not record.intents or max(level, len(names) - level - 1) > MAX_PASSES or len(flags) > MAX_FLAGS:
        return None
    proposal = {
        "intent": record.intents[0],
        "reason": _reason(record),
        "before": names[:level],
        "level": names[level][len("default<") : -1],
        "after": names[level + 1 :],
        "flags": flags,
    }
    return json.dumps({"proposals": [proposal]})


def _reason(record: EvidenceRecord) -> str:
    """What was measured, the most needed step first, as far as there is room."""
    reason = f"{record.gain:.2f}x"
    for step, gain in sorted(record.evidence, key=lambda row: row[1]):
        if len(longer := f"{reason}, {gain:.2f}x without {step}") > MAX_TEXT:
            break
        reason = longer
    return reason


def split_evidence(
    records: Sequence[EvidenceRecord], held_out: Sequence[EvidenceRecord], never: Collection[str], seed: int
) -> tuple[list[EvidenceRecord], list[EvidenceRecord]]:
    """(records to learn, records to evaluate on), of different programs.

    Args:
        records: of all programs.
        held_out: to evaluate on; their programs are not learnt.
        never: programs that are not learnt either; what is told of them goes to the evaluation.
        seed: draws a quarter of the programs to evaluate on, where none are given.

    Raises:
        DataError: nothing is left to learn, or to evaluate on.
    """
    names = {record.program for record in held_out} | {record.program for record in records if record.program in never}
    if not names:
        programs = sorted({record.program for record in records})
        drawn = np.random.default_rng(seed).permutation(len(programs))[: max(1, round(_HELD_OUT * len(programs)))]
        names = {programs[i] for i in drawn}
    learnt = [record for record in records if record.program not in names]
    evaluated = list(dict.fromkeys([*held_out, *(record for record in records if record.program in names)]))
    if not learnt or not evaluated:
        raise DataError(
            f"evidence of two programs or more is needed, of which one is no held-out one, but there are {len(learnt)}"
            f" records to learn and {len(evaluated)} to evaluate on"
        )
    return learnt, evaluated
