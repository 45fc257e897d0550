"""Widening matrix products by the dot-product instructions of x86, as text.

`vpdpbusd`, `vpmaddwd` and `vdpbf16ps` multiply groups of neighbouring narrow numbers and add each group to one lane of
32 bits. So the right operand is packed into panels in which the steps of a group stand side by side in a lane, one load
of 32 bits of the left operand is broadcast, and a tile of accumulators stays in registers over the whole reduction, as
in the tiles of Goto and van de Geijn (2008).

`vpdpbusd` takes one operand without and one with a sign. Where both have one, 128 is added to the numbers of the packed
operand, and 128 times the sum of each row of the left one is taken off in the end; where none has one, the other way
round. All of it is arithmetic modulo 2^32, so that results are equal to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from foretune.passes.mlir.grammar.dot_instructions import DOT_INSTRUCTIONS
from foretune.passes.mlir.rewriting.splice import Writer

LEFT, RIGHT, OUT = "%left", "%right", "%out"
_FLIP = -128  # what `xor` with it adds to a number of 8 bits, or takes off


@dataclass(frozen=True)
class WideningProduct:
    """A product of narrow numbers whose sums are of 32 bits.

    Attributes:
        extents: of its loops.
        left, right, out: the loops that index each dimension of the operands and of the output; the left operand's last
            one is the reduction, the output's last one the columns, of the right operand both are the last two.
        rows, columns, reduced: loops.
        element: type of both operands.
        signed: whether the left and the right operand's numbers have a sign.
    """

    extents: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    out: tuple[int, ...]
    rows: int
    columns: int
    reduced: int
    element: str
    signed: tuple[bool, bool] = (True, True)

    def shape(self, dims: Sequence[int]) -> list[int]:
        """Extents of some loops."""
        return [self.extents[d] for d in dims]


@dataclass(frozen=True)
class DotTiling:
    """How a product is cut.

    Attributes:
        rows: of a tile.
        vectors: in a row of a tile.
        bits: of a vector.
        block: rows that are done for all columns before the next ones; 0 for all.
    """

    rows: int
    vectors: int
    bits: int
    block: int = 0


def dot_product_text(product: WideningProduct, by: str, tiling: DotTiling) -> str:
    """A function of left operand, right operand and output that returns the output with the products added.

    Args:
        product: what it computes.
        by: a key of `DOT_INSTRUCTIONS`.
        tiling: how.

    Raises:
        ValueError: the instruction does not compute it, or the sizes do not fit; the message says why.
    """
    return _Kernel(product, by, tiling).text()


def _tensor(shape: Sequence[int], element: str) -> str:
    return f"tensor<{''.join(f'{n}x' for n in shape)}{element}>"


Indices = Mapping[int, str]
"""Loop -> the value that indexes it."""


class _Kernel:
    def __init__(self, product: WideningProduct, by: str, tiling: DotTiling) -> None:
        self._p, self._tiling, self._w = product, tiling, Writer()
        self._by = DOT_INSTRUCTIONS[by]
        self._group, self._element, self._result = self._by.group, self._by.element, self._by.result
        self._lanes = tiling.bits // 32
        self._width = self._lanes * tiling.vectors
        if tiling.bits not in self._by.intrinsics:
            raise ValueError(f"{by} takes vectors of {sorted(self._by.intrinsics)} bits, but got {tiling.bits}")
        if product.element not in self._by.operands:
            raise ValueError(f"{by} multiplies {' and '.join(self._by.operands)}, but got {product.element}")
        if not all(product.signed) and product.element == "i16":
            raise ValueError("numbers of i16 without a sign do not fit the lanes of vpmaddwd")
        columns, steps = product.extents[product.columns], product.extents[product.reduced]
        if columns % self._width or steps % self._group:
            raise ValueError(
                f"columns must be a multiple of {self._width} and steps of {self._group}, but got {columns} and {steps}"
            )
        self._panels, self._steps = columns // self._width, steps // self._group
        self._flips = self._element == "i8" and product.signed[0] == product.signed[1]
        self._kinds = {
            LEFT: _tensor(product.shape(product.left), product.element),
            RIGHT: _tensor(product.shape(product.right), product.element),
            OUT: _tensor(product.shape(product.out), self._result),
        }
        self._accumulator = f"vector<{self._lanes}x{self._result}>"
        self._packed = f"vector<{self._lanes * self._group}x{self._element}>"
        self._left_kind = self._kinds[LEFT].replace(f"x{product.element}>", f"x{self._element}>")

    def text(self) -> str:
        p = self._p
        panels = self._pack()
        left = self._widened_left() if p.element != self._element else LEFT
        corrections = self._corrections() if self._flips else ""
        outer = [d for d in p.out if d not in (p.rows, p.columns)]

        def blocks(known: Indices, made: str) -> str:
            rows = p.extents[p.rows]
            block = min(self._tiling.block or rows, rows)
            whole = rows // block * block

            def region(start: str, num_rows: int, made: str) -> str:
                return self._region(start, num_rows, known, (left, panels, corrections), made)

            zero = self._w.constant(0)
            made = (
                region(zero, block, made)
                if whole == block
                else self._over(whole, made, self._kinds[OUT], lambda i, inner: region(i, block, inner), block)
            )
            return region(self._w.constant(whole), rows - whole, made) if rows > whole else made

        result = self._nest(outer, OUT, self._kinds[OUT], blocks)
        return self._w.function(list(self._kinds.items()), result, self._kinds[OUT])

    # -- loops -------------------------------------------------------------------------------------

    def _over(
        self, extent: int, made: str, kind: str, body: Callable[[str, str], str], step: int = 1, start: int = 0
    ) -> str:
        """A loop that carries one tensor; `body`: (variable, tensor) -> tensor."""
        w = self._w
        variable, [inner] = w.open_loop(w.constant(start), w.constant(start + extent), step, [made], kind)
        return w.close_loop(variable, [body(variable, inner)], kind)[0]

    def _nest(self, dims: Sequence[int], made: str, kind: str, body: Callable[[Indices, str], str]) -> str:
        """Loops over whole dimensions, the outermost first."""
        if not dims:
            return body({}, made)
        first, rest = dims[0], dims[1:]
        return self._over(
            self._p.extents[first],
            made,
            kind,
            lambda i, inner: self._nest(rest, inner, kind, lambda known, one: body({first: i, **known}, one)),
        )

    def _chunks(self, extent: int, size: int) -> tuple[int, int]:
        """(elements in whole chunks, those left)."""
        return extent // size * size, extent % size

    # -- numbers -----------------------------------------------------------------------------------

    def _read(self, tensor: str, kind: str, indices: Sequence[str], count: int, element: str) -> str:
        zero = self._w.constant("0.0" if element in ("bf16", "f32") else "0", element)
        return self._w.value(
            f"vector.transfer_read {tensor}[{', '.join(indices)}], {zero} {{in_bounds = [true]}} : {kind},"
            f" vector<{count}x{element}>"
        )

    def _write(self, value: str, vector: str, tensor: str, kind: str, indices: Sequence[str]) -> str:
        return self._w.value(
            f"vector.transfer_write {value}, {tensor}[{', '.join(indices)}] {{in_bounds = [true]}} : {vector}, {kind}"
        )

    def _widen(self, value: str, count: int, signed: bool) -> str:
        """Numbers as the instruction takes them."""
        if self._p.element == self._element:
            return value
        verb = "arith.extsi" if signed else "arith.extui"
        return self._w.value(f"{verb} {value} : vector<{count}x{self._p.element}> to vector<{count}x{self._element}>")

    def _word(self, value: str, element: str) -> str:
        """A group of numbers as one of 32 bits."""
        bits = self._w.value(f"vector.bitcast {value} : vector<{self._group}x{element}> to vector<1xi32>")
        return self._w.value(f"vector.extract {bits}[0] : i32 from vector<1xi32>")

    def _broadcast(self, word: str) -> str:
        wide = self._w.value(f"vector.broadcast {word} : i32 to vector<{self._lanes}xi32>")
        return self._w.value(f"vector.bitcast {wide} : vector<{self._lanes}xi32> to {self._packed}")

    def _dot(self, accumulator: str, left: str, right: str) -> str:
        """An accumulator and the products of a vector of the left operand and a packed one of the right operand."""
        first, second = (right, left) if self._by.unsigned_first and self._p.signed[0] else (left, right)
        name = self._by.intrinsics[self._tiling.bits]
        kinds = [self._packed, self._packed]
        if self._by.adds:
            return self._w.call(name, [accumulator, first, second], [self._accumulator, *kinds], self._accumulator)
        made = self._w.call(name, [first, second], kinds, self._accumulator)
        return self._w.value(f"arith.addi {accumulator}, {made} : {self._accumulator}")

    # -- what is made before -----------------------------------------------------------------------

    def _panels_of(self, known: Indices) -> list[str]:
        p = self._p
        return [known[d] for d in p.right if d not in (p.columns, p.reduced)]

    @property
    def _panels_kind(self) -> str:
        p = self._p
        outer = p.shape([d for d in p.right if d not in (p.columns, p.reduced)])
        return _tensor([*outer, self._panels, self._steps, self._width * self._group], self._element)

    def _pack(self) -> str:
        """The right operand in panels."""
        p, kind = self._p, self._panels_kind
        outer = [d for d in p.right if d not in (p.columns, p.reduced)]

        def panels(known: Indices, made: str) -> str:
            return self._over(
                self._panels,
                made,
                kind,
                lambda j, one: self._over(self._steps, one, kind, lambda q, two: self._pack_step(known, j, q, two)),
            )

        return self._nest(outer, self._w.value(f"tensor.empty() : {kind}"), kind, panels)

    def _pack_step(self, known: Indices, panel: str, step: str, made: str) -> str:
        """A group of steps of a panel."""
        w, p, group, lanes = self._w, self._p, self._group, self._lanes
        steps, columns = w.times(step, group), w.times(panel, self._width)

        def read(column: int, number: int, count: int) -> str:
            where = {**known, p.columns: w.add(columns, column), p.reduced: w.add(steps, number)}
            found = self._read(RIGHT, self._kinds[RIGHT], [where[d] for d in p.right], count, p.element)
            return self._widen(found, count, p.signed[1])

        for first in range(0, self._width, lanes):
            if p.right[-1] == p.columns:
                value = self._interleaved([read(first, number, lanes) for number in range(group)])
            else:
                words = [self._word(read(first + lane, 0, group), self._element) for lane in range(lanes)]
                value = w.value(f"vector.from_elements {', '.join(words)} : vector<{lanes}xi32>")
                value = w.value(f"vector.bitcast {value} : vector<{lanes}xi32> to {self._packed}")
            if self._flips:
                flip = w.constant(f"dense<{_FLIP}>", self._packed)
                value = w.value(f"arith.xori {value}, {flip} : {self._packed}")
            at = [*self._panels_of(known), panel, step, w.constant(first * group)]
            made = self._write(value, self._packed, made, self._panels_kind, at)
        return made

    def _interleaved(self, rows: list[str]) -> str:
        """One vector with the first elements of all rows, the second ones, …; a power of two of rows."""
        count = self._lanes
        while len(rows) > 1:
            half, kind = len(rows) // 2, f"vector<{count}x{self._element}>"
            rows = [
                self._w.value(f"vector.interleave {one}, {other} : {kind} -> vector<{2 * count}x{self._element}>")
                for one, other in zip(rows[:half], rows[half:])
            ]
            count *= 2
        return rows[0]

    def _widened_left(self) -> str:
        """The left operand in the type that the instruction takes."""
        w, p = self._w, self._p
        extent, chunk = p.extents[p.reduced], self._lanes * self._group
        kind = self._left_kind
        whole, left = self._chunks(extent, chunk)

        def copy(known: Indices, at: str, count: int, made: str) -> str:
            indices = [*(known[d] for d in p.left[:-1]), at]
            found = self._widen(self._read(LEFT, self._kinds[LEFT], indices, count, p.element), count, p.signed[0])
            return self._write(found, f"vector<{count}x{self._element}>", made, kind, indices)

        def row(known: Indices, made: str) -> str:
            if whole:
                made = self._over(whole, made, kind, lambda q, one: copy(known, q, chunk, one), chunk)
            return copy(known, w.constant(whole), left, made) if left else made

        return self._nest(p.left[:-1], w.value(f"tensor.empty() : {kind}"), kind, row)

    def _corrections(self) -> str:
        """What is to be added to each row of the output, because of the numbers that 128 was added to or taken off."""
        w, p = self._w, self._p
        extent, chunk = p.extents[p.reduced], self._lanes * self._group
        whole, left = self._chunks(extent, chunk)
        kind = self._corrections_kind
        ones, zeros = w.constant("dense<1>", self._packed), w.constant("dense<0>", self._packed)

        def row(known: Indices, made: str) -> str:
            before = [known[d] for d in p.left[:-1]]

            def added(total: str, at: str, count: int) -> str:
                found = self._read(LEFT, self._kinds[LEFT], [*before, at], count, p.element)
                if count < chunk:
                    found = w.value(
                        f"vector.insert_strided_slice {found}, {zeros} {{offsets = [0], strides = [1]}} :"
                        f" vector<{count}x{p.element}> into {self._packed}"
                    )
                return self._dot(total, found, ones)

            total = w.constant("dense<0>", self._accumulator)
            if whole:
                variable, [inner] = w.open_loop(w.constant(0), w.constant(whole), chunk, [total], self._accumulator)
                [total] = w.close_loop(variable, [added(inner, variable, chunk)], self._accumulator)
            if left:
                total = added(total, w.constant(whole), left)
            number = w.value(f"vector.reduction <add>, {total} : {self._accumulator} into {self._result}")
            factor = w.constant(_FLIP if p.signed[0] else -_FLIP, self._result)
            number = w.value(f"arith.muli {number}, {factor} : {self._result}")
            return w.value(f"tensor.insert {number} into {made}[{', '.join(before)}] : {kind}")

        return self._nest(p.left[:-1], w.value(f"tensor.empty() : {kind}"), kind, row)

    @property
    def _corrections_kind(self) -> str:
        return _tensor(self._p.shape(self._p.left[:-1]), self._result)

    # -- the product -------------------------------------------------------------------------------

    def _region(self, start: str, num_rows: int, known: Indices, operands: tuple[str, str, str], made: str) -> str:
        """Some rows for all columns."""
        w, rows, kind = self._w, self._tiling.rows, self._kinds[OUT]
        whole, left = self._chunks(num_rows, rows)

        def tile(row: str, count: int, panel: str, made: str) -> str:
            at = w.value(f"arith.addi {start}, {row} : index")
            return self._tile({**known, self._p.rows: at}, count, panel, operands, made)

        def panel(j: str, made: str) -> str:
            if whole:
                made = self._over(whole, made, kind, lambda i, one: tile(i, rows, j, one), rows)
            return tile(w.constant(whole), left, j, made) if left else made

        return self._over(self._panels, made, kind, panel)

    def _tile(self, known: Indices, num_rows: int, panel: str, operands: tuple[str, str, str], made: str) -> str:
        """One tile of accumulators over the whole reduction."""
        w, p, lanes = self._w, self._p, self._lanes
        left, panels, corrections = operands
        rows = [{**known, p.rows: w.add(known[p.rows], r)} for r in range(num_rows)]
        columns = w.times(panel, self._width)
        places = [
            [{**row, p.columns: w.add(columns, first)}[d] for d in p.out]
            for row in rows
            for first in range(0, self._width, lanes)
        ]
        given = [self._read(made, self._kinds[OUT], place, lanes, self._result) for place in places]
        step, sums = w.open_loop(w.constant(0), w.constant(self._steps), 1, given, self._accumulator)
        at = [*self._panels_of(known), panel, step]
        loaded = [
            self._read(
                panels,
                self._panels_kind,
                [*at, w.constant(v * lanes * self._group)],
                lanes * self._group,
                self._element,
            )
            for v in range(self._tiling.vectors)
        ]
        steps = w.times(step, self._group)
        added = []
        for r, row in enumerate(rows):
            found = self._read(
                left, self._left_kind, [*(row[d] for d in p.left[:-1]), steps], self._group, self._element
            )
            wide = self._broadcast(self._word(found, self._element))
            for v, vector in enumerate(loaded):
                added.append(self._dot(sums[r * len(loaded) + v], wide, vector))
        sums = w.close_loop(step, added, self._accumulator)
        for i, (place, total) in enumerate(zip(places, sums)):
            if corrections:
                row = rows[i // self._tiling.vectors]
                number = w.value(
                    f"tensor.extract {corrections}[{', '.join(row[d] for d in p.left[:-1])}] : {self._corrections_kind}"
                )
                wide = w.value(f"vector.broadcast {number} : {self._result} to {self._accumulator}")
                total = w.value(f"arith.addi {total}, {wide} : {self._accumulator}")
            made = self._write_out(total, made, place)
        return made

    def _write_out(self, value: str, made: str, place: Sequence[str]) -> str:
        """An accumulator into the output, as a vector of the output's rank: of others, MLIR 22's bufferization may
        take one for the whole of a small tensor, whose other elements it then drops.
        """
        ones = "1x" * (len(place) - 1)
        kind = f"vector<{ones}{self._lanes}x{self._result}>"
        wide = self._w.value(f"vector.broadcast {value} : {self._accumulator} to {kind}")
        bounds = ", ".join(["true"] * len(place))
        return self._w.value(
            f"vector.transfer_write {wide}, {made}[{', '.join(place)}] {{in_bounds = [{bounds}]}} : {kind},"
            f" {self._kinds[OUT]}"
        )
