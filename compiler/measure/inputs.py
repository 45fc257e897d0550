"""Inputs that a kernel is timed and checked with, and how far two outputs are apart."""

from __future__ import annotations

import numpy as np

from foretune.compiler.tir._tvm import tvm


def random_inputs(mod: tvm.IRModule, seed: int) -> list[np.ndarray]:
    """Arrays for every parameter: floats around 0, integers that are valid indices of every dimension."""
    rng = np.random.default_rng(seed)
    parameters = list(mod["main"].params)
    shapes = [tuple(int(d) for d in b.shape) for b in parameters]
    smallest = min((d for shape, b in zip(shapes, parameters) if "float" in str(b.dtype) for d in shape), default=1)
    arrays = []
    for shape, buffer in zip(shapes, parameters):
        dtype = str(buffer.dtype)
        if "float" in dtype:
            array = rng.standard_normal(shape, np.float32).astype(dtype if dtype != "bfloat16" else "float32")
            arrays.append(array if dtype != "bfloat16" else _bfloat16(array))
        elif dtype == "bool":
            arrays.append(rng.integers(0, 2, shape).astype(np.bool_))
        else:
            arrays.append(rng.integers(0, max(1, smallest), shape).astype(dtype))
    return arrays


def _bfloat16(array: np.ndarray) -> np.ndarray:
    import ml_dtypes

    return array.astype(ml_dtypes.bfloat16)


def rel_error(expected: np.ndarray, actual: np.ndarray) -> float:
    """Largest difference relative to the largest expected magnitude; infinite where NaNs disagree."""
    expected, actual = expected.astype(np.float64), actual.astype(np.float64)
    if expected.size == 0:
        return 0.0
    if not np.array_equal(np.isnan(expected), np.isnan(actual)):
        return float("inf")
    same = (expected == actual) | np.isnan(expected)
    difference = np.where(same, 0.0, np.abs(np.where(same, 0.0, expected) - np.where(same, 0.0, actual))).max()
    finite = expected[np.isfinite(expected)]
    return float(difference / max(np.abs(finite).max() if finite.size else 0.0, 1e-6))
