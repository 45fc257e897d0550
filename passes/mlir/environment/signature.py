"""The types of an entry function, and buffers for its arguments: generated from a seed, stored, compared.

Only numpy is needed here: the worker that runs compiled programs does not load MLIR.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from foretune.errors import DataError, OptionError

_FLOATS = {"f16": np.float16, "f32": np.float32, "f64": np.float64, "bf16": np.uint16}
_INTEGERS = {"i1": np.uint8, "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64, "index": np.int64}
SCALARS = {
    "f32": ctypes.c_float,
    "f64": ctypes.c_double,
    "i1": ctypes.c_bool,
    "i8": ctypes.c_int8,
    "i16": ctypes.c_int16,
    "i32": ctypes.c_int32,
    "i64": ctypes.c_int64,
    "index": ctypes.c_int64,
    "f16": ctypes.c_uint16,
    "bf16": ctypes.c_uint16,
}
"""How numbers are passed by value; those of 16 bits as their bits."""
LLVM_SCALARS = {
    "f32": "float",
    "f64": "double",
    "i1": "i1",
    "i8": "i8",
    "i16": "i16",
    "i32": "i32",
    "i64": "i64",
    "index": "i64",
    "f16": "half",
    "bf16": "bfloat",
}
ELEMENTS = (*_FLOATS, *_INTEGERS)
TOLERANCE = {"f16": 2e-3, "bf16": 2e-2, "f32": 1e-5, "f64": 1e-12}
"""How far an element may be from the reference's, relative to the largest one of its buffer: schedules reorder sums.
Integers must be equal.
"""

_ALIGNMENT = 64
_MAX_BYTES = 2 << 30


@dataclass(frozen=True)
class ValueType:
    """One argument or result.

    Attributes:
        kind: `tensor`, `memref` or `scalar`.
        element: element type, of `ELEMENTS`.
        shape: extents; empty for scalars.
        strides, offset: of a memref whose elements do not lie row by row from its start, in elements; no strides where
        they do.
        value: of an integer that loops depend on; None where a random one will do.
        unset: why such an integer has no value yet; empty where it needs none.
    """

    kind: str
    element: str
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    offset: int = 0
    value: int | None = None
    unset: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ValueType:
        """Reads what `asdict` made, where lists have become of tuples."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**fields)

    @property
    def num_elements(self) -> int:
        """From the first to the last one that a buffer of it needs, with those between its rows."""
        if not self.strides or 0 in self.shape:
            return self.offset + math.prod(self.shape)
        return self.offset + 1 + sum((extent - 1) * stride for extent, stride in zip(self.shape, self.strides))

    @property
    def num_bytes(self) -> int:
        """Of a buffer of it."""
        return self.num_elements * _dtype(self.element)().itemsize

    def __str__(self) -> str:
        return (
            self.element
            if self.kind == "scalar"
            else f"{self.kind}<{''.join(f'{n}x' for n in self.shape)}{self.element}>"
        )


@dataclass(frozen=True)
class Signature:
    """An entry function.

    Attributes:
        name: of the function.
        inputs: its arguments.
        results: what it returns.
    """

    name: str
    inputs: tuple[ValueType, ...]
    results: tuple[ValueType, ...]

    def to_json(self) -> dict[str, Any]:
        """The signature as JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Signature:
        """Reads what `to_json` wrote."""
        inputs, results = (tuple(map(ValueType.from_json, data[part])) for part in ("inputs", "results"))
        return cls(data["name"], inputs, results)

    def with_values(self, values: Sequence[int]) -> Signature:
        """With values for the integer arguments that are numbers, from left to right.

        Raises:
            OptionError: there are more values than such arguments.
        """
        places = [i for i, v in enumerate(self.inputs) if v.kind == "scalar" and v.element in _INTEGERS]
        if len(values) > len(places):
            raise OptionError(f"@{self.name} has {len(places)} integer arguments, but got {len(values)} values")
        inputs = list(self.inputs)
        for i, value in zip(places, values):
            inputs[i] = replace(inputs[i], value=int(value), unset="")
        return replace(self, inputs=tuple(inputs))

    @property
    def buffers(self) -> tuple[ValueType, ...]:
        """What the compiled entry is given by pointer: inputs in order, then results, without the scalars."""
        return tuple(v for v in (*self.inputs, *self.results) if v.kind != "scalar")

    @property
    def scalar_results(self) -> tuple[ValueType, ...]:
        """What the compiled entry returns by value."""
        return tuple(v for v in self.results if v.kind == "scalar")

    def llvm_parameters(self) -> list[str]:
        """LLVM types of the C interface's parameters."""
        returned = ["ptr"] if len(self.scalar_results) > 1 else []
        return returned + [
            "ptr" if v.kind != "scalar" else LLVM_SCALARS[v.element]
            for v in (*self.inputs, *(r for r in self.results if r.kind != "scalar"))
        ]

    def check(self) -> None:
        """Raises `DataError` where inputs are too large."""
        total = sum(v.num_bytes for v in self.buffers)
        if total > _MAX_BYTES:
            raise DataError(
                f"arguments and results may have {_MAX_BYTES >> 20} MiB together, but have {total >> 20} MiB"
            )

    def check_values(self) -> None:
        """Raises `DataError` where an integer that loops depend on has no value."""
        for i, value in enumerate(self.inputs):
            if value.unset:
                raise DataError(
                    f"argument {i} of @{self.name} ({value.element}) needs a value: {value.unset}; give one value for"
                    " each integer argument, from left to right"
                )


def _dtype(element: str) -> type:
    return {**_FLOATS, **_INTEGERS}[element]


def make_buffer(value: ValueType) -> np.ndarray:
    """An aligned buffer, filled with zeros; [*shape], with the strides of its type."""
    raw = np.zeros(value.num_bytes + _ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % _ALIGNMENT
    flat = raw[start : start + value.num_bytes].view(_dtype(value.element))
    if not value.strides:
        return flat[value.offset :].reshape(value.shape)
    return np.lib.stride_tricks.as_strided(
        flat[value.offset :], value.shape, [s * flat.itemsize for s in value.strides]
    )


def make_inputs(signature: Signature, seed: int) -> list[Any]:
    """Inputs from a seed: floating-point numbers between -1 and 1, small integers, indices 0, and the values of those
    that loops depend on.

    Returns:
        An array for each tensor and memref, a number for each scalar.
    """
    rng = np.random.default_rng(seed)
    made: list[Any] = []
    for value in signature.inputs:
        values = _draw(rng, value)
        if value.kind == "scalar":
            made.append(values.item() if value.value is None else value.value)
        else:
            buffer = make_buffer(value)
            buffer[...] = values
            made.append(buffer)
    return made


def _draw(rng: np.random.Generator, value: ValueType) -> np.ndarray:
    if value.element == "index":
        return np.zeros(value.shape, np.int64)
    if value.element in _INTEGERS:
        return (
            rng.integers(0, 2 if value.element == "i1" else 8, size=value.shape).astype(_dtype(value.element))
            if value.shape
            else np.asarray(rng.integers(0, 2))
        )
    numbers = np.asarray(
        rng.uniform(-1, 1, size=value.shape), np.float32 if value.element == "bf16" else _dtype(value.element)
    )
    if value.element == "bf16":
        return (numbers.view(np.uint32) >> 16).astype(np.uint16)
    return numbers.view(np.uint16) if value.element == "f16" and value.kind == "scalar" else numbers


def difference(value: ValueType, got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference of two buffers over the largest magnitude of what was wanted; infinite where only one is
    not finite. Lower is better.
    """
    if value.element in _INTEGERS:
        return 0.0 if np.array_equal(got, wanted) else float("inf")
    got, wanted = (_wide(value, array) for array in (got, wanted))
    finite = np.isfinite(wanted)
    if not np.array_equal(finite, np.isfinite(got)) or not np.array_equal(
        got[~finite], wanted[~finite], equal_nan=True
    ):
        return float("inf")
    if not finite.any():
        return 0.0
    largest = float(np.abs(wanted[finite]).max())
    return float(np.abs(got[finite] - wanted[finite]).max()) / largest if largest else float(np.abs(got[finite]).max())


def _wide(value: ValueType, array: np.ndarray) -> np.ndarray:
    if value.element == "bf16":
        return (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return array.astype(np.float64)
