"""Call sequences as JSON, beside the library whose kernels they call.

They hold offsets in memory that C writes to, so that they are as trusted as the machine code itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from foretune.compiler.tir.call_sequence import Buffer, CallSequence, Memory, aligned
from foretune.errors import DataError


def sequence_to_json(sequence: CallSequence) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """A call sequence as JSON data, and the constants in it."""
    constants: list[torch.Tensor] = []

    def row(buffer: Buffer) -> list[Any]:
        place = buffer.memory.place
        if buffer.memory.kind == "constant":
            place = len(constants)
            constants.append(buffer.memory.held)
        return [buffer.memory.kind, place, list(buffer.shape), buffer.dtype]

    rows = {name: [row(buffer) for buffer in getattr(sequence, name)] for name in ("inputs", "made", "results")}
    calls = [[kernel, [row(buffer) for buffer in arguments]] for kernel, arguments in sequence.calls]
    return {**rows, "calls": calls, "workspace_bytes": sequence.workspace_bytes}, constants


def sequence_from_json(data: Any, constants: Mapping[int, torch.Tensor]) -> CallSequence:
    """Reads what `sequence_to_json` wrote.

    Args:
        data: the JSON data.
        constants: number -> value.

    Raises:
        DataError: the data is damaged.
    """

    def buffer(row: Any) -> Buffer:
        kind, place, shape, dtype = row
        if kind not in ("input", "output", "workspace", "constant"):
            raise DataError(f"there is no memory of the kind {str(kind)[:40]}")
        memory = Memory(kind, int(place))
        if kind == "constant":
            memory = Memory(kind, constant=aligned(constants[place]))
        return Buffer(memory, tuple(map(int, shape)), str(dtype))

    try:
        inputs, made, results = (tuple(map(buffer, data[name])) for name in ("inputs", "made", "results"))
        calls = tuple((str(kernel), tuple(map(buffer, arguments))) for kernel, arguments in data["calls"])
        return CallSequence(inputs, calls, made, results, int(data["workspace_bytes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"a sequence of calls is damaged: {type(error).__name__}: {str(error)[:120]}") from error
