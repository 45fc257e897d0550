"""Operations that are written as text, put in place of others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlir import ir


def insert_before(op: Any, text: str, arguments: Sequence[Any]) -> list[Any]:
    """Puts the body of a function before an operation.

    Args:
        op: any operation.
        text: of a module with one function of one block, and declarations behind it that it calls.
        arguments: values for those of the function, of the same types.

    Returns:
        What the function returns.
    """
    module = ir.Module.parse(text, op.context)
    first, *declared = [one.operation for one in module.body.operations]
    _declare(op, declared)
    block = first.regions[0].blocks[0]
    inserted = [one.operation for one in block.operations]
    for parameter, value in zip(list(block.arguments), arguments, strict=True):
        parameter.replace_all_uses_with(value)
    returned = list(inserted[-1].operands)
    inserted[-1].erase()
    for one in inserted[:-1]:
        one.move_before(op)
    return returned


def _declare(op: Any, functions: Sequence[Any]) -> None:
    """Adds declarations to the module that an operation is in, but for those that it has."""
    top = op
    while top.name != "builtin.module":
        top = top.parent.operation
    body = top.regions[0].blocks[0]
    known = {one.attributes["sym_name"] for one in body.operations if "sym_name" in one.attributes}
    for function in functions:
        if function.attributes["sym_name"] not in known:
            function.detach_from_parent()
            body.append(function)


class Writer:
    """Writes the body of a function line by line; the names of its values are its own."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._constants: dict[tuple[str, str], str] = {}
        self._declared: dict[str, str] = {}
        self._count = 0

    def new(self) -> str:
        """A name that was not given yet."""
        self._count += 1
        return f"%v{self._count}"

    def line(self, text: str) -> None:
        """Appends a statement."""
        self._lines.append(text)

    def value(self, text: str) -> str:
        """Appends `NAME = text`; the name."""
        name = self.new()
        self.line(f"{name} = {text}")
        return name

    def constant(self, literal: object, kind: str = "index") -> str:
        """A constant, defined once before everything else."""
        return self._constants.setdefault((str(literal), kind), f"%k{len(self._constants)}")

    def call(self, name: str, operands: Sequence[str], kinds: Sequence[str], result: str) -> str:
        """The result of a function that is declared only; names of LLVM's intrinsics are these. Intrinsics of the LLVM
        dialect would do, too, but buffers cannot be freed around what says nothing of its effects.
        """
        taken = ", ".join(kinds)
        self._declared[name] = f'func.func private @"{name}"({taken}) -> {result}'
        return self.value(f'func.call @"{name}"({", ".join(operands)}) : ({taken}) -> {result}')

    def add(self, index: str, constant: int) -> str:
        """An index and a number more."""
        return self.value(f"arith.addi {index}, {self.constant(constant)} : index") if constant else index

    def times(self, index: str, constant: int) -> str:
        """A multiple of an index."""
        return self.value(f"arith.muli {index}, {self.constant(constant)} : index") if constant != 1 else index

    def open_loop(self, low: str, high: str, step: int, given: Sequence[str], kind: str) -> tuple[str, list[str]]:
        """Opens a loop that carries values of one type; (its variable, what it carries inside)."""
        self._count += 1
        number = self._count
        carried = [f"%x{number}_{i}" for i in range(len(given))]
        pairs = ", ".join(f"{name} = {value}" for name, value in zip(carried, given))
        self.line(
            f"%r{number}:{len(given)} = scf.for %i{number} = {low} to {high} step {self.constant(step)}"
            f" iter_args({pairs}) -> ({', '.join([kind] * len(given))}) {{"
        )
        return f"%i{number}", carried

    def close_loop(self, variable: str, values: Sequence[str], kind: str) -> list[str]:
        """Closes the loop of a variable; what it carried out."""
        self.line(f"scf.yield {', '.join(values)} : {', '.join([kind] * len(values))}")
        self.line("}")
        return [f"%r{variable[2:]}#{i}" for i in range(len(values))]

    def function(self, arguments: Sequence[tuple[str, str]], result: str, kind: str) -> str:
        """The whole module.

        Args:
            arguments: (name, type) of each.
            result, kind: what is returned; nothing where its type is empty.
        """
        constants = [f"{name} = arith.constant {value} : {of}" for (value, of), name in self._constants.items()]
        signature = ", ".join(f"{name}: {kind}" for name, kind in arguments)
        end, returned = (f"return {result} : {kind}", f" -> {kind}") if kind else ("return", "")
        body = "\n".join([*constants, *self._lines, end])
        text = f"func.func private @spliced({signature}){returned} {{\n{body}\n}}\n"
        return "\n".join([text, *self._declared.values()])
