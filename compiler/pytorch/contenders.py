"""Names of those who may run a graph."""

from __future__ import annotations

PYTORCH, TVM, MIXED, INDUCTOR, FROZEN = "pytorch", "tvm", "tvm, products in libraries", "inductor", "inductor, weights frozen"
CONTENDERS = (PYTORCH, TVM, MIXED, INDUCTOR, FROZEN)
