"""Which functions of a module run: those that are called from outside, and through them those that they call."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from foretune.errors import UnsupportedError
from foretune.passes.mlir.graph.categories import KNOWN_DIALECTS

_FUNCTIONS = ("func.func", "llvm.func")
_CALLS = ("func.call", "llvm.call")
_REFERENCES = ("func.constant", "llvm.mlir.addressof", "func.call_indirect")


@dataclass
class Functions:
    """The functions of a module and of the modules in it.

    Attributes:
        roots: those that are called from outside, in order: public ones that no other function calls.
        tables: function -> name -> function with a body that its module knows by it.
    """

    roots: list[Any] = field(default_factory=list)
    tables: dict[Any, dict[str, Any]] = field(default_factory=dict)

    def callee(self, caller: Any, call: Any) -> tuple[str, Any | None]:
        """(name, function) that a call leads to; None where it has no body here."""
        name = callee_name(call)
        return name, self.tables.get(caller, {}).get(name)


def callee_name(call: Any) -> str:
    """The name of the function that a call names; empty for calls through pointers."""
    return str(call.attributes["callee"].value).lstrip("@").strip('"') if "callee" in call.attributes else ""


def read_functions(module: Any) -> Functions:
    """Finds the functions of a module.

    Raises:
        UnsupportedError: something at its top is of a dialect that is not modelled.
    """
    found = Functions()
    _collect(module.body, found)
    called, taken = set(), set()
    for function, table in found.tables.items():
        for op in _inside(function):
            if op.name in _CALLS and (callee := table.get(callee_name(op))) is not None and callee != function:
                called.add(callee)
            elif op.name in _REFERENCES:
                taken.update(
                    table[str(a.attr).lstrip("@")] for a in _attributes(op) if str(a.attr).lstrip("@") in table
                )
    every = list(found.tables)
    public = [function for function in every if not is_private(function)]
    found.roots = [f for f in public if f not in called] or public or [f for f in every if f not in called] or every
    found.roots += [f for f in every if f in taken and f not in found.roots]
    return found


def is_private(function: Any) -> bool:
    """Whether only its own module can call a function."""
    attributes = function.attributes
    if "sym_visibility" in attributes:
        return str(attributes["sym_visibility"]) == '"private"'
    return "linkage" in attributes and any(word in str(attributes["linkage"]) for word in ("internal", "private"))


def _attributes(op: Any) -> list[Any]:
    return [op.attributes[i] for i in range(len(op.attributes))]


def _collect(block: Any, found: Functions) -> None:
    table: dict[str, Any] = {}
    for view in block.operations:
        op = view.operation
        if op.name in _FUNCTIONS:
            if len(op.regions) and len(op.regions[0].blocks):
                table[str(op.attributes["sym_name"].value)] = op
                found.tables[op] = table
        elif op.name == "builtin.module":
            _collect(op.regions[0].blocks[0], found)
        elif (
            op.name.split(".", 1)[0] not in KNOWN_DIALECTS and op.name != "ml_program.global"
        ):  # the seed of torch-mlir's random numbers
            raise UnsupportedError(unknown_dialect(op.name))


def unknown_dialect(name: str) -> str:
    """The message for an operation that nothing is known of."""
    return (
        f"operation {name} is of a dialect that the cost model does not know; it knows"
        f" {', '.join(sorted(KNOWN_DIALECTS))}"
    )


def _inside(op: Any) -> list[Any]:
    found, stack = [], [op]
    while stack:
        for region in stack.pop().regions:
            for block in region.blocks:
                for view in block.operations:
                    found.append(view.operation)
                    if len(view.operation.regions):
                        stack.append(view.operation)
    return found
