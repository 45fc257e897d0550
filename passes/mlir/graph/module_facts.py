"""What a module's graph leaves out, and why a prediction from it may be far off."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from foretune.passes.mlir.graph.explain import line_of

NARROW = ("i1", "i4", "i16", "si8", "ui8", "f128", "f80", "tf32")
"""Element types that the training data has not; `f8` types count as narrow, too."""
_SHOWN = 3


@dataclass(frozen=True)
class ModuleFacts:
    """What the structure of a module does not tell.

    Attributes:
        functions: with a body that are called from outside.
        returned: words that they return, those of memrefs through memory.
        notes: what was assumed, in words.
        unknown_trips: loops whose extents nothing tells.
        unknown_operations: names of operations that are counted as `other`.
        elements: element types that the training data has not.
        outside: functions that are called and have no body here.
        library_bytes: copied by the C library in one run; `largest_copy` of them at once.
        printed: numbers that are printed, each by calls of a library; `printed_runs` as often as they are.
        uncertain: whether a note concerns how often something runs.
    """

    functions: int = 0
    returned: int = 0
    notes: tuple[str, ...] = ()
    unknown_trips: int = 0
    unknown_operations: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    library_bytes: float = 0.0
    largest_copy: float = 0.0
    uncertain: bool = False
    printed: float = 0.0
    printed_runs: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The facts as JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ModuleFacts:
        """Reads what `to_json` wrote."""
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in data.items()}
        return cls(**fields)


@dataclass
class FactsSoFar:
    """Facts, while a module is walked."""

    functions: int = 0
    returned: int = 0
    unknown_operations: set[str] = field(default_factory=set)
    elements: set[str] = field(default_factory=set)
    outside: set[str] = field(default_factory=set)
    library_bytes: float = 0.0
    largest_copy: float = 0.0
    printed: float = 0.0
    printed_runs: float = 0.0
    _notes: dict[str, None] = field(default_factory=dict)
    _trips: Counter[str] = field(default_factory=Counter)
    _taken: float = 0.0
    _uncertain: bool = False

    def note(self, text: str, wide: bool = False) -> None:
        """Something was assumed; `wide` where it says how often something runs."""
        self._notes[text] = None
        self._uncertain = self._uncertain or wide

    def unknown_trip(self, op: Any, taken: float, name: str = "") -> None:
        """Nothing tells how far a loop goes; `taken` is what is assumed, `name` what it is called if not by the
        operation.
        """
        line = line_of(op)
        self._trips[f"{name or op.name}{f' of line {line}' if line else ''}"] += 1
        self._taken = taken

    def frozen(self) -> ModuleFacts:
        """The facts."""
        notes = list(self._notes)
        if self._trips:
            shown = list(self._trips)
            more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
            notes.append(f"how far {', '.join(shown[:_SHOWN])}{more} goes is not known and is taken as {self._taken:g}")
        return ModuleFacts(
            self.functions,
            self.returned,
            tuple(notes),
            sum(self._trips.values()),
            tuple(sorted(self.unknown_operations)),
            tuple(sorted(self.elements)),
            tuple(sorted(self.outside)),
            self.library_bytes,
            self.largest_copy,
            self._uncertain or bool(self._trips),
            self.printed,
            self.printed_runs,
        )
