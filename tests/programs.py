"""Small TIR programs for tests, and what TVM needs to tune them under pytest."""

from __future__ import annotations

import logging


def clear_tvm_log_handlers() -> None:
    """To be called in a test, before `tune_relax` or `tune_tir`: TVM reads the names of its logger's handlers, and
    pytest hangs in one without a name.
    """
    logging.getLogger("tvm.s_tir.meta_schedule").handlers.clear()


def matmul_module(n: int):
    """relu(A @ B) of n x n float32 matrices."""
    from tvm import te

    from foretune.compiler.tir._tvm import tvm

    a, b = te.placeholder((n, n), name="A"), te.placeholder((n, n), name="B")
    k = te.reduce_axis((0, n), "k")
    c = te.compute((n, n), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    d = te.compute((n, n), lambda i, j: tvm.tirx.max(c[i, j], 0.0), name="D")
    return tvm.IRModule({"main": te.create_prim_func([a, b, d])})
