"""Code that calls compiled functions once, with buffers whose addresses stand in it: assembly where all arguments are
integers and addresses, as those of memrefs are, because that is at hand at once; LLVM IR of others, because LLVM knows
how each type is passed.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from foretune.errors import UnsupportedError
from foretune.passes.mlir.environment.signature import Signature, ValueType, make_buffer, make_inputs

CALLER = "foretune_call"
_WORD = (1 << 64) - 1
_WORDS = frozenset(("ptr", "i1", "i8", "i16", "i32", "i64"))
_IN_REGISTERS = ("rdi", "rsi", "rdx", "rcx", "r8", "r9")
_KNOWN = frozenset(("ptr", "i1", "i8", "i16", "i32", "i64", "float", "double", "half", "bfloat"))


class Call:
    """A function's arguments, and how LLVM IR passes them: a memref as pointer twice, offset, extents, strides.

    Args:
        signature: of the function.
        definition: result and parameters of it in LLVM IR, as `read_definition` finds them.
        seed: of the inputs.

    Raises:
        UnsupportedError: the function has parameters that cannot be made.
    """

    def __init__(self, signature: Signature, definition: tuple[str, list[str]], seed: int = 0) -> None:
        self._result, kinds = definition
        self._name = signature.name
        self._buffers: list[np.ndarray] = []
        values: list[Any] = []
        for value, made in zip(signature.inputs, make_inputs(signature, seed)):
            values += self._memref(value, made) if value.kind != "scalar" else [made]
        for value in signature.results:  # tensors and memrefs are arguments behind the others now
            if value.kind != "scalar":
                values += self._memref(value, make_buffer(value))
        if len(values) != len(kinds) or not set(kinds) <= _KNOWN:
            raise UnsupportedError(f"@{signature.name} takes {', '.join(kinds)} in LLVM IR, which cannot be made here")
        self._words = [int(value) & _WORD for value in values] if {*kinds, self._result} <= {*_WORDS, "void"} else None
        self._arguments = [f"{kind} {_constant(kind, value)}" for kind, value in zip(kinds, values)]

    @property
    def assembly(self) -> list[str] | None:
        """Lines that call the function by the System V convention, with the stack as a function finds it; None where it
        takes or returns something other than integers and addresses.
        """
        if self._words is None or not self._name.isidentifier() or not self._name.isascii():
            return None
        in_registers, on_stack = self._words[: len(_IN_REGISTERS)], self._words[len(_IN_REGISTERS) :]
        room = 8 * (len(on_stack) | 1)  # beside the return address, so that the stack is aligned to two words
        lines = [f"\tsubq ${room}, %rsp"]
        for i, value in enumerate(on_stack):
            lines += [f"\tmovabsq ${value}, %rax", f"\tmovq %rax, {8 * i}(%rsp)"]
        lines += [f"\tmovabsq ${value}, %{register}" for value, register in zip(in_registers, _IN_REGISTERS)]
        return [*lines, f"\tcallq {self._name}@PLT", f"\taddq ${room}, %rsp"]

    def _memref(self, value: ValueType, buffer: np.ndarray) -> list[int]:
        self._buffers.append(buffer)
        address = buffer.ctypes.data - value.offset * buffer.itemsize
        return [address, address, value.offset, *buffer.shape, *(s // buffer.itemsize for s in buffer.strides)]

    @property
    def declaration(self) -> str:
        """Of the function."""
        return (
            f"declare {self._result} @{_quoted(self._name)}({', '.join(a.split(' ', 1)[0] for a in self._arguments)})"
        )

    def line(self, number: int) -> str:
        """The call."""
        kept = "" if self._result == "void" else f"%r{number} = "
        return f"  {kept}call {self._result} @{_quoted(self._name)}({', '.join(self._arguments)})"


def caller_assembly(calls: Sequence[Call]) -> str:
    """A function that calls each of them once; empty where that takes LLVM."""
    texts = [call.assembly for call in calls]
    if any(text is None for text in texts):
        return ""
    lines = [line for text in texts for line in text or ()]
    head = ["\t.text", f"\t.globl {CALLER}", f"\t.type {CALLER},@function", f"{CALLER}:"]
    return "\n".join([*head, *lines, "\tretq", ""])


def caller_ir(calls: Sequence[Call]) -> str:
    """A module whose function calls each of them once."""
    return (
        "\n".join(
            [
                *(call.declaration for call in calls),
                f"define void @{CALLER}() {{",
                *(call.line(i) for i, call in enumerate(calls)),
                "  ret void",
                "}",
            ]
        )
        + "\n"
    )


def read_definition(ir: str, name: str) -> tuple[str, list[str]]:
    """(type of the result, types of the parameters) of a function that LLVM IR defines.

    Raises:
        UnsupportedError: it does not.
    """
    match = re.search(rf'^define ([^@\n]+?) @(?:{re.escape(name)}|"{re.escape(name)}")\(([^\n]*)\)', ir, re.MULTILINE)
    if match is None:
        raise UnsupportedError(f"the LLVM IR does not define @{name}")
    return match[1].removeprefix("dso_local "), [part.split()[0] for part in _split(match[2])]


def _split(parameters: str) -> list[str]:
    """At commas that are not in brackets."""
    parts, depth = [""], 0
    for c in parameters:
        depth += (c in "({[<") - (c in ")}]>")
        if c == "," and not depth:
            parts.append("")
        else:
            parts[-1] += c
    return [part for part in parts if part.strip()]


def _quoted(name: str) -> str:
    return name if re.fullmatch(r"[-\w.$]+", name, re.ASCII) and not name[0].isdigit() else f'"{name}"'


def _constant(kind: str, value: Any) -> str:
    if kind == "ptr":
        return f"inttoptr (i64 {int(value)} to ptr)"
    if kind in ("float", "double"):  # LLVM writes both with the bits of a double
        exact = float(np.float32(value)) if kind == "float" else float(value)
        return f"0x{struct.unpack('<Q', struct.pack('<d', exact))[0]:016X}"
    if kind in ("half", "bfloat"):
        return f"0x{'H' if kind == 'half' else 'R'}{int(value):04X}"
    return str(int(value) & 1 if kind == "i1" else int(value))
