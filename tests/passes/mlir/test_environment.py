"""Modules are parsed, transformed, lowered, run and checked in workers; what goes wrong there is a status or a clear
error.
"""

from __future__ import annotations

import numpy as np
import pytest

from foretune.errors import DataError, IllegalActionError, OptionError
from foretune.passes.mlir.environment.session import MlirSession, SessionSettings
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.tuning.frontend import MlirProgram
from foretune.record import Status
from tests.passes.mlir import sources


def outputs(session, source, entry="main", schedule=Schedule()):
    build = session.build(source, entry, schedule)
    assert build.status is Status.OK, build.error
    kept = session.file(".npz")
    assert session.run(build, keep=kept).status is Status.OK
    with np.load(kept, allow_pickle=False) as arrays:
        return [arrays[f"arr_{i}"] for i in range(len(arrays.files))]


def test_results_are_right(session):
    a, b, c = outputs(session, sources.matmul(16, 32, 8))
    assert np.allclose(a @ b, c, rtol=1e-5, atol=1e-6) and a.std() > 0.3
    x, y = outputs(session, sources.softmax(4, 32))
    assert np.allclose(np.exp(x) / np.exp(x).sum(1, keepdims=True), y, rtol=1e-5)
    m, n = outputs(session, sources.SCF)
    assert np.array_equal(n, 2 * m) and n.any()
    a, b, both = outputs(session, sources.BOOLEANS)
    assert np.array_equal(a & b, both) and both.any()
    m, largest, seven = outputs(session, sources.VECTOR)
    assert largest == m.max() and seven == 7


def test_numbers_and_memory_that_is_written_to(session):
    m, total = outputs(session, sources.AFFINE, "sum")
    assert np.isclose(m.sum(), total, rtol=1e-4)
    again, _ = outputs(session, sources.AFFINE, "sum", Schedule.of("affine-unroll{unroll_factor=4}"))
    assert np.array_equal(m, again)


@pytest.mark.parametrize("name", sources.ALL)
def test_runs_are_timed_and_compared(session, name):
    source = sources.ALL[name]
    entry = session.inspect(source).entry().name
    build = session.build(source, entry, suffixes=(".so", ".s", ".ll", ".bc"), texts=("buffers", "llvm"))
    assert build.status is Status.OK, build.error
    assert (
        all(path.stat().st_size for path in build.files.values())
        and "llvm.func" in build.texts["llvm"]
        and "tensor<" not in build.texts["buffers"]
    )
    kept = session.file(".npz")
    session.run(build, keep=kept)
    run = session.run(build, repeats=2, repeat_ms=1, reference=kept)
    assert (
        run.status is Status.OK
        and run.difference == 0
        and len(run.run_secs) == 2
        and all(1e-10 < t < 1 for t in run.run_secs)
    )


def test_other_processors(session):
    source = sources.matmul(16, 32, 8)
    texts = [
        session.build(source, "main", suffixes=(".s",), cpu=cpu).files[".s"].read_text() for cpu in ("x86-64", "znver4")
    ]
    assert "zmm" not in texts[0] and "xmm" in texts[0] and texts[1] != texts[0]


def test_a_wrong_output_is_a_status(session):
    kept = session.file(".npz")
    session.run(session.build(sources.matmul(16, 32, 8), "main"), keep=kept)
    run = session.run(
        session.build(sources.matmul(16, 32, 8).replace("0.0 : f32", "0.5 : f32"), "main"), reference=kept
    )
    assert (
        run.status is Status.WRONG_OUTPUT
        and "differ from the untransformed program's by" in run.error
        and not run.run_secs
    )


def test_programs_that_crash_or_hang(session):
    assert session.run(session.build(sources.CRASHES, "main")).status is Status.RUN_ERROR
    with MlirSession(SessionSettings(run_timeout_secs=1)) as impatient:
        run = impatient.run(impatient.build(sources.HANGS, "main"))
        assert run.status is Status.RUN_TIMEOUT and "no end within 1 s" in run.error
        assert impatient.run(impatient.build(sources.SCF, "main")).status is Status.OK  # the worker goes on


def test_builds_that_take_too_long_or_too_much():
    with MlirSession(SessionSettings(build_timeout_secs=1e-3)) as impatient:
        assert impatient.build(sources.SCF, "main").status is Status.BUILD_TIMEOUT
    with MlirSession(SessionSettings(memory_bytes=64 << 20)) as poor:
        assert poor.build(sources.SCF, "main").status is Status.BUILD_ERROR


def test_entries(session):
    two = sources.SCF + sources.SCF.replace("@main", "@other")
    found = session.inspect(two)
    assert found.entry("other").name == "other"
    with pytest.raises(OptionError, match="several public functions"):
        found.entry()
    with pytest.raises(OptionError, match="must be one of"):
        found.entry("third")
    with pytest.raises(DataError, match="no public function with a body"):
        session.inspect("module {}").entry()
    with pytest.raises(DataError, match=r"vector<4xf32>: an entry may have tensors, memrefs and numbers of"):
        session.inspect("func.func @main(%v: vector<4xf32>) { return }").entry()
    with pytest.raises(DataError, match="a layout by an affine map"):
        session.inspect("func.func @main(%m: memref<4x4xf32, affine_map<(i, j) -> (j, i)>>) { return }").entry()
    with pytest.raises(DataError, match="may have 2048 MiB together"):
        session.inspect("func.func @main(%m: memref<99999x99999x99999x99999xf64>) { return }").entry()
    with pytest.raises(DataError, match="an entry's name must be"):
        session.inspect('func.func @"a b\\22"() { return }').entry()


def test_sizes_for_unknown_extents(session):
    with pytest.raises(DataError, match="extents must be known; give the sizes"):
        MlirProgram.of(session, "matmul", sources.UNKNOWN_SIZES)
    with pytest.raises(DataError, match="has 3 unknown extents, but got 1 sizes"):
        MlirProgram.of(session, "matmul", sources.UNKNOWN_SIZES, sizes=(8,))
    with pytest.raises(OptionError, match="sizes must be positive integers"):
        MlirProgram.of(session, "matmul", sources.UNKNOWN_SIZES, sizes=(8, 0, 8))
    program = MlirProgram.of(session, "matmul", sources.UNKNOWN_SIZES, sizes=(8, 4, 4))
    assert [str(v) for v in (*program.signature.inputs, *program.signature.results)] == [
        "tensor<8x4xf32>",
        "tensor<4x16xf32>",
        "tensor<8x16xf32>",
    ]
    a, b, c = outputs(session, program.text)
    assert np.allclose(a @ b, c, rtol=1e-5, atol=1e-6)


def test_functions_without_a_body_are_named(session):
    build = session.build(
        "func.func private @elsewhere(memref<4xf32>)\nfunc.func @main(%m: memref<4xf32>) { call @elsewhere(%m) :"
        " (memref<4xf32>) -> ()\n return }",
        "main",
    )
    assert build.status is Status.BUILD_ERROR and "elsewhere" in build.error


def test_scripts_that_programs_bring_along_are_not_run(session):
    script = (
        "module attributes {transform.with_named_sequence} {\n"
        + sources.SCF
        + "\ntransform.named_sequence @__transform_main(%r: !transform.any_op) { transform.yield } }"
    )
    m, n = outputs(session, script)
    assert np.array_equal(n, 2 * m)


def test_steps_can_be_looked_at(session):
    tiled, buffers = session.apply(
        sources.matmul(16, 32, 8), Schedule.parse("tile{on=linalg.matmul:0 sizes=8,16,0}; bufferize"), each=True
    )
    assert "scf.for" in tiled and "tensor<8x16xf32>" in tiled and "memref<8x16xf32" in buffers
    with pytest.raises(
        IllegalActionError,
        match=r"tile\{on=linalg.matmul:1 sizes=8\}: the module has 1 operations of kind linalg.matmul",
    ):
        session.apply(sources.matmul(16, 32, 8), Schedule.of("tile{on=linalg.matmul:1 sizes=8}"))
    build = session.build(
        sources.matmul(16, 32, 8), "main", Schedule.parse("cse; tile{on=linalg.matmul:0 sizes=8,16,0,0}")
    )
    assert build.status is Status.ILLEGAL and build.step == 1 and "too many tiles" in build.error
