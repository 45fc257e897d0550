"""What was best for an operation, kept for other modules: answers to the template's forks, by operation and processor.

An operation is known by what it computes, its extents, how its operands are indexed, and its element types; names and
places do not matter. A module that has some of these operations is tuned from their answers on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from foretune.errors import DataError
from foretune.support.files import write_text_atomically

VERSION = 1
Answer = int | str | None  # bool is an int


@dataclass(frozen=True)
class Winner:
    """What was best for an operation.

    Attributes:
        answers: fork -> answer, without the operation's place in front of the fork's name.
        gain: of the whole program over the default lowering.
        operations: that program had; what was found for one alone is surer.
    """

    answers: dict[str, Answer]
    gain: float
    operations: int

    def is_surer(self, other: Winner) -> bool:
        """Whether it is to be kept rather than another one."""
        return (-self.operations, self.gain) > (-other.operations, other.gain)


@dataclass
class Winners:
    """A library of winners.

    Attributes:
        known: processor -> operation -> winner.
    """

    known: dict[str, dict[str, Winner]] = field(default_factory=dict)

    def opening(self, cpu: str, operations: Mapping[str, str]) -> dict[str, Answer]:
        """Answers for a module, by the full names of its forks.

        Args:
            cpu: processor.
            operations: place, such as `op2`, -> operation.
        """
        library = self.known.get(cpu, {})
        return {
            f"{place} {fork}": answer
            for place, operation in operations.items()
            if operation in library
            for fork, answer in library[operation].answers.items()
        }

    def learn(self, cpu: str, operations: Mapping[str, str], answers: Mapping[str, Any], gain: float) -> int:
        """Keeps what a program's best schedule says of each of its operations; how many of them are new or better."""
        library, kept = self.known.setdefault(cpu, {}), 0
        for place, operation in operations.items():
            own = {name.removeprefix(f"{place} "): a for name, a in answers.items() if name.startswith(f"{place} ")}
            winner = Winner(own, gain, len(operations))
            if own and (operation not in library or winner.is_surer(library[operation])):
                library[operation] = winner
                kept += 1
        return kept

    def save(self, path: Path) -> None:
        """Writes the library as JSON."""
        known = {
            cpu: {name: {"answers": w.answers, "gain": w.gain, "operations": w.operations} for name, w in rows.items()}
            for cpu, rows in self.known.items()
        }
        write_text_atomically(path, json.dumps({"version": VERSION, "winners": known}, indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, path: Path) -> Winners:
        """Reads what `save` wrote; an empty library where there is no file yet.

        Raises:
            DataError: it is no such file.
        """
        if not path.exists():
            return cls()
        try:
            data = json.loads(path.read_text())
            if data["version"] != VERSION:
                raise DataError(f"{path} has version {data['version']} of winners, but this release reads {VERSION}")
            return cls({cpu: {k: _winner(row) for k, row in rows.items()} for cpu, rows in data["winners"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"{path} is no library of winners ({type(error).__name__}: {error}); `foretune mlir tune --winners`"
                " writes them"
            ) from None


def _winner(row: dict[str, Any]) -> Winner:
    answers = {str(fork): answer for fork, answer in row["answers"].items()}
    if not all(answer is None or isinstance(answer, (int, str)) for answer in answers.values()):
        raise ValueError("answers are numbers, words or null")
    return Winner(answers, float(row["gain"]), int(row["operations"]))
