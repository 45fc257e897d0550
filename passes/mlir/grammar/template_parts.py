"""What templates of schedules are written with: operations of a module, the registers that tiles are made for, and the
actions so far.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from foretune.passes.mlir.grammar.actions import MlirAction, Schedule

Choose = Callable[[str, Sequence[Any]], Any]
"""(name of the fork, answers, the most promising first) -> the answer."""

_PRODUCTS = ({"arith.mulf", "arith.addf"}, {"arith.muli", "arith.addi"})
_WIDENING = {"arith.extf", "arith.extsi", "arith.extui", "linalg.yield"}


@dataclass(frozen=True)
class Op:
    """A structured operation, as `modules.describe` tells it, with what it is."""

    index: int
    extents: tuple[int, ...]
    parallel: tuple[bool, ...]
    maps: tuple[tuple[int, ...], ...]
    num_inputs: int
    element: str
    body: frozenset[str]
    depth: int
    uses: tuple[int, ...]
    tensors: bool
    input: str = ""
    strided: frozenset[int] = frozenset()

    @classmethod
    def of(cls, index: int, row: dict[str, Any]) -> Op:
        maps = tuple(tuple(m) for m in row["maps"])
        strided = frozenset(d for dims in row.get("strided", ()) for d in dims)
        return cls(
            index,
            tuple(row["extents"]),
            tuple(row["parallel"]),
            maps,
            row["num_inputs"],
            row["element"],
            frozenset(row["body"]),
            row["depth"],
            tuple(row["uses"]),
            row["tensors"],
            row.get("input", row["element"]),
            strided,
        )

    @property
    def key(self) -> str:
        """What it computes, wherever it stands: body, extents, how operands are indexed, element types."""
        extents = "x".join(f"{n}{'' if parallel else 'r'}" for n, parallel in zip(self.extents, self.parallel))
        maps = " ".join(",".join(map(str, m)) for m in self.maps)
        kind = f"{self.input}->{self.element} {'tensor' if self.tensors else 'memref'}"
        return f"{'+'.join(sorted(self.body))} {extents} [{maps}] {kind} {self.num_inputs}"

    @property
    def output(self) -> tuple[int, ...]:
        return self.maps[-1]

    @property
    def is_product(self) -> bool:
        """Whether it is a sum of products of two operands."""
        multiplies = any(pair <= self.body <= pair | _WIDENING for pair in _PRODUCTS)
        return self.num_inputs == 2 and multiplies and not all(self.parallel) and not self._reads_twice

    @property
    def _reads_twice(self) -> bool:
        return any(not m for m in self.maps)

    @property
    def is_fill(self) -> bool:
        return all(self.parallel) and self.body == {"linalg.yield"} and not any(self.maps[: self.num_inputs])

    @property
    def is_reduction(self) -> bool:
        """Whether it reduces something, without a product of matrices."""
        return not all(self.parallel) and not self.is_product

    @property
    def is_transposition(self) -> bool:
        plain = [d for d in self.maps[0] if d >= 0]
        return self.num_inputs == 1 and all(self.parallel) and len(plain) > 1 and plain != sorted(plain)


@dataclass(frozen=True)
class Registers:
    """Vector registers that tiles are made for.

    Attributes:
        lanes: numbers of 32 bits in one.
        count: how many there are.
        preferred: of them, for the accumulators of a product.
        dot_instructions: that work on them, of `DOT_INSTRUCTIONS`.
    """

    lanes: int
    count: int
    preferred: int
    dot_instructions: frozenset[str] = frozenset()

    @classmethod
    def of(cls, bits: int, dot_instructions: Collection[str] = ()) -> Registers:
        """Of a processor with so wide ones: 32 registers of 512 bits, or 16 smaller ones."""
        having = frozenset(dot_instructions)
        return cls(16, 32, 20, having) if bits >= 512 else cls(max(bits, 128) // 32, 16, 12, having)

    @property
    def bits(self) -> int:
        """Of one."""
        return 32 * self.lanes

    def most_rows(self, vectors: int) -> int:
        """Rows of so many vectors whose accumulators fit beside a row of the right operand and a broadcast number."""
        return max(1, (self.count - 1 - vectors) // vectors)


def divisors(extent: int, least: int, most: int, multiple: int = 1) -> list[int]:
    """Divisors of an extent within bounds that are multiples of a number."""
    return [d for d in range(least, min(extent, most) + 1) if extent % d == 0 and d % multiple == 0]


class Built:
    """Actions so far."""

    def __init__(self, look: Callable[[tuple[MlirAction, ...]], dict[str, Any]], registers: Registers) -> None:
        self._look, self._actions, self.registers = look, [], registers

    @property
    def schedule(self) -> Schedule:
        return Schedule(tuple(self._actions))

    def add(self, *texts: str) -> None:
        self._actions += [MlirAction.parse(text) for text in texts]

    def tile(
        self, index: int, sizes: dict[int, int], num_dims: int, order: Sequence[int] | None = None, by: str = "tile"
    ) -> None:
        """Tiles dimensions; `order` names all of them, the outermost first."""
        texts = f"on=linalg:{index} sizes={','.join(str(sizes.get(d, 0)) for d in range(num_dims))}"
        if order is not None:
            tiled = [d for d in order if sizes.get(d, 0)]
            rank = sorted(tiled)
            if tiled != rank:
                texts += f" interchange={','.join(map(str, order))}"
        self.add(f"{by}{{{texts}}}")

    def describe(self) -> dict[str, Any]:
        return self._look(tuple(self._actions))

    def ops(self) -> list[Op]:
        return [Op.of(i, row) for i, row in enumerate(self.describe()["ops"])]
