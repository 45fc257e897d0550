"""Random straight-line arithmetic for the bodies of generated loops and `linalg.generic` operations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_FLOAT_BINARY = ("addf", "addf", "mulf", "mulf", "subf", "maximumf", "minimumf", "divf")
_INT_BINARY = ("addi", "addi", "muli", "subi", "maxsi", "minsi", "andi", "ori", "xori")
_FLOAT_UNARY = ("math.absf", "math.sqrt", "arith.negf", "math.exp")
_COSTLY = {"divf": 0.3, "math.exp": 0.25, "math.sqrt": 0.5}  # chance of being kept when drawn


def is_float(element: str) -> bool:
    """Whether an element type such as `f32` is one of floating point."""
    return element.startswith(("f", "bf"))


def literal(element: str, value: float) -> str:
    """A constant's attribute without its type."""
    return f"{value:.6e}" if is_float(element) else str(round(value))


class Body:
    """Statements with fresh value names.

    Args:
        rng: draws the arithmetic.
        element: type of all values.
        prefix: of the value names.
    """

    def __init__(self, rng: np.random.Generator, element: str, prefix: str = "v") -> None:
        self._rng, self.element, self._prefix = rng, element, prefix
        self.lines: list[str] = []

    def _name(self) -> str:
        return f"%{self._prefix}{len(self.lines)}"

    def add(self, text: str) -> str:
        """Appends `NAME = text`; the name."""
        name = self._name()
        self.lines.append(f"{name} = {text}")
        return name

    def binary(self, op: str, a: str, b: str) -> str:
        """One operation of `arith`."""
        return self.add(f"arith.{op} {a}, {b} : {self.element}")

    def constant(self, value: float) -> str:
        """A constant."""
        return self.add(f"arith.constant {literal(self.element, value)} : {self.element}")

    def sum(self, values: Sequence[str]) -> str:
        """The sum of some values, from the left."""
        total = values[0]
        for value in values[1:]:
            total = self.binary("addf" if is_float(self.element) else "addi", total, value)
        return total

    def product(self, a: str, b: str) -> str:
        """The product of two values."""
        return self.binary("mulf" if is_float(self.element) else "muli", a, b)

    def random(self, inputs: Sequence[str], num_ops: int) -> str:
        """A random expression that uses every input.

        Args:
            inputs: values to work on.
            num_ops: operations beside those that join the inputs.
        """
        rng, pool, unused = self._rng, list(inputs), list(inputs)
        for _ in range(num_ops):
            a = unused.pop(0) if unused else pool[int(rng.integers(len(pool)))]
            pool.append(self._step(a, pool))
        result = pool[-1]
        for value in unused:
            result = self.binary(
                self._draw(_FLOAT_BINARY[:7] if is_float(self.element) else _INT_BINARY), result, value
            )
        return result

    def _draw(self, names: Sequence[str]) -> str:
        while True:
            name = str(names[int(self._rng.integers(len(names)))])
            if self._rng.random() < _COSTLY.get(name, 1.0):
                return name

    def _step(self, a: str, pool: Sequence[str]) -> str:
        rng, kind = self._rng, self._rng.random()
        b = pool[int(rng.integers(len(pool)))]
        if kind < 0.2:
            b = self.constant(float(rng.integers(1, 8)) / 2 if is_float(self.element) else float(rng.integers(1, 8)))
        if is_float(self.element):
            if kind > 0.85:
                return (
                    self.add(f"{self._draw(_FLOAT_UNARY)} {a} : {self.element}") if kind > 0.92 else self._select(a, b)
                )
            op = self._draw(_FLOAT_BINARY)
            if op == "divf":  # away from zero: most inputs are between 0 and 1
                b = self.binary("maximumf", b, self.constant(0.5))
            return self.binary(op, a, b)
        if kind > 0.92:
            return self._select(a, b)
        if kind > 0.85:
            return self.binary("shrsi" if rng.random() < 0.5 else "shli", a, self.constant(float(rng.integers(1, 4))))
        return self.binary(self._draw(_INT_BINARY), a, b)

    def _select(self, a: str, b: str) -> str:
        compare = f"arith.cmpf ogt, {a}, {b}" if is_float(self.element) else f"arith.cmpi sgt, {a}, {b}"
        condition = self.add(f"{compare} : {self.element}")
        return self.add(f"arith.select {condition}, {a}, {b} : {self.element}")
