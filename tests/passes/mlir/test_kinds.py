"""Whatever MLIR parses is taken: types, layouts, nesting, calls of a runtime library."""

from __future__ import annotations

import numpy as np
import pytest

from foretune.errors import DataError, OptionError
from foretune.passes.mlir.tuning.frontend import MlirProgram
from foretune.record import Status
from tests.passes.mlir import nests
from tests.passes.mlir.test_environment import outputs


def test_unranked_memrefs_and_a_runtime_library(session, measurer):
    program = MlirProgram.of(session, "prints", nests.PRINTS)
    assert measurer.prepare(program).default_secs > 0
    [x] = outputs(session, nests.PRINTS)
    assert x.std() > 0.3


def test_a_function_that_is_nowhere_is_named(session):
    build = session.build(nests.OUTSIDE, "main")
    assert (
        build.status is Status.BUILD_ERROR
        and "somewhere" in build.error
        and "Error" not in build.error.split("somewhere")[0]
    )


def test_memrefs_with_strides(session):
    inspected = session.specialise(nests.STRIDED, None, [6, 10])
    [a, b] = inspected.entry().inputs
    assert (a.shape, a.strides, a.offset) == ((6, 10), (10, 1), 0) and (b.strides, b.offset) == ((32, 2), 3)
    assert "strided<[?, 1], offset: ?>" in inspected.text
    a, b = outputs(session, inspected.text)
    assert np.array_equal(a, b) and b.shape == (6, 10) and a.std() > 0.3


def test_nested_modules(session):
    x, y = outputs(session, nests.NESTED)
    assert np.allclose(x * x, y)
    twice = (
        "module {\n  func.func private @f(%x: i32) -> i32 { return %x : i32 }\n  module"
        f" {{\n{nests.CALLED.replace('@row', '@f')}}}\n  module {{ func.func private @g() }}\n}}"
    )
    x, y = outputs(session, twice)
    assert np.allclose(x * x, y)


@pytest.mark.parametrize("element, result", [("bf16", "f32"), ("f16", "f32"), ("i8", "i32"), ("i16", "i64")])
def test_products_of_narrow_numbers(session, element, result):
    a, b, c = outputs(session, nests.product(element, result))
    if element == "bf16":
        a, b = ((x.astype(np.uint32) << 16).view(np.float32) for x in (a, b))
    assert np.allclose(a.astype(np.float64) @ b.astype(np.float64), c, rtol=1e-3, atol=1e-3) and c.any()


def test_numbers_of_16_bits_and_bounds(session, measurer):
    entry = session.inspect(nests.BOUNDED_BY_ARGUMENT).entry()
    assert entry.inputs[0].value == 200 and entry.inputs[1].element == "f16"
    program = MlirProgram.of(session, "scaled", nests.BOUNDED_BY_ARGUMENT, values=(3,))
    built = measurer.build(program, measurer_default())
    kept = session.file(".npz")
    assert session.run(built.build, keep=kept).status is Status.OK
    with np.load(kept, allow_pickle=False) as arrays:
        x = arrays["arr_0"]
    first = measurer_inputs(program)[2]
    assert np.array_equal(x[3:], first[3:]) and not np.array_equal(x[:3], first[:3])


def measurer_default():
    from foretune.passes.mlir.tuning.measure import DEFAULT

    return DEFAULT


def measurer_inputs(program):
    from foretune.passes.mlir.environment.signature import make_inputs

    return make_inputs(program.signature, 0)


def test_values_that_nothing_tells_are_asked_for(session, measurer):
    source = (
        "func.func @main(%n: index) -> index {\n  %c0 = arith.constant 0 : index\n  %c1 = arith.constant 1 : index\n "
        " %s = scf.for %i = %c0 to %n step %c1 iter_args(%a = %c0) -> index {\n"
    )
    source += "    %b = arith.addi %a, %i : index\n    scf.yield %b : index\n  }\n  return %s : index\n}"
    with pytest.raises(DataError, match=r"argument 0 of @main \(index\) needs a value: it bounds a loop"):
        measurer.prepare(MlirProgram.of(session, "sum", source))
    assert measurer.prepare(MlirProgram.of(session, "sum", source, values=(7,))).default_secs > 0
    with pytest.raises(OptionError, match="has 1 integer arguments, but got 2 values"):
        MlirProgram.of(session, "sum", source, values=(7, 8))


def test_vectors_of_functions_that_only_the_library_has(session):
    [x] = outputs(session, nests.VECTOR_MATH)
    assert np.isfinite(x).all() and 0 < np.abs(x).max() < 1


def test_globals_that_nothing_reads_go(session):
    source = "ml_program.global private mutable @seed(dense<0> : tensor<i64>) : tensor<i64>\n" + nests.product(
        "f16", "f32", 6
    )
    _, _, c = outputs(session, source)
    assert c.any()


def test_operations_that_torch_mlir_leaves_are_found():
    from foretune.passes.mlir.tuning.torch_frontend import _FOREIGN

    text = (
        'module attributes {torch.debug_module_name = "torch.nn"} {\n  %0 = torch.aten.foo %x : !torch.vtensor\n  %1:2'
        ' = "tm_tensor.scan"(%0) : (i32) -> i32\n  %2 = arith.addi %a, %b : i32\n}'
    )
    assert _FOREIGN.findall(text) == ["torch.aten.foo", "tm_tensor.scan"]


def test_memrefs_that_are_returned(session, counting):
    source = """func.func @main(%x: memref<8xf32>) -> (memref<8xf32>, f16) {
  %c = arith.constant 1.5 : f16
  %m = memref.alloc() : memref<8xf32>
  memref.copy %x, %m : memref<8xf32> to memref<8xf32>
  return %m, %c : memref<8xf32>, f16
}"""
    x, y, c = outputs(session, source)
    assert np.array_equal(x, y) and c.dtype == np.float16 and c == 1.5
    assert not counting.count(source, "haswell").stopped
    sparse = (
        "#s = #sparse_tensor.encoding<{ map = (i) -> (i : compressed) }>\nfunc.func @main(%x: tensor<8xf32, #s>) {"
        " return }"
    )
    with pytest.raises(DataError, match="is sparse: only dense tensors"):
        counting.count(sparse, "haswell")
