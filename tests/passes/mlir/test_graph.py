"""Program graphs: the same for equal programs, whatever they look like, and alike at every stage."""

from __future__ import annotations

import pytest

from foretune.errors import DataError, UnsupportedError
from foretune.passes.mlir.costs.predict import read_graph
from foretune.passes.mlir.graph.features import STATEMENT_FEATURES
from foretune.passes.mlir.programs.generator import FAMILIES, generate

TWO = """
func.func @main(%a: memref<8x16xf32>, %b: memref<8x16xf32>, %c: memref<4xi32>) {
  affine.for %i = 0 to 8 {
    affine.for %j = 0 to 16 {
      %x = affine.load %a[%i, %j] : memref<8x16xf32>
      %y = arith.mulf %x, %x : f32
      affine.store %y, %b[%i, %j] : memref<8x16xf32>
    }
  }
  %one = arith.constant 1 : i32
  affine.for %k = 0 to 4 {
    affine.store %one, %c[%k] : memref<4xi32>
  }
  return
}
"""
# renamed, reformatted, the independent loops in another order
SAME = """
module { func.func @main(%first: memref<8x16xf32>,
    %second: memref<8x16xf32>, %third: memref<4xi32>) { %unit = arith.constant 1 : i32
  affine.for %q = 0 to 4 { affine.store %unit, %third[%q] : memref<4xi32> }
  affine.for %row = 0 to 8 { affine.for %column = 0 to 16 {
      %in = affine.load %first[%row, %column] : memref<8x16xf32>   // a comment
      %square = arith.mulf %in, %in : f32
      affine.store %square, %second[%row, %column] : memref<8x16xf32> } }
  return } }
"""


def statements(graph):
    return [dict(zip(STATEMENT_FEATURES, node.features)) for node in graph.nodes if node.kind == "statement"]


def test_names_layout_and_order_do_not_matter(session):
    first, second = read_graph(session, TWO)[0], read_graph(session, SAME)[0]
    assert [(n.kind, n.features) for n in first.nodes] == [(n.kind, n.features) for n in second.nodes]
    assert sorted(map(str, first.edges)) == sorted(map(str, second.edges))


def test_extents_and_element_types_matter(session):
    first = read_graph(session, TWO)[0]
    for other in (
        TWO.replace("0 to 16", "0 to 12"),
        TWO.replace("f32", "f64"),
        TWO.replace("mulf", "addf"),
        TWO.replace("%b[%i, %j]", "%b[%i, 0]"),
    ):
        assert [n.features for n in read_graph(session, other)[0].nodes] != [n.features for n in first.nodes]


def test_accesses_and_loops_of_a_product(session):
    text = generate("matmul", 1).text
    product = max(statements(read_graph(session, text)[0]), key=lambda s: s["log_runs"])
    assert product["depth"] == 3 and product["structured"] == 1 and product["loop0.reduced"] == 1
    assert (product["load.contiguous"], product["load.far"] + product["load.near"], product["store.invariant"]) == (
        1,
        1,
        1,
    )
    assert product["accumulates"] == 1


@pytest.mark.parametrize(
    "family",
    [
        "matmul",
        "conv2d",
        "softmax",
        "attention",
        "loop_stencil",
        "loop_triangular",
        "loop_product_in_register",
        "loop_condition",
    ],
)
def test_stages_agree_on_how_often_statements_run(session, family):
    text = generate(family, 5).text
    lowered = session.build(text, "main", suffixes=(), texts=("llvm",)).texts["llvm"]
    high, low = (max(s["log_runs"] for s in statements(read_graph(session, t)[0])) for t in (text, lowered))
    assert high == pytest.approx(low, abs=0.1)


def test_families_make_legal_programs(session):
    for family in FAMILIES:
        program = generate(family, 7)
        assert program.text == generate(family, 7).text
        assert session.inspect(program.text).entry("main").buffers
    assert generate("matmul", 1).text != generate("matmul", 2).text


@pytest.mark.parametrize(
    "text, error",
    [
        ("module {", DataError),
        ("this is no module", DataError),
        ('func.func @f() { "foo.bar"() : () -> () return }', DataError),
        ("func.func @f() { nvvm.barrier0 return }", UnsupportedError),
    ],
)
def test_what_is_no_module_of_known_dialects_is_refused(session, text, error):
    with pytest.raises((DataError, UnsupportedError)) as caught:
        read_graph(session, text)
    assert str(caught.value) and (error is DataError or isinstance(caught.value, (error, DataError)))
