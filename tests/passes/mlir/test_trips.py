"""How often things run is read off all kinds of loops, calls and copies; what is not known is said."""

from __future__ import annotations

import pytest

from foretune.errors import UnsupportedError
from foretune.passes.mlir.costs.predict import read_graph, read_graph_with_facts
from foretune.passes.mlir.graph.features import STATEMENT_FEATURES
from tests.passes.mlir import nests, sources


def runs(session, source, operation="n.store"):
    """How often operations of a kind run, over all statements."""
    rows = [
        dict(zip(STATEMENT_FEATURES, node.features))
        for node in read_graph(session, source)[0].nodes
        if node.kind == "statement"
    ]
    return sum(row[operation] * 2 ** row["log_runs"] for row in rows)


@pytest.mark.parametrize("name", nests.ALL)
def test_the_same_work_in_any_loop(session, name):
    assert runs(session, nests.ALL[name], "n.fmul") == pytest.approx(nests.RUNS, rel=1e-4)


def test_minima_are_averaged_over_their_loop(session):
    assert runs(session, nests.TILED, "n.fadd") == pytest.approx(70 * 90, rel=1e-3)
    lowered = session.build(nests.TILED, "main", suffixes=(), texts=("llvm",)).texts["llvm"]
    assert runs(session, lowered, "n.fadd") == pytest.approx(70 * 90, rel=0.05)


def test_operations_that_stand_for_loops(session):
    assert runs(session, nests.PAD) == pytest.approx(44 * 62 + 40 * 60, rel=1e-3)
    assert runs(session, nests.GENERATE) == pytest.approx(20 * 30, rel=1e-3)
    assert runs(session, nests.STRIDED_COPY) == pytest.approx(12 * 50, rel=1e-3)
    assert runs(session, sources.softmax(8, 64), "n.libm") == pytest.approx(8 * 64, rel=1e-3)
    assert runs(session, nests.TOSA, "n.libm") == pytest.approx(6 * 10, rel=1e-3)
    assert read_graph_with_facts(session, nests.COPY)[2].library_bytes == 512 * 300 * 8


def test_extents_follow_allocations(session):
    source = """func.func @main() {
  %n = arith.constant 20 : index
  %m = memref.alloc(%n) : memref<?x16xf32>
  %z = arith.constant 1.0 : f32
  linalg.fill ins(%z : f32) outs(%m : memref<?x16xf32>)
  memref.dealloc %m : memref<?x16xf32>
  return
}"""
    assert runs(session, source) == pytest.approx(320, rel=1e-3)


def test_what_is_not_known_is_said(session):
    _, _, facts = read_graph_with_facts(session, nests.BOUNDED_BY_DATA)
    assert facts.unknown_trips == 1 and facts.uncertain
    assert "how far scf.for of line 6 goes is not known and is taken as 8" in facts.notes
    _, _, facts = read_graph_with_facts(session, nests.OUTSIDE)
    assert facts.outside == ("somewhere",) and not facts.uncertain
    assert read_graph_with_facts(session, nests.product("f128", "f128"))[2].elements == ("f128",)
    recursive = "func.func @main(%n: i32) {\n  call @main(%n) : (i32) -> ()\n  return\n}"
    assert "calls itself" in read_graph_with_facts(session, recursive)[2].notes[0]


def test_arguments_that_bound_loops(session):
    _, _, facts = read_graph_with_facts(session, nests.BOUNDED_BY_ARGUMENT)
    assert facts.notes == ("argument 0 of @main is taken as 200: the smallest extent, 200, of what its loop accesses",)
    assert runs(session, nests.BOUNDED_BY_ARGUMENT) == pytest.approx(200, rel=1e-3)
    graph, _, facts = read_graph_with_facts(session, nests.BOUNDED_BY_ARGUMENT, values=(50,))
    assert not facts.notes and max(
        node.features[STATEMENT_FEATURES.index("log_runs")] for node in graph.nodes if node.kind == "statement"
    ) == pytest.approx(5.64, abs=0.01)


def test_sparse_tensors_are_refused(session):
    source = (
        "#s = #sparse_tensor.encoding<{ map = (i) -> (i : compressed) }>\nfunc.func @main(%x: tensor<8xf32, #s>) {"
        " return }"
    )
    with pytest.raises(UnsupportedError, match="is sparse: the cost model knows dense tensors only"):
        read_graph(session, source)
