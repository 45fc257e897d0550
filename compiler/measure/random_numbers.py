"""Finds random operators before they draw a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from foretune.compiler.torch_private import OpOverload, TorchDispatchMode


class RandomOperator(Exception):
    """A program draws random numbers."""


class NoRandomOperators(TorchDispatchMode):
    """Raises `RandomOperator` in place of the first operator that would draw from PyTorch's random numbers."""

    supports_higher_order_operators = True

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs an operator."""
        if (
            torch.Tag.nondeterministic_seeded in getattr(operator, "tags", ())
            and (kwargs or {}).get("generator") is None
            and not drops_nothing(operator, args, kwargs or {})
        ):
            raise RandomOperator(f"the operator {operator} draws random numbers")
        run: Callable = operator
        return run(*args, **(kwargs or {}))


def drops_nothing(operator: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether the only random thing about a call, its dropout, has probability 0, as in attention."""
    for position, argument in enumerate(operator._schema.arguments):
        if argument.name == "dropout_p":
            value = kwargs.get("dropout_p", args[position] if position < len(args) else argument.default_value)
            return value == 0
    return False
