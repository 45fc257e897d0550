"""Evidence: what measured winners teach, as records of features, evidence and decision.

Each step of a winner is left out once (`explain.py`); what remains is why it wins. A record tells the counts of the
program before, what each step was worth, and the steps that matter: reasoning worked out backwards from a measured
result, in the manner of ECCO ("Evidence-driven Causal Reasoning for Compiler Optimization", 2026). Records of held-out
programs are for testing only.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foretune.errors import DataError, IllegalActionError, LeftGrammarError
from foretune.passes.llvm.actions import INTENTS, PassSequence, parse_sequence, parse_step
from foretune.passes.llvm.observe import FEATURES
from foretune.passes.llvm.tuning.explain import SequenceExplanation
from foretune.support.files import write_text_atomically

_log = logging.getLogger(__name__)
_MIN_GAIN = 1.02  # smaller ones teach noise


@dataclass(frozen=True)
class EvidenceRecord:
    """What one winner teaches.

    Attributes:
        program: its name.
        features: counts of the unoptimised module, in the order of `observe.FEATURES`.
        gain: `-O3`'s time over the needed steps' time.
        evidence: (step, gain of the sequence without it) of each step that is needed.
        decision: the needed steps, as a sequence.
        steps: that change the program's code, as they print, among which the search chose; empty if nobody looked.
    """

    program: str
    features: tuple[float, ...]
    gain: float
    evidence: tuple[tuple[str, float], ...]
    decision: PassSequence
    steps: tuple[str, ...] = ()

    @property
    def intents(self) -> tuple[str, ...]:
        """What the needed steps are good for, the most frequent first."""
        found = [intent for step, _ in self.evidence for intent in parse_step(step).kind.intents]
        return tuple(sorted(set(found), key=lambda intent: (-found.count(intent), INTENTS.index(intent))))

    def to_json(self) -> dict[str, Any]:
        """The record as JSON data."""
        counts = {name: number for name, number in zip(FEATURES, self.features) if number}
        return {
            "program": self.program,
            "features": counts,
            "gain": self.gain,
            "evidence": [list(row) for row in self.evidence],
            "intents": list(self.intents),
            "passes": [str(step) for step in self.decision.passes],
            "flags": [str(flag) for flag in self.decision.flags],
            "steps": list(self.steps),
        }

    @classmethod
    def from_json(cls, data: Any) -> EvidenceRecord:
        """Reads what `to_json` wrote.

        Raises:
            DataError: the data has another shape, or a step is none of LLVM's.
            LeftGrammarError: a step of the decision has left the grammar since.
        """
        try:
            for step in (*data["passes"], *data["flags"]):
                _raise_if_left(step)
            decision, refused = parse_sequence(data["passes"], data["flags"])
            features = tuple(float(data["features"].get(name, 0.0)) for name in FEATURES)
            evidence = tuple((str(parse_step(step)), float(gain)) for step, gain in data["evidence"])
            steps = tuple(str(parse_step(step)) for step in data.get("steps", ()) if not _has_left(step))
            record = cls(str(data["program"]), features, float(data["gain"]), evidence, decision, steps)
        except LeftGrammarError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"not a record of evidence: {type(error).__name__}: {error}") from error
        if refused:
            raise DataError(f"not a record of evidence: {refused[0]}")
        return record


def evidence_of(
    explanation: SequenceExplanation, features: tuple[float, ...], steps: tuple[str, ...] = ()
) -> EvidenceRecord | None:
    """What an explanation teaches; None if the winner hardly gains, or no step of it is needed by itself.

    Args:
        explanation: of the winner.
        features: of the unoptimised module.
        steps: that change the program's code, if that is known.
    """
    needed = tuple((step.step, step.gain_without) for step in explanation.steps if step.needed)
    if explanation.gain < _MIN_GAIN or not needed:
        return None
    return EvidenceRecord(explanation.program, features, explanation.gain, needed, explanation.needed, steps)


def write_evidence(records: Iterable[EvidenceRecord], path: Path) -> None:
    """Writes records, one JSON document a line; whole or not at all."""
    write_text_atomically(path, "".join(json.dumps(record.to_json()) + "\n" for record in records))


def read_evidence(path: Path) -> Iterator[EvidenceRecord]:
    """Reads what `write_evidence` wrote; records with a step that has left the grammar since are left out, each with
    its name in the log.

    Raises:
        DataError: a line is damaged; its number is told.
    """
    try:
        with open(path) as file:
            for number, line in enumerate(file, 1):
                try:
                    yield EvidenceRecord.from_json(json.loads(line))
                except LeftGrammarError as error:
                    _log.warning("%s, line %d is left out: %s", path, number, error)
                except (ValueError, DataError) as error:
                    raise DataError(f"{path}, line {number}: {error}") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def _raise_if_left(step: object) -> None:
    """Raises `LeftGrammarError` of such a step; what else is wrong with it is told elsewhere."""
    try:
        parse_step(step)
    except LeftGrammarError:
        raise
    except IllegalActionError:
        pass


def _has_left(step: object) -> bool:
    try:
        _raise_if_left(step)
    except LeftGrammarError:
        return True
    return False
