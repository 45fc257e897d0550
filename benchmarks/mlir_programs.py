"""The MLIR programs of `mlir_tuning.py`, and what libraries do instead of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


@dataclass(frozen=True)
class Case:
    """A program and its rivals.

    Attributes:
        name: of it.
        text: the module.
        flops: floating-point operations of one call; 0 where they are no good measure.
        rivals: name of a library -> a call of its kernel on inputs of the same shapes.
    """

    name: str
    text: str
    flops: float
    rivals: dict[str, Callable[[], Any]]


def matmul(n: int) -> Case:
    """A product of square matrices."""
    kind = f"tensor<{n}x{n}xf32>"
    text = f"""func.func @main(%A: {kind}, %B: {kind}) -> {kind} {{
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : {kind}
  %init = linalg.fill ins(%zero : f32) outs(%empty : {kind}) -> {kind}
  %C = linalg.matmul ins(%A, %B : {kind}, {kind}) outs(%init : {kind}) -> {kind}
  return %C : {kind}
}}"""
    a, b = (np.random.default_rng(i).random((n, n), np.float32) for i in range(2))
    out = np.empty_like(a)
    x, y, z = torch.from_numpy(a), torch.from_numpy(b), torch.empty(n, n)
    return Case(
        f"matmul{n}",
        text,
        2.0 * n**3,
        {"numpy": lambda: np.matmul(a, b, out=out), "torch": lambda: torch.mm(x, y, out=z)},
    )


def narrow_matmul(n: int, element: str) -> Case:
    """A product of square matrices of `i8` or `bf16` whose sums are of 32 bits; PyTorch's product of `bf16` rounds its
    results to 16.
    """
    result, zero = ("i32", "0") if element == "i8" else ("f32", "0.0")
    kind, sums = f"tensor<{n}x{n}x{element}>", f"tensor<{n}x{n}x{result}>"
    text = f"""func.func @main(%A: {kind}, %B: {kind}) -> {sums} {{
  %zero = arith.constant {zero} : {result}
  %empty = tensor.empty() : {sums}
  %init = linalg.fill ins(%zero : {result}) outs(%empty : {sums}) -> {sums}
  %C = linalg.matmul ins(%A, %B : {kind}, {kind}) outs(%init : {sums}) -> {sums}
  return %C : {sums}
}}"""
    if element == "i8":
        x, y = (torch.randint(-128, 128, (n, n), dtype=torch.int8) for _ in range(2))
        call = lambda: torch._int_mm(x, y)  # noqa: E731
    else:
        x, y = (torch.randn(n, n).bfloat16() for _ in range(2))
        call = lambda: torch.mm(x, y)  # noqa: E731
    return Case(f"matmul{n}_{element}", text, 2.0 * n**3, {"torch": call})


def loop_gemm(n: int) -> Case:
    """`C = beta C + alpha A B` as a nest of affine loops over memrefs, as PolyBench has it."""
    kind = f"memref<{n}x{n}xf32>"
    text = f"""func.func @main(%A: {kind}, %B: {kind}, %C: {kind}) {{
  %alpha = arith.constant 1.5 : f32
  %beta = arith.constant 0.5 : f32
  affine.for %i = 0 to {n} {{
    affine.for %j = 0 to {n} {{
      %c = affine.load %C[%i, %j] : {kind}
      %s = arith.mulf %c, %beta : f32
      affine.store %s, %C[%i, %j] : {kind}
    }}
    affine.for %k = 0 to {n} {{
      affine.for %j = 0 to {n} {{
        %a = affine.load %A[%i, %k] : {kind}
        %x = arith.mulf %alpha, %a : f32
        %b = affine.load %B[%k, %j] : {kind}
        %p = arith.mulf %x, %b : f32
        %c = affine.load %C[%i, %j] : {kind}
        %s = arith.addf %c, %p : f32
        affine.store %s, %C[%i, %j] : {kind}
      }}
    }}
  }}
  return
}}"""
    a, b, c = (torch.randn(n, n) for _ in range(3))
    return Case(f"loop_gemm{n}", text, 2.0 * n**3, {"torch": lambda: torch.addmm(c, a, b, beta=0.5, alpha=1.5)})


def conv(size: int, channels: int) -> Case:
    """A convolution with a window of 3 x 3, channels last."""
    x, w, y = (
        f"tensor<{s}xf32>"
        for s in (f"1x{size}x{size}x{channels}", f"3x3x{channels}x{channels}", f"1x{size - 2}x{size - 2}x{channels}")
    )
    text = f"""func.func @main(%x: {x}, %w: {w}) -> {y} {{
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : {y}
  %init = linalg.fill ins(%zero : f32) outs(%empty : {y}) -> {y}
  %y = linalg.conv_2d_nhwc_hwcf ins(%x, %w : {x}, {w}) outs(%init : {y}) -> {y}
  return %y : {y}
}}"""
    image = torch.randn(1, channels, size, size).to(memory_format=torch.channels_last)
    filters = torch.randn(channels, channels, 3, 3).to(memory_format=torch.channels_last)
    return Case(
        f"conv{size}x{channels}",
        text,
        2.0 * (size - 2) ** 2 * channels**2 * 9,
        {"torch": lambda: torch.conv2d(image, filters)},
    )


def softmax(n: int) -> Case:
    """Softmax of the rows of a square matrix."""
    kind = f"tensor<{n}x{n}xf32>"
    text = f"""func.func @main(%x: {kind}) -> {kind} {{
  %empty = tensor.empty() : {kind}
  %y = linalg.softmax dimension(1) ins(%x : {kind}) outs(%empty : {kind}) -> {kind}
  return %y : {kind}
}}"""
    x = torch.randn(n, n)
    return Case(f"softmax{n}", text, 0.0, {"torch": lambda: torch.softmax(x, -1)})


def attention(heads: int, n: int, d: int) -> Case:
    """Scaled dot-product attention."""
    q, t, s = f"tensor<{heads}x{n}x{d}xf32>", f"tensor<{heads}x{d}x{n}xf32>", f"tensor<{heads}x{n}x{n}xf32>"
    text = f"""#id = affine_map<(a, b, c) -> (a, b, c)>
func.func @main(%Q: {q}, %K: {q}, %V: {q}) -> {q} {{
  %zero = arith.constant 0.0 : f32
  %scale = arith.constant {d**-0.5!r} : f32
  %et = tensor.empty() : {t}
  %KT = linalg.transpose ins(%K : {q}) outs(%et : {t}) permutation = [0, 2, 1]
  %es = tensor.empty() : {s}
  %fs = linalg.fill ins(%zero : f32) outs(%es : {s}) -> {s}
  %S = linalg.batch_matmul ins(%Q, %KT : {q}, {t}) outs(%fs : {s}) -> {s}
  %scaled = linalg.generic {{indexing_maps = [#id, #id], iterator_types = ["parallel", "parallel", "parallel"]}} ins(%S : {s}) outs(%es : {s}) {{
  ^bb0(%x: f32, %o: f32):
    %y = arith.mulf %x, %scale : f32
    linalg.yield %y : f32
  }} -> {s}
  %P = linalg.softmax dimension(2) ins(%scaled : {s}) outs(%es : {s}) -> {s}
  %eo = tensor.empty() : {q}
  %fo = linalg.fill ins(%zero : f32) outs(%eo : {q}) -> {q}
  %O = linalg.batch_matmul ins(%P, %V : {s}, {q}) outs(%fo : {q}) -> {q}
  return %O : {q}
}}"""  # noqa: E501
    query, key, value = (torch.randn(1, heads, n, d) for _ in range(3))
    return Case(
        f"attention{heads}x{n}x{d}",
        text,
        4.0 * heads * n * n * d,
        {"torch": lambda: torch.nn.functional.scaled_dot_product_attention(query, key, value)},
    )


def cases() -> list[Case]:
    """All programs."""
    return [
        matmul(512),
        matmul(768),
        matmul(1024),
        conv(56, 64),
        conv(30, 128),
        softmax(512),
        softmax(1024),
        attention(8, 512, 64),
        narrow_matmul(256, "i8"),
        narrow_matmul(512, "i8"),
        narrow_matmul(512, "bf16"),
        loop_gemm(256),
    ]
