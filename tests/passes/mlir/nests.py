"""The same work written in many ways: 48 x 96 squares, each loop of another kind."""

from __future__ import annotations

_BODY = """    %v = memref.load %x[%i, %j] : memref<48x96xf32>
    %w = arith.mulf %v, %v : f32
    memref.store %w, %y[%i, %j] : memref<48x96xf32>
"""
_ARGUMENTS = "%x: memref<48x96xf32>, %y: memref<48x96xf32>"
_CONSTANTS = """  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %rows = arith.constant 48 : index
  %columns = arith.constant 96 : index
"""


def _main(body: str) -> str:
    return f"func.func @main({_ARGUMENTS}) {{\n{_CONSTANTS}{body}  return\n}}\n"


FOR = _main(f"  scf.for %i = %c0 to %rows step %c1 {{\n  scf.for %j = %c0 to %columns step %c1 {{\n{_BODY}  }}\n  }}\n")
PARALLEL = _main(f"  scf.parallel (%i, %j) = (%c0, %c0) to (%rows, %columns) step (%c1, %c1) {{\n{_BODY}  }}\n")
FORALL = _main(f"  scf.forall (%i, %j) in (48, 96) {{\n{_BODY}  }}\n")
AFFINE_PARALLEL = _main(f"  affine.parallel (%i, %j) = (0, 0) to (48, 96) {{\n{_BODY}  }}\n")
WHILE = _main(f"""  scf.for %i = %c0 to %rows step %c1 {{
  %end = scf.while (%k = %c0) : (index) -> index {{
    %more = arith.cmpi slt, %k, %columns : index
    scf.condition(%more) %k : index
  }} do {{
  ^bb0(%j: index):
{_BODY}    %next = arith.addi %j, %c1 : index
    scf.yield %next : index
  }}
  }}
""")
CALLED = (
    f"func.func private @row({_ARGUMENTS}, %i: index) {{\n{_CONSTANTS}  scf.for %j = %c0 to %columns step %c1"
    f" {{\n{_BODY}  }}\n  return\n}}\n"
    + _main(
        "  scf.for %i = %c0 to %rows step %c1 {\n    func.call @row(%x, %y, %i) : (memref<48x96xf32>,"
        " memref<48x96xf32>, index) -> ()\n  }\n"
    )
)
WITH_DEAD = (
    "func.func private @nobody(%m: memref<4096x64xf32>) {\n  affine.for %i = 0 to 4096 {\n  affine.for %j = 0 to 64 {\n"
    "    %v = affine.load %m[%i, %j] : memref<4096x64xf32>\n    %w = arith.addf %v, %v : f32\n    affine.store %w,"
    " %m[%i, %j] : memref<4096x64xf32>\n  }\n  }\n  return\n}\n" + FOR
)
NESTED = f"module {{\nmodule @inner {{\n{FOR}}}\n}}\n"
ALL = {
    "for": FOR,
    "parallel": PARALLEL,
    "forall": FORALL,
    "affine.parallel": AFFINE_PARALLEL,
    "while": WHILE,
    "called": CALLED,
    "with a dead function": WITH_DEAD,
    "nested": NESTED,
}
RUNS = 48 * 96

TILED = """func.func @main(%a: memref<70x90xf32>, %b: memref<90xf32>) {
  affine.for %i = 0 to 70 step 16 {
    affine.for %ii = affine_map<(d) -> (d)>(%i) to min affine_map<(d) -> (d + 16, 70)>(%i) {
      affine.for %j = 0 to 90 {
        %x = affine.load %a[%ii, %j] : memref<70x90xf32>
        %y = affine.load %b[%j] : memref<90xf32>
        %z = arith.addf %x, %y : f32
        affine.store %z, %a[%ii, %j] : memref<70x90xf32>
      }
    }
  }
  return
}
"""

PAD = """func.func @main(%x: tensor<40x60xf32>) -> tensor<44x62xf32> {
  %z = arith.constant 2.0 : f32
  %p = tensor.pad %x low[2, 1] high[2, 1] {
  ^bb0(%i: index, %j: index):
    tensor.yield %z : f32
  } : tensor<40x60xf32> to tensor<44x62xf32>
  return %p : tensor<44x62xf32>
}
"""

GENERATE = """func.func @main() -> tensor<20x30xf32> {
  %t = tensor.generate {
  ^bb0(%i: index, %j: index):
    %s = arith.muli %i, %j : index
    %n = arith.index_cast %s : index to i32
    %f = arith.sitofp %n : i32 to f32
    tensor.yield %f : f32
  } : tensor<20x30xf32>
  return %t : tensor<20x30xf32>
}
"""

COPY = """func.func @main(%x: memref<512x300xf64>, %y: memref<512x300xf64>) {
  memref.copy %x, %y : memref<512x300xf64> to memref<512x300xf64>
  return
}
"""

STRIDED_COPY = """func.func @main(%x: memref<12x50xf32>, %y: memref<12x64xf32>) {
  %v = memref.subview %y[0, 7] [12, 50] [1, 1] : memref<12x64xf32> to memref<12x50xf32, strided<[64, 1], offset: 7>>
  memref.copy %x, %v : memref<12x50xf32> to memref<12x50xf32, strided<[64, 1], offset: 7>>
  return
}
"""

BOUNDED_BY_ARGUMENT = """func.func @main(%n: i64, %scale: f16, %x: memref<200xf16>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %m = arith.index_cast %n : i64 to index
  scf.for %i = %c0 to %m step %c1 {
    %v = memref.load %x[%i] : memref<200xf16>
    %w = arith.mulf %v, %scale : f16
    memref.store %w, %x[%i] : memref<200xf16>
  }
  return
}
"""

BOUNDED_BY_DATA = """func.func @main(%n: memref<1xi32>, %x: memref<64xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %v = memref.load %n[%c0] : memref<1xi32>
  %m = arith.index_cast %v : i32 to index
  scf.for %i = %c0 to %m step %c1 {
    %a = memref.load %x[%i] : memref<64xf32>
    %b = arith.addf %a, %a : f32
    memref.store %b, %x[%i] : memref<64xf32>
  }
  return
}
"""

PRINTS = """func.func private @printMemrefF64(memref<*xf64>)
func.func private @rtclock() -> f64
func.func @main(%x: memref<24xf64>) {
  %start = call @rtclock() : () -> f64
  affine.for %i = 0 to 24 {
    %v = affine.load %x[%i] : memref<24xf64>
    %w = arith.addf %v, %v : f64
    affine.store %w, %x[%i] : memref<24xf64>
  }
  %u = memref.cast %x : memref<24xf64> to memref<*xf64>
  call @printMemrefF64(%u) : (memref<*xf64>) -> ()
  %d = vector.broadcast %start : f64 to vector<4xf64>
  vector.print %d : vector<4xf64>
  return
}
"""

OUTSIDE = """func.func private @somewhere(i32) -> i32
func.func @main(%x: memref<8xi32>) {
  affine.for %i = 0 to 8 {
    %v = affine.load %x[%i] : memref<8xi32>
    %r = func.call @somewhere(%v) : (i32) -> i32
    affine.store %r, %x[%i] : memref<8xi32>
  }
  return
}
"""

STRIDED = """func.func @main(%a: memref<?x?xf32, strided<[?, 1], offset: ?>>, %b: memref<6x10xf32, strided<[32, 2], offset: 3>>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %m = memref.dim %a, %c0 : memref<?x?xf32, strided<[?, 1], offset: ?>>
  %n = memref.dim %a, %c1 : memref<?x?xf32, strided<[?, 1], offset: ?>>
  scf.for %i = %c0 to %m step %c1 {
    scf.for %j = %c0 to %n step %c1 {
      %v = memref.load %a[%i, %j] : memref<?x?xf32, strided<[?, 1], offset: ?>>
      memref.store %v, %b[%i, %j] : memref<6x10xf32, strided<[32, 2], offset: 3>>
    }
  }
  return
}
"""  # noqa: E501

TOSA = """func.func @main(%x: tensor<6x10xf32>, %y: tensor<6x10xf32>) -> tensor<6x10xf32> {
  %s = tosa.add %x, %y : (tensor<6x10xf32>, tensor<6x10xf32>) -> tensor<6x10xf32>
  %t = tosa.tanh %s : (tensor<6x10xf32>) -> tensor<6x10xf32>
  return %t : tensor<6x10xf32>
}
"""

VECTOR_MATH = """func.func @main(%x: memref<32xf32>) {
  affine.for %i = 0 to 32 step 8 {
    %v = affine.vector_load %x[%i] : memref<32xf32>, vector<8xf32>
    %w = math.erf %v : vector<8xf32>
    %c = math.cbrt %w : vector<8xf32>
    affine.vector_store %c, %x[%i] : memref<32xf32>, vector<8xf32>
  }
  return
}
"""


def product(element: str, result: str, n: int = 12) -> str:
    """A widening matrix product."""
    zero = "0" if result.startswith("i") else "0.0"
    operand, out = f"tensor<{n}x{n}x{element}>", f"tensor<{n}x{n}x{result}>"
    return (
        f"func.func @main(%a: {operand}, %b: {operand}) -> {out} {{\n  %z = arith.constant {zero} : {result}\n  %e ="
        f" tensor.empty() : {out}\n  %f = linalg.fill ins(%z : {result}) outs(%e : {out}) -> {out}\n  %r ="
        f" linalg.matmul ins(%a, %b : {operand}, {operand}) outs(%f : {out}) -> {out}\n  return %r : {out}\n}}\n"
    )
