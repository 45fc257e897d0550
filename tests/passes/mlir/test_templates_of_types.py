"""What templates make of vectorised math, odd extents, narrow numbers and windows: right outputs, and code of
vectors.
"""

from __future__ import annotations

import numpy as np
import pytest

from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.grammar.templates import Template
from foretune.record import Status
from tests.passes.mlir import nests, sources
from tests.passes.mlir.running import run_beside_default
from tests.passes.mlir.test_environment import outputs

POOL = """func.func @main(%a: tensor<1x11x11x32xf32>) -> tensor<1x5x5x32xf32> {
  %z = arith.constant -1.0e30 : f32
  %w = tensor.empty() : tensor<3x3xf32>
  %e = tensor.empty() : tensor<1x5x5x32xf32>
  %f = linalg.fill ins(%z : f32) outs(%e : tensor<1x5x5x32xf32>) -> tensor<1x5x5x32xf32>
  %r = linalg.pooling_nhwc_max {dilations = dense<1> : tensor<2xi64>, strides = dense<2> : tensor<2xi64>} ins(%a, %w : tensor<1x11x11x32xf32>, tensor<3x3xf32>)
    outs(%f : tensor<1x5x5x32xf32>) -> tensor<1x5x5x32xf32>
  return %r : tensor<1x5x5x32xf32>
}"""  # noqa: E501

DEPTHWISE = """func.func @main(%a: tensor<1x9x9x48xf32>, %b: tensor<3x3x48xf32>) -> tensor<1x7x7x48xf32> {
  %z = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x7x7x48xf32>
  %f = linalg.fill ins(%z : f32) outs(%e : tensor<1x7x7x48xf32>) -> tensor<1x7x7x48xf32>
  %r = linalg.depthwise_conv_2d_nhwc_hwc {dilations = dense<1> : tensor<2xi64>, strides = dense<1> : tensor<2xi64>} ins(%a, %b : tensor<1x9x9x48xf32>, tensor<3x3x48xf32>)
    outs(%f : tensor<1x7x7x48xf32>) -> tensor<1x7x7x48xf32>
  return %r : tensor<1x7x7x48xf32>
}"""  # noqa: E501


CONV_NCHW = """func.func @main(%a: tensor<1x3x13x13xf32>, %b: tensor<16x3x5x5xf32>) -> tensor<1x16x5x5xf32> {
  %z = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x16x5x5xf32>
  %f = linalg.fill ins(%z : f32) outs(%e : tensor<1x16x5x5xf32>) -> tensor<1x16x5x5xf32>
  %r = linalg.conv_2d_nchw_fchw {dilations = dense<1> : tensor<2xi64>, strides = dense<2> : tensor<2xi64>} ins(%a, %b : tensor<1x3x13x13xf32>, tensor<16x3x5x5xf32>)
    outs(%f : tensor<1x16x5x5xf32>) -> tensor<1x16x5x5xf32>
  return %r : tensor<1x16x5x5xf32>
}"""  # noqa: E501

CONV_NHWC = """func.func @main(%a: tensor<1x17x17x3xf32>, %b: tensor<5x5x3x32xf32>) -> tensor<1x7x7x32xf32> {
  %z = arith.constant 0.0 : f32
  %e = tensor.empty() : tensor<1x7x7x32xf32>
  %f = linalg.fill ins(%z : f32) outs(%e : tensor<1x7x7x32xf32>) -> tensor<1x7x7x32xf32>
  %r = linalg.conv_2d_nhwc_hwcf {dilations = dense<1> : tensor<2xi64>, strides = dense<2> : tensor<2xi64>} ins(%a, %b : tensor<1x17x17x3xf32>, tensor<5x5x3x32xf32>)
    outs(%f : tensor<1x7x7x32xf32>) -> tensor<1x7x7x32xf32>
  return %r : tensor<1x7x7x32xf32>
}"""  # noqa: E501


def elementwise(function: str, shape: str = "13x75") -> str:
    kind = f"tensor<{shape}xf32>"
    return f"""#i = affine_map<(i, j) -> (i, j)>
func.func @main(%x: {kind}) -> {kind} {{
  %e = tensor.empty() : {kind}
  %r = linalg.generic {{indexing_maps = [#i, #i], iterator_types = ["parallel", "parallel"]}} ins(%x : {kind}) outs(%e : {kind}) {{
  ^bb0(%p: f32, %s: f32):
    %v = math.{function} %p : f32
    linalg.yield %v : f32
  }} -> {kind}
  return %r : {kind}
}}"""  # noqa: E501


PROGRAMS = {
    "erf on an odd extent": elementwise("erf"),
    "tanh": elementwise("tanh", "8x64"),
    "log of half of them": elementwise("log"),
    "pooling": POOL,
    "depthwise": DEPTHWISE,
    "bf16": nests.product("bf16", "f32", 32),
    "i8": nests.product("i8", "i32", 32),
    "i8 padded": nests.product("i8", "i32", 29),
    "steps of two": CONV_NHWC,
    "steps of two, channels first": CONV_NCHW,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_first_schedule_is_right_and_of_vectors(session, counting, name):
    source = PROGRAMS[name]
    schedule = Template(lambda s: session.describe(source, s), 256).schedule(lambda fork, answers: answers[0])
    run_beside_default(session, source, schedule)
    plain, made = counting.count(source, "haswell").labels, counting.count(source, "haswell", schedule).labels
    if "math." in source:  # what the library computed is in no count
        assert made["dynamic_vector_share"] > 0.9
    else:
        assert made["mca_cycles"] < plain["mca_cycles"]


def test_long_reductions_may_be_done_in_parts(session):
    """All tiles for some steps, then the next ones: what is read stays in the caches, and sums keep their order."""
    source, found = sources.matmul(32, 64, 2048), {}

    def schedule(depth):
        def choose(fork, answers):
            found[fork.partition(" ")[2]] = tuple(answers)
            return depth if fork.endswith(" depth") else answers[0]

        return Template(lambda s: session.describe(source, s), 256).schedule(choose)

    builds = [session.build(source, "main", schedule(depth)) for depth in (0, 256)]
    assert found["depth"][0] == 512 and set(found["depth"]) == {512, 256, 128, 0}
    kept = session.file(".npz")
    assert session.run(builds[0], keep=kept).status is Status.OK
    run = session.run(builds[1], reference=kept)
    assert run.status is Status.OK and run.difference == 0
    forks = []
    small = sources.matmul(32, 64, 128)
    Template(lambda s: session.describe(small, s), 256).schedule(lambda fork, answers: forks.append(fork) or answers[0])
    assert not any(fork.endswith(" depth") for fork in forks)


@pytest.mark.parametrize("source", [CONV_NHWC, CONV_NCHW])
def test_gathered_columns_cost_little(session, counting, source):
    """MLIR's own gathering divides indices for every element, and takes more instructions than the product."""
    first = Template(lambda s: session.describe(source, s), 256).schedule(lambda fork, answers: answers[0])
    kind = "linalg.conv_2d_nhwc_hwcf" if source == CONV_NHWC else "linalg.conv_2d_nchw_fchw"
    own, img2col = (f"{name}{{on={kind}:0}}" for name in ("gather-columns", "img2col"))
    assert own in str(first)
    made, before = (
        counting.count(source, "haswell", Schedule.parse(text)).labels
        for text in (str(first), str(first).replace(own, img2col))
    )
    assert made["dynamic_instructions"] < 0.7 * before["dynamic_instructions"]
    assert made["mca_cycles"] < before["mca_cycles"]


SPECIAL = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-40,
    3e38,
    float("inf"),
    float("-inf"),
    float("nan"),
    0.5,
    2.0,
    1e-20,
    -5.0,
    4.5,
    9.5,
    1.4e-45,
)


@pytest.mark.parametrize("function", ["erf", "tanh", "log"])
def test_functions_as_arithmetic(session, function):
    literals = ", ".join(f"0x{np.float32(v).view(np.uint32):08X}" for v in SPECIAL)
    source = f"""func.func @main(%x: memref<16xf32>, %y: memref<16xf32>) {{
  %c0 = arith.constant 0 : index
  %c = arith.constant dense<[{literals}]> : vector<16xf32>
  vector.store %c, %x[%c0] : memref<16xf32>, vector<16xf32>
  %v = vector.load %x[%c0] : memref<16xf32>, vector<16xf32>
  %w = math.{function} %v : vector<16xf32>
  vector.store %w, %y[%c0] : memref<16xf32>, vector<16xf32>
  return
}}"""
    [x, wanted], [_, got] = outputs(session, source), outputs(session, source, schedule=Schedule.of("expand-functions"))
    assert np.array_equal(x, np.array(SPECIAL, np.float32), equal_nan=True)
    assert np.allclose(got, wanted, rtol=1e-6, atol=1e-38, equal_nan=True), (x, got, wanted)
