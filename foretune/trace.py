"""Action and Trace: what a compiler was told to do, step by step.

The two nouns serve every domain. A MetaSchedule instruction, an Ansor step, an AutoTVM knob and
an LLVM pass are all an operation with typed arguments; some of them carry a decision that was
chosen from a domain, and some name values made by earlier actions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Union

from foretune.errors import IllegalActionError

Value = Union[None, bool, int, float, str, tuple["Value", ...]]


def freeze(value: Any) -> Value:
    """Turns JSON data into hashable data: lists become tuples.

    Raises:
        IllegalActionError: the value is not made of null, bool, int, float, str and lists.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return tuple(freeze(v) for v in value)
    raise IllegalActionError(
        f"an action's argument must be null, bool, int, float, str or a list of these, but got {type(value).__name__}"
    )


def _thaw(value: Value) -> Any:
    return [_thaw(v) for v in value] if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Action:
    """One compiler action.

    Attributes:
        op: operation name in the tool's own vocabulary (`SamplePerfectTile`, `SP`, `loop-unroll`).
        inputs: values that the action works on. A str names an output of an earlier action; literal
            text is in double quotes, as in TVM's trace format.
        attrs: constant arguments.
        outputs: names of the values that the action makes.
        decision: what was chosen, for a sampling action; None elsewhere.
    """

    op: str
    inputs: tuple[Value, ...] = ()
    attrs: tuple[Value, ...] = ()
    outputs: tuple[str, ...] = ()
    decision: Value = None

    def __post_init__(self) -> None:
        if not isinstance(self.op, str) or not self.op:
            raise IllegalActionError(f"an action's op must be a non-empty str, but got {self.op!r}")

    def to_json(self) -> list[Any]:
        """The action as a JSON row `[op, inputs, attrs, outputs, decision]`."""
        return [self.op, _thaw(self.inputs), _thaw(self.attrs), list(self.outputs), _thaw(self.decision)]

    @classmethod
    def from_json(cls, row: Any) -> Action:
        """Reads what `to_json` wrote.

        Raises:
            IllegalActionError: the row has another shape.
        """
        if (
            not isinstance(row, (list, tuple))
            or len(row) != 5
            or not all(isinstance(row[i], (list, tuple)) for i in (1, 2, 3))
        ):
            raise IllegalActionError(
                f"an action must be [op, inputs, attrs, outputs, decision], but got {str(row)[:120]}"
            )
        op, inputs, attrs, outputs, decision = row
        if not all(isinstance(name, str) for name in outputs):
            raise IllegalActionError(f"an action's outputs must be names, but got {outputs!r}")
        return cls(op, freeze(inputs), freeze(attrs), tuple(outputs), freeze(decision))  # type: ignore[arg-type]

    def __str__(self) -> str:
        arguments = ", ".join([str(v) for v in self.inputs] + [json.dumps(_thaw(v)) for v in self.attrs])
        left = ", ".join(self.outputs) + " = " if self.outputs else ""
        right = f"  # decision: {json.dumps(_thaw(self.decision))}" if self.decision is not None else ""
        return f"{left}{self.op}({arguments}){right}"


@dataclass(frozen=True)
class Trace:
    """Ordered actions; applying them to the same program gives the same program.

    Attributes:
        actions: the actions in order.
    """

    actions: tuple[Action, ...]

    def to_json(self) -> list[Any]:
        """The trace as a JSON list of action rows."""
        return [action.to_json() for action in self.actions]

    @classmethod
    def from_json(cls, rows: Any) -> Trace:
        """Reads what `to_json` wrote.

        Raises:
            IllegalActionError: the data is not a list of action rows.
        """
        if not isinstance(rows, (list, tuple)):
            raise IllegalActionError(f"a trace must be a list of actions, but got {type(rows).__name__}")
        return cls(tuple(Action.from_json(row) for row in rows))

    @cached_property
    def key(self) -> str:
        """A hash of the whole trace, 16 hex digits: equal traces have equal keys."""
        return _digest(self.to_json())

    @cached_property
    def space_id(self) -> str:
        """A hash of the trace without its decisions: the design space that it is a point of."""
        return _digest([action.to_json()[:4] for action in self.actions])

    @property
    def decisions(self) -> tuple[tuple[int, Value], ...]:
        """(index of the action, decision) of every action that has one."""
        return tuple((i, a.decision) for i, a in enumerate(self.actions) if a.decision is not None)

    def with_decisions(self, decisions: Iterable[tuple[int, Value]]) -> Trace:
        """The same actions with other decisions.

        Args:
            decisions: (index of an action, its new decision).

        Raises:
            IllegalActionError: an index does not name an action that has a decision.
        """
        actions = list(self.actions)
        for index, decision in decisions:
            if not 0 <= index < len(actions) or actions[index].decision is None:
                raise IllegalActionError(f"action {index} of {len(actions)} has no decision to replace")
            actions[index] = replace(actions[index], decision=freeze(decision))
        return Trace(tuple(actions))

    def __len__(self) -> int:
        return len(self.actions)

    def __str__(self) -> str:
        return "\n".join(str(action) for action in self.actions)


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, separators=(",", ":")).encode()).hexdigest()[:16]
