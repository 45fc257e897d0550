"""Modules inside of modules become one: passes and entries are looked for at the top only. Runs inside a worker."""

from __future__ import annotations

from typing import Any

from mlir import ir


def flatten(module: ir.Module) -> None:
    """Moves what inner `builtin.module`s hold to the top.

    Inner modules are scopes of their own. Of two functions of one name that have bodies, the inner one and its uses get
    a new name; a declaration gives way to what it declares.
    """
    scopes = [op.operation for op in module.body.operations if op.operation.name == "builtin.module"]
    if not scopes:
        return
    taken = {
        name: op.operation
        for op in module.body.operations
        if (name := _symbol(op.operation)) and op.operation.name != "builtin.module"
    }
    while scopes:
        scope = scopes.pop(0)
        for op in [op.operation for op in scope.regions[0].blocks[0].operations]:
            if op.name == "builtin.module":
                scopes.append(op)
            elif not _settle(op, scope, taken):
                continue
            op.detach_from_parent()
            module.body.append(op)
        scope.erase()


def _settle(op: Any, scope: Any, taken: dict[str, Any]) -> bool:
    """Makes the name of a symbol its own; False where the symbol went because another one stands for it."""
    name = _symbol(op)
    other = taken.get(name) if name else None
    if other is not None and _is_declaration(op):
        op.erase()
        return False
    if other is not None and _is_declaration(other):
        other.erase()
    elif other is not None:
        number = 1
        while f"{name}_{number}" in taken:
            number += 1
        ir.SymbolTable.replace_all_symbol_uses(name, f"{name}_{number}", scope)
        name = f"{name}_{number}"
        ir.SymbolTable.set_symbol_name(op, name)
    if name:
        taken[name] = op
    return True


def _is_declaration(op: Any) -> bool:
    return bool(len(op.regions)) and not len(op.regions[0].blocks)


def _symbol(op: Any) -> str:
    return str(op.attributes["sym_name"].value) if "sym_name" in op.attributes else ""
