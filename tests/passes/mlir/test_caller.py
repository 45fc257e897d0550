"""Compiled functions are called with all their arguments, in registers and on the stack."""

from __future__ import annotations

import re

import pytest

from foretune.passes.mlir.costs.caller import Call, caller_assembly, caller_ir
from foretune.passes.mlir.environment.signature import Signature, ValueType


def nest(count: int, scalar: str = "") -> str:
    """Adds up the elements of so many memrefs in the last one."""
    arguments = [f"%m{i}: memref<6xf32>" for i in range(count)] + ([f"%s: {scalar}"] if scalar else [])
    loads = "\n    ".join(f"%x{i} = affine.load %m{i}[%i] : memref<6xf32>" for i in range(count))
    sums, last = [], "%x0"
    for i in range(1, count):
        sums.append(f"%y{i} = arith.addf {last}, %x{i} : f32")
        last = f"%y{i}"
    body = "\n    ".join([loads, *sums, f"affine.store {last}, %m{count - 1}[%i] : memref<6xf32>"])
    return f"func.func @main({', '.join(arguments)}) {{\n  affine.for %i = 0 to 6 {{\n    {body}\n  }}\n  return\n}}"


@pytest.mark.parametrize("scalar", ["", "f32", "i32", "index", "f64"])
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_calls_are_counted(counting, count, scalar):
    counts = counting.count(nest(count, scalar), "haswell")
    assert not counts.stopped
    assert counts.labels["bytes_read"] >= 24 * count and counts.labels["bytes_written"] >= 24


@pytest.mark.parametrize("kinds", [["ptr"], ["ptr"] * 6, ["ptr"] * 7, ["i64"] * 8, ["i1"] * 13])
def test_the_stack_is_aligned_and_holds_what_registers_do_not(kinds):
    element = {"ptr": "i64", "i64": "i64", "i1": "i1"}[kinds[0]]
    call = Call(Signature("f", (ValueType("scalar", element),) * len(kinds), ()), ("void", kinds))
    text = caller_assembly([call, call])
    assert text.count("callq f@PLT") == 2 and text.count("subq") == text.count("addq") == 2
    assert all(int(room) % 16 == 8 for room in re.findall(r"subq \$(\d+)", text))
    assert text.count("(%rsp)\n") == 2 * max(0, len(kinds) - 6)


def test_floating_point_arguments_take_llvm():
    call = Call(Signature("f", (ValueType("scalar", "f32"),), ()), ("void", ["float"]))
    assert caller_assembly([call]) == "" and "call void @f(float 0x" in caller_ir([call])
