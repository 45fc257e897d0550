"""What modules of other projects have, and the default lowering or the graph once could not take."""

from __future__ import annotations

import pytest

from foretune.costmodel.mlir.target import similar_target
from foretune.errors import DataError, OptionError
from foretune.passes.mlir.costs.tiers import TierSettings, predict_costs
from foretune.passes.mlir.tuning.frontend import MlirProgram

HASWELL = similar_target("haswell")
EXACT, FAST = TierSettings("exact"), TierSettings("fast")

PRIVATE = """func.func private @work(%a: i32, %b: i32) -> i32 {
  %sum = arith.addi %a, %b : i32
  return %sum : i32
}"""

ON_TENSORS = """func.func @main(%x: tensor<30x20xf32>) -> tensor<30x20xf32> {
  %y = math.exp %x : tensor<30x20xf32>
  %z = arith.addf %x, %y : tensor<30x20xf32>
  return %z : tensor<30x20xf32>
}"""

CLONED = """func.func @main(%x: memref<64xf32>, %out: memref<64xf32>) {
  %y = bufferization.clone %x : memref<64xf32> to memref<64xf32>
  affine.for %i = 0 to 64 {
    %v = affine.load %y[%i] : memref<64xf32>
    affine.store %v, %out[%i] : memref<64xf32>
  }
  return
}"""

CAST_OF_NOTHING = """func.func @main(%m: memref<4xf32>) {
  %none = builtin.unrealized_conversion_cast to i64
  %zero = arith.constant 0 : index
  %x = arith.constant 1.0 : f32
  memref.store %x, %m[%zero] : memref<4xf32>
  return
}"""

FRESH_IN_LOOP = """func.func @main(%x: tensor<16xf32>) -> tensor<16xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c5 = arith.constant 5 : index
  %out = scf.for %i = %c0 to %c5 step %c1 iter_args(%kept = %x) -> tensor<16xf32> {
    %fresh = tensor.empty() : tensor<16xf32>
    %next = linalg.exp ins(%kept : tensor<16xf32>) outs(%fresh : tensor<16xf32>) -> tensor<16xf32>
    scf.yield %next : tensor<16xf32>
  }
  return %out : tensor<16xf32>
}"""

OF_A_GPU = """func.func @main(%m: memref<4xf32, #gpu.address_space<workgroup>>) {
  %zero = arith.constant 0 : index
  %x = arith.constant 1.0 : f32
  memref.store %x, %m[%zero] : memref<4xf32, #gpu.address_space<workgroup>>
  return
}"""


TWO_PRIVATE = PRIVATE + PRIVATE.replace("@work", "@other")


@pytest.mark.parametrize("source", [PRIVATE, TWO_PRIVATE, ON_TENSORS, CLONED, CAST_OF_NOTHING, FRESH_IN_LOOP])
def test_they_are_counted_and_predicted(counting, source):
    exact = predict_costs(counting, source, HASWELL, settings=EXACT)
    assert exact.sources["dynamic_instructions"] == "counted" and exact.costs["dynamic_instructions"] >= 1
    fast = predict_costs(counting, source, HASWELL, settings=FAST)
    assert all(0 <= value < 1e9 for value in fast.costs.values())


def test_arithmetic_on_tensors_is_that_on_their_elements(counting):
    fast = predict_costs(counting, ON_TENSORS, HASWELL, settings=FAST)
    exact = predict_costs(counting, ON_TENSORS, HASWELL, settings=EXACT)
    assert exact.costs["dynamic_instructions"] > 600 and fast.costs["dynamic_instructions"] > 600


def test_memory_of_a_gpu_is_refused_in_words(counting):
    with pytest.raises(DataError, match="lies in a memory space of its own, as a GPU has"):
        predict_costs(counting, OF_A_GPU, HASWELL, settings=EXACT)
    assert predict_costs(counting, OF_A_GPU, HASWELL).sources["instructions"] == "predicted"


def test_processors_that_were_counted_and_not_timed_say_so(counting):
    for settings, words in ((FAST, "predicted counts stand for znver5, and seconds"), (EXACT, "seconds stand for")):
        notes = predict_costs(counting, PRIVATE, similar_target("znver5"), settings=settings).notes
        assert any(words in note and "there are no times of znver5" in note for note in notes)


def test_what_a_function_returns_through_memory_costs_something(counting):
    """It does nothing else; each word is read and written."""
    source = "func.func @main(%a: memref<?x?xf32>) -> (memref<?x?xf32>, memref<?x?xf32>) {\n  return %a, %a : memref<?x?xf32>, memref<?x?xf32>\n}"  # noqa: E501
    exact, fast = (predict_costs(counting, source, HASWELL, settings=settings) for settings in (EXACT, FAST))
    assert exact.costs["instructions"] / 2 <= fast.costs["instructions"] <= 2 * exact.costs["instructions"]


CALLS = """func.func @work(%x: memref<8xf32>) {
  affine.for %i = 0 to 8 {
    %v = affine.load %x[%i] : memref<8xf32>
    %w = arith.addf %v, %v : f32
    affine.store %w, %x[%i] : memref<8xf32>
  }
  return
}
func.func @main(%x: memref<8xf32>) {
  func.call @work(%x) : (memref<8xf32>) -> ()
  return
}"""


def test_the_entry_is_what_nothing_else_calls(session, measurer):
    program = MlirProgram.of(session, "calls", CALLS)
    assert program.signature.name == "main"
    assert MlirProgram.of(session, "calls", CALLS, "work").signature.name == "work"
    with pytest.raises(OptionError, match="several public functions"):
        MlirProgram.of(session, "two", CALLS + CALLS.replace("@work", "@more").replace("@main", "@other"))
    private = MlirProgram.of(session, "private", CALLS.replace("func.func @", "func.func private @"))
    assert private.signature.name == "main"
    assert measurer.prepare(private).default_secs > 0


PACK = """func.func @main(%x: tensor<64x96xf32>) -> tensor<4x12x16x8xf32> {
  %e = tensor.empty() : tensor<4x12x16x8xf32>
  %p = linalg.pack %x inner_dims_pos = [0, 1] inner_tiles = [16, 8] into %e : tensor<64x96xf32> -> tensor<4x12x16x8xf32>
  return %p : tensor<4x12x16x8xf32>
}"""


def test_packing_is_as_much_work_as_there_are_elements(counting):
    exact, fast = (predict_costs(counting, PACK, HASWELL, settings=settings) for settings in (EXACT, FAST))
    low, high = fast.interval("dynamic_instructions")
    assert low <= exact.costs["dynamic_instructions"] <= high and fast.costs["bytes_written"] > 5000


def test_prints_are_counted_number_by_number(session, counting):
    source = """func.func @main() {
  %mask = vector.constant_mask [2, 2, 2] : vector<3x3x3xi1>
  vector.print %mask : vector<3x3x3xi1>
  %numbers = arith.constant dense<7> : vector<10xi32>
  vector.print %numbers : vector<10xi32>
  return
}"""
    fast, exact = (predict_costs(counting, source, HASWELL, settings=TierSettings(mode)) for mode in ("fast", "exact"))
    for name in ("instructions", "dynamic_instructions"):
        assert 0.6 < fast.costs[name] / exact.costs[name] < 1.6
