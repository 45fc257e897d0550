"""Each kind of transform, applied to a real program, keeps what the program computes."""

from __future__ import annotations

import numpy as np
import pytest

from foretune.errors import IllegalActionError
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.record import Status
from tests.passes.mlir import sources

MATMUL = sources.matmul(32, 32, 16)
BUFFERS = """func.func @main(%A: memref<32x16xf32>, %B: memref<16x32xf32>, %C: memref<32x32xf32>) {
  linalg.matmul ins(%A, %B : memref<32x16xf32>, memref<16x32xf32>) outs(%C : memref<32x32xf32>)
  return
}"""


def strided_conv(stride: int, dilation: int, element: str = "f32") -> str:
    """Two images of 3 channels, 7 by 5 positions, windows of 3 by 2, 8 filters."""
    height, width = 6 * stride + 2 * dilation + 1, 4 * stride + dilation + 1
    image, out = f"tensor<2x{height}x{width}x3x{element}>", f"tensor<2x7x5x8x{element}>"
    window, numbers = f"tensor<3x2x3x8x{element}>", "dense<{}> : tensor<2xi64>"
    attributes = f"dilations = {numbers.format(dilation)}, strides = {numbers.format(stride)}"
    return f"""func.func @main(%x: {image}, %w: {window}, %before: {out}) -> {out} {{
  %y = linalg.conv_2d_nhwc_hwcf {{{attributes}}} ins(%x, %w : {image}, {window}) outs(%before : {out}) -> {out}
  return %y : {out}
}}"""


SCHEDULES = {
    "promote": (
        BUFFERS,
        "tile{on=linalg.matmul:0 sizes=8,16,4}; promote{on=linalg.matmul:0 operands=0,1 stack=true}; canonicalize",
    ),
    "pad and hoist": (
        MATMUL,
        (
            "tile{on=linalg.matmul:0 sizes=8,16,4}; pad{on=linalg.matmul:0 multiples=1,1,1 nofold=1,1,0}; canonicalize;"
            " hoist-pad{on=tensor.pad:0 loops=1}; canonicalize"
        ),
    ),
    "pack": (
        MATMUL,
        (
            "pack{on=linalg.matmul:0 sizes=0,16,0}; pack-transpose{on=linalg.pack:0 outer=1,0}; lower-packs;"
            " canonicalize; generalize{on=linalg.copy:0}; canonicalize"
        ),
    ),
    "pack greedily": (MATMUL, "pack-greedily{on=linalg.matmul:0 sizes=8,16,4 order=0,1,2}; lower-packs; canonicalize"),
    "split a reduction": (MATMUL, "split-reduction{on=linalg.matmul:0 factor=4 dimension=2}"),
    "tile a reduction": (MATMUL, "tile-reduction{on=linalg.matmul:0 sizes=0,0,4}"),
    "img2col": (sources.CONV, "img2col{on=linalg.conv_2d_nhwc_hwcf:0}; canonicalize"),
    "gather columns": (sources.CONV, "gather-columns{on=linalg.conv_2d_nhwc_hwcf:0}; canonicalize"),
    "gather strided columns": (strided_conv(2, 1), "gather-columns{on=linalg.conv_2d_nhwc_hwcf:0}; canonicalize"),
    "gather spread columns": (strided_conv(2, 3), "gather-columns{on=linalg.conv_2d_nhwc_hwcf:0}; canonicalize"),
    "gather planes": (
        sources.CONV_FIRST,
        "gather-columns{on=linalg.conv_2d_nchw_fchw:0}; canonicalize",
    ),
    "decompose and vectorise": (
        sources.CONV,
        (
            "tile{on=linalg.conv_2d_nhwc_hwcf:0 sizes=1,1,8,32,1,1,16}; decompose{on=linalg.conv_2d_nhwc_hwcf:0};"
            " canonicalize; vectorize{on=linalg.conv_1d_nwc_wcf:0}"
        ),
    ),
    "peel": (MATMUL, "tile{on=linalg.matmul:0 sizes=5,0,0}; peel{on=scf.for:0}; canonicalize"),
    "coalesce": (MATMUL, "tile{on=linalg.matmul:0 sizes=8,16,0}; bufferize; coalesce{on=scf.for:1}"),
    "unroll": (MATMUL, "bufferize; to-loops; unroll-and-jam{on=scf.for:1 factor=4}; unroll{on=scf.for:0 factor=4}"),
    "interchange": (MATMUL, "generalize{on=linalg.matmul:0}; interchange{on=linalg.generic:0 order=1,2,0}"),
    "lower vectors": (
        MATMUL,
        (
            "transpose-matmul{on=linalg.matmul:0 operand=rhs}; vectorize-all; lower-contraction{by=dot};"
            " lower-transpose{by=shuffle_1d}; lower-multi-reduction{by=innerparallel}; lower-transfer{rank=1}"
        ),
    ),
    "masks": (
        MATMUL,
        "tile{on=linalg.matmul:0 sizes=5,0,0}; vectorize{on=linalg.matmul:0 sizes=5,32,16}; lower-masks; canonicalize",
    ),
    "affine": (
        sources.AFFINE.replace("@sum", "@main"),
        "affine-vectorize{virtual_vector_size=16 vectorize_reductions=true}; affine-unroll{unroll_factor=2}",
    ),
    "fuse and lower": (
        MATMUL,
        (
            "fuse{on=linalg.matmul:0 sizes=8,8,0 interchange=1,0,2}; lower{math=libmvec transpose=shuffle16x16"
            " contract=dot reductions=tree}"
        ),
    ),
    "hoist in a module of several functions": (
        MATMUL + "\nfunc.func private @other(f32) -> f32\n",
        "tile{on=linalg.matmul:0 sizes=8,16,4}; vectorize{on=linalg.matmul:0}; hoist-all-subsets; canonicalize",
    ),
    "exp": (
        sources.softmax(4, 32),
        "decompose-aggregate{on=linalg.softmax:0}; expand-exp; generalize-all; fuse-elementwise",
    ),
}


@pytest.fixture(scope="module")
def references(session):
    """Outputs under the default lowering, by source."""
    kept = {}
    for source, _ in SCHEDULES.values():
        if source not in kept:
            kept[source] = session.file(".npz")
            assert session.run(session.build(source, "main"), keep=kept[source]).status is Status.OK
    return kept


@pytest.mark.parametrize("name", SCHEDULES)
def test_outputs_stay(session, references, name):
    source, text = SCHEDULES[name]
    schedule = Schedule.parse(text)
    build = session.build(source, "main", schedule, texts=("transformed", "script"))
    assert build.status is Status.OK, build.error
    assert build.texts["transformed"] != session.inspect(source).text or "lower" in text
    run = session.run(build, reference=references[source])
    assert run.status is Status.OK and run.difference < 1e-5, run.error


def test_columns_of_other_operations_are_refused(session):
    for source, action, why in (
        (MATMUL, "gather-columns{on=linalg.matmul:0}", "gathered of linalg.conv_2d_nhwc_hwcf and"),
        (
            strided_conv(1, 1).replace("2x9x6x3xf32", "?x9x6x3xf32"),
            "gather-columns{on=linalg.conv_2d_nhwc_hwcf:0}",
            "known extents only",
        ),
    ):
        with pytest.raises(IllegalActionError, match=why):
            session.apply(source, Schedule.parse(action))


EXP = """func.func @main(%x: memref<4096xf32>, %z: memref<4096xf32>, %y: memref<4096xf32>) {
  %wide = arith.constant 95.0 : f32
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c2 = arith.constant 2 : index
  %zero = arith.constant 0.0 : f32
  %one = arith.constant 1.0 : f32
  %minus = arith.constant -1.0 : f32
  %inf = arith.divf %one, %zero : f32
  %low = arith.divf %minus, %zero : f32
  %nan = arith.divf %zero, %zero : f32
  affine.for %i = 0 to 4096 {
    %v = affine.load %x[%i] : memref<4096xf32>
    %w = arith.mulf %v, %wide : f32
    affine.store %w, %z[%i] : memref<4096xf32>
  }
  memref.store %inf, %z[%c0] : memref<4096xf32>
  memref.store %low, %z[%c1] : memref<4096xf32>
  memref.store %nan, %z[%c2] : memref<4096xf32>
  affine.for %i = 0 to 4096 {
    %w = affine.load %z[%i] : memref<4096xf32>
    %e = math.exp %w : f32
    affine.store %e, %y[%i] : memref<4096xf32>
  }
  return
}"""


@pytest.mark.parametrize("schedule", ["expand-exp", "expand-exp; affine-vectorize{virtual_vector_size=16}"])
def test_exp_is_accurate(session, schedule):
    kept = session.file(".npz")
    assert session.run(session.build(EXP, "main", Schedule.parse(schedule)), keep=kept).status is Status.OK
    with np.load(kept) as arrays:
        x, y = arrays["arr_1"].astype(np.float64), arrays["arr_2"]
    assert y[0] == np.inf and y[1] == 0 and np.isnan(y[2])
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = np.exp(x)
        normal = (wanted > 2.0**-125) & (wanted < np.finfo(np.float32).max)
    assert normal.sum() > 3000 and (np.abs(y[normal] - wanted[normal]) / wanted[normal]).max() < 2 * 2.0**-23
    assert not y[wanted < 2.0**-127].any() and np.isinf(y[np.isfinite(wanted) & (wanted > 1e39)]).all()
