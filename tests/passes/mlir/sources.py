"""Small MLIR programs of many kinds."""

from __future__ import annotations


def matmul(m: int, n: int, k: int) -> str:
    return f"""func.func @main(%A: tensor<{m}x{k}xf32>, %B: tensor<{k}x{n}xf32>) -> tensor<{m}x{n}xf32> {{
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<{m}x{n}xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<{m}x{n}xf32>) -> tensor<{m}x{n}xf32>
  %C = linalg.matmul ins(%A, %B : tensor<{m}x{k}xf32>, tensor<{k}x{n}xf32>) outs(%init : tensor<{m}x{n}xf32>) -> tensor<{m}x{n}xf32>
  return %C : tensor<{m}x{n}xf32>
}}"""  # noqa: E501


def softmax(rows: int, columns: int) -> str:
    kind = f"tensor<{rows}x{columns}xf32>"
    return f"""func.func @main(%x: {kind}) -> {kind} {{
  %empty = tensor.empty() : {kind}
  %y = linalg.softmax dimension(1) ins(%x : {kind}) outs(%empty : {kind}) -> {kind}
  return %y : {kind}
}}"""


CONV = """func.func @main(%x: tensor<1x10x10x16xf32>, %w: tensor<3x3x16x32xf32>) -> tensor<1x8x8x32xf32> {
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<1x8x8x32xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<1x8x8x32xf32>) -> tensor<1x8x8x32xf32>
  %y = linalg.conv_2d_nhwc_hwcf ins(%x, %w : tensor<1x10x10x16xf32>, tensor<3x3x16x32xf32>) outs(%init : tensor<1x8x8x32xf32>) -> tensor<1x8x8x32xf32>
  return %y : tensor<1x8x8x32xf32>
}"""  # noqa: E501

CONV_FIRST = """func.func @main(%x: tensor<2x3x16x11xf32>, %w: tensor<8x3x3x2xf32>) -> tensor<2x8x6x4xf32> {
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<2x8x6x4xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<2x8x6x4xf32>) -> tensor<2x8x6x4xf32>
  %y = linalg.conv_2d_nchw_fchw {dilations = dense<[2, 3]> : tensor<2xi64>, strides = dense<2> : tensor<2xi64>} ins(%x, %w : tensor<2x3x16x11xf32>, tensor<8x3x3x2xf32>) outs(%init : tensor<2x8x6x4xf32>) -> tensor<2x8x6x4xf32>
  return %y : tensor<2x8x6x4xf32>
}"""  # noqa: E501

AFFINE = """func.func @sum(%m: memref<64x32xf32>, %scale: f32) -> f32 {
  %zero = arith.constant 0.0 : f32
  %all = affine.for %i = 0 to 64 iter_args(%outer = %zero) -> f32 {
    %row = affine.for %j = 0 to 32 iter_args(%inner = %outer) -> f32 {
      %x = affine.load %m[%i, %j] : memref<64x32xf32>
      %y = arith.mulf %x, %scale : f32
      affine.store %y, %m[%i, %j] : memref<64x32xf32>
      %z = arith.addf %inner, %y : f32
      affine.yield %z : f32
    }
    affine.yield %row : f32
  }
  return %all : f32
}"""

SCF = """func.func @main(%m: memref<128xi32>, %n: memref<128xi32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c128 = arith.constant 128 : index
  scf.for %i = %c0 to %c128 step %c1 {
    %x = memref.load %m[%i] : memref<128xi32>
    %y = arith.addi %x, %x : i32
    memref.store %y, %n[%i] : memref<128xi32>
  }
  return
}"""

VECTOR = """func.func @main(%m: memref<4x16xf32>) -> (f32, i64) {
  %c0 = arith.constant 0 : index
  %pad = arith.constant 0.0 : f32
  %seven = arith.constant 7 : i64
  %v = vector.transfer_read %m[%c0, %c0], %pad : memref<4x16xf32>, vector<4x16xf32>
  %s = vector.multi_reduction <maximumf>, %v, %pad [0, 1] : vector<4x16xf32> to f32
  return %s, %seven : f32, i64
}"""

BOOLEANS = """func.func @main(%a: tensor<8x32xi1>, %b: tensor<8x32xi1>) -> tensor<8x32xi1> {
  %empty = tensor.empty() : tensor<8x32xi1>
  %r = linalg.map { arith.andi } ins(%a, %b : tensor<8x32xi1>, tensor<8x32xi1>) outs(%empty : tensor<8x32xi1>)
  return %r : tensor<8x32xi1>
}"""

UNKNOWN_SIZES = """func.func @main(%A: tensor<?x?xf32>, %B: tensor<?x16xf32>) -> tensor<?x16xf32> {
  %c0 = arith.constant 0 : index
  %zero = arith.constant 0.0 : f32
  %d = tensor.dim %A, %c0 : tensor<?x?xf32>
  %empty = tensor.empty(%d) : tensor<?x16xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<?x16xf32>) -> tensor<?x16xf32>
  %C = linalg.matmul ins(%A, %B : tensor<?x?xf32>, tensor<?x16xf32>) outs(%init : tensor<?x16xf32>) -> tensor<?x16xf32>
  return %C : tensor<?x16xf32>
}"""

HANGS = """func.func @main(%m: memref<4xf32>) {
  cf.br ^loop
^loop:
  %c0 = arith.constant 0 : index
  %x = memref.load %m[%c0] : memref<4xf32>
  memref.store %x, %m[%c0] : memref<4xf32>
  cf.br ^loop
}"""

CRASHES = """func.func @main(%m: memref<4xf32>) {
  %far = arith.constant 9223372036854775 : index
  %x = arith.constant 1.0 : f32
  memref.store %x, %m[%far] : memref<4xf32>
  return
}"""

ALL = {
    "matmul": matmul(16, 32, 8),
    "softmax": softmax(4, 32),
    "conv": CONV,
    "affine": AFFINE,
    "scf": SCF,
    "vector": VECTOR,
    "booleans": BOOLEANS,
}
