"""Loop nests that are products of matrices become structured operations; whatever is not surely one stays as it is."""

from __future__ import annotations

import pytest

from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.grammar.templates import Template
from tests.passes.mlir.running import run_beside_default

RAISE = Schedule.of("raise-to-products")


def memrefs(**shapes):
    return ", ".join(f"%{name}: memref<{shape}xf32>" for name, shape in shapes.items())


def added(target="%C[%i, %j]", left="%A[%i, %k]", right="%B[%k, %j]", kinds=("12x20", "12x16", "16x20"), extra=""):
    """`target += left * right`."""
    out, one, other = (f"memref<{kind}xf32>" for kind in kinds)
    return f"""%x = affine.load {left} : {one}
    %y = affine.load {right} : {other}
    {extra or "%p = arith.mulf %x, %y : f32"}
    %z = affine.load {target} : {out}
    %s = arith.addf %z, %p : f32
    affine.store %s, {target} : {out}
"""


SCALED = "%ax = arith.mulf %alpha, %x : f32\n    %p = arith.mulf %ax, %y : f32"


def nest(body, loops=(("i", "0", "12"), ("j", "0", "20"), ("k", "0", "16")), arguments="", before="", after=""):
    arguments = arguments or memrefs(A="12x16", B="16x20", C="12x20") + ", %alpha: f32, %beta: f32"
    opened = "".join(f"  affine.for %{name} = {low} to {high} {{\n" for name, low, high in loops)
    return f"func.func @main({arguments}) {{\n{before}{opened}    {body}{'  }' * len(loops)}\n{after}  return\n}}\n"


GEMM = f"""func.func @main({memrefs(A="12x16", B="16x20", C="12x20")}, %alpha: f32, %beta: f32) {{
  affine.for %i = 0 to 12 {{
    affine.for %j = 0 to 20 {{
      %c = affine.load %C[%i, %j] : memref<12x20xf32>
      %b = arith.mulf %c, %beta : f32
      affine.store %b, %C[%i, %j] : memref<12x20xf32>
    }}
    affine.for %k = 0 to 16 {{
      affine.for %j = 0 to 20 {{
    {added(extra=SCALED)}      }}
    }}
  }}
  return
}}"""

SYRK = f"""func.func @main({memrefs(A="12x16", C="12x12")}, %alpha: f32, %beta: f32) {{
  affine.for %i = 0 to 12 {{
    affine.for %j = 0 to affine_map<(d0) -> (d0 + 1)>(%i) {{
      %c = affine.load %C[%i, %j] : memref<12x12xf32>
      %b = arith.mulf %c, %beta : f32
      affine.store %b, %C[%i, %j] : memref<12x12xf32>
    }}
    affine.for %k = 0 to 16 {{
      affine.for %j = 0 to affine_map<(d0) -> (d0 + 1)>(%i) {{
    {added(right="%A[%j, %k]", kinds=("12x12", "12x16", "12x16"), extra=SCALED)}      }}
    }}
  }}
  return
}}"""

TWO = f"""func.func @main({memrefs(A="12x16", B="16x20", E="20x8", D="12x8")}, %alpha: f32, %beta: f32) {{
  %zero = arith.constant 0.0 : f32
  %C = memref.alloc() : memref<12x20xf32>
  affine.for %i = 0 to 12 {{
    affine.for %j = 0 to 20 {{
      affine.store %zero, %C[%i, %j] : memref<12x20xf32>
      affine.for %k = 0 to 16 {{
    {added(extra=SCALED)}      }}
    }}
  }}
  affine.for %i = 0 to 12 {{
    affine.for %j = 0 to 8 {{
      %d = affine.load %D[%i, %j] : memref<12x8xf32>
      %b = arith.mulf %d, %beta : f32
      affine.store %b, %D[%i, %j] : memref<12x8xf32>
      affine.for %k = 0 to 20 {{
    {added("%D[%i, %j]", "%C[%i, %k]", "%E[%k, %j]", ("12x8", "12x20", "20x8"))}      }}
    }}
  }}
  return
}}"""

ATAX = f"""func.func @main({memrefs(A="12x16", u="16", w="16", t="12")}) {{
  %zero = arith.constant 0.0 : f32
  affine.for %i = 0 to 12 {{
    affine.store %zero, %t[%i] : memref<12xf32>
    affine.for %j = 0 to 16 {{
    {added("%t[%i]", "%A[%i, %j]", "%u[%j]", ("12", "12x16", "16"))}    }}
    affine.for %j = 0 to 16 {{
    {added("%w[%j]", "%A[%i, %j]", "%t[%i]", ("16", "12x16", "12"))}    }}
  }}
  return
}}"""

CARRIED = f"""func.func @main({memrefs(A="12x16", B="20x16", C="12x20")}) {{
  affine.for %i = 0 to 12 {{
    affine.for %j = 0 to 20 {{
      %z = arith.constant 1.0 : f32
      %r = affine.for %k = 0 to 16 iter_args(%acc = %z) -> (f32) {{
        %x = affine.load %A[%i, %k] : memref<12x16xf32>
        %y = affine.load %B[%j, %k] : memref<20x16xf32>
        %p = arith.mulf %x, %y : f32
        %s = arith.addf %acc, %p : f32
        affine.yield %s : f32
      }}
      affine.store %r, %C[%i, %j] : memref<12x20xf32>
    }}
  }}
  return
}}"""

SCF = f"""func.func @main({memrefs(A="12x16", B="16x20", C="12x20")}) {{
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %m = arith.constant 12 : index
  %n = arith.constant 20 : index
  %l = arith.constant 16 : index
  scf.for %k = %c0 to %l step %c1 {{
    scf.for %i = %c0 to %m step %c1 {{
      %x = memref.load %A[%i, %k] : memref<12x16xf32>
      scf.for %j = %c0 to %n step %c1 {{
        %y = memref.load %B[%k, %j] : memref<16x20xf32>
        %z = memref.load %C[%i, %j] : memref<12x20xf32>
        %p = arith.mulf %x, %y : f32
        %s = arith.addf %p, %z : f32
        memref.store %s, %C[%i, %j] : memref<12x20xf32>
      }}
    }}
  }}
  return
}}"""

NARROW = nest(
    added(kinds=("12x16", "12x16", "16x16"), extra="%p = arith.muli %u, %v : i32")
    .replace("12x16xf32>\n    %y", "12x16xi8>\n    %y")
    .replace("16x16xf32>\n", "16x16xi8>\n    %u = arith.extsi %x : i8 to i32\n    %v = arith.extsi %y : i8 to i32\n")
    .replace("addf", "addi")
    .replace("f32", "i32"),
    (("i", "0", "12"), ("j", "0", "16"), ("k", "0", "16")),
    "%A: memref<12x16xi8>, %B: memref<16x16xi8>, %C: memref<12x16xi32>",
)

RIGHT = {
    "gemm": (GEMM, 3),
    "syrk": (SYRK, 4),
    "2mm": (TWO, 5),
    "atax": (ATAX, 3),
    "carried": (CARRIED, 2),
    "scf in another order": (SCF, 1),
    "plain": (nest(added()), 1),
    "rows of the left operand turned": (
        nest(
            added(left="%A[%k, %i]", kinds=("12x20", "16x12", "16x20")),
            arguments=memrefs(A="16x12", B="16x20", C="12x20"),
        ),
        1,
    ),
    "widening": (NARROW, 1),
}


@pytest.mark.parametrize("name", RIGHT)
def test_products_are_raised(session, name):
    source, operations = RIGHT[name]
    text = session.apply(source, RAISE)[0]
    assert text.count("linalg.generic") == operations and "affine.for" not in text and "scf.for" not in text
    run_beside_default(session, source, RAISE)


@pytest.mark.parametrize("name", ["gemm", "syrk", "2mm", "scf in another order"])
def test_schedules_of_products_reach_them(session, counting, name):
    source, _ = RIGHT[name]
    schedules = {}
    for wanted in (True, False):
        schedules[wanted] = Template(lambda s: session.describe(source, s), 256).schedule(
            lambda fork, answers, wanted=wanted: wanted if fork == "raise products" else answers[0]
        )
    assert "raise-to-products" in str(schedules[True]) and "raise-to-products" not in str(schedules[False])
    assert "vectorize" in str(schedules[True])
    run_beside_default(session, source, schedules[True])
    labels = counting.count(source, "haswell", schedules[True]).labels
    assert labels["dynamic_vector_share"] > 0.9
    assert labels["mca_cycles"] < counting.count(source, "haswell").labels["mca_cycles"]


SQUARE = (("i", "0", "16"), ("j", "0", "16"), ("k", "0", "16"))
SAME = ("16x16", "16x16", "16x16")
THREE = memrefs(A="12x16", B="16x20", C="12x20")
WITH_NUMBER = THREE + ", %n: index"
PART = "memref<12x16xf32, strided<[16, 1]>>"
CALL = f"""func.func @main({THREE}, %s: f32) {{
  call @inner(%A, %B, %C, %s, %s) : (memref<12x16xf32>, memref<16x20xf32>, memref<12x20xf32>, f32, f32) -> ()
  return
}}
"""
TURNED = f"""func.func @main({memrefs(A="16x16", B="16x16", C="16x16", D="16x16")}) {{
  affine.for %i = 0 to 16 {{
    affine.for %j = 0 to 16 {{
      affine.for %k = 0 to 16 {{
    {added(kinds=SAME)}      }}
    }}
    affine.for %l = 0 to 16 {{
      %u = affine.load %C[%l, %i] : memref<16x16xf32>
      affine.store %u, %D[%l, %i] : memref<16x16xf32>
    }}
  }}
  return
}}
"""
LOADED_BEFORE = nest(
    "%z = affine.load %C[%i, %j] : memref<12x20xf32>\n    affine.for %k = 0 to 16 {\n    "
    + added().replace("    %z = affine.load %C[%i, %j] : memref<12x20xf32>\n", "")
    + "  }\n",
    (("i", "0", "12"), ("j", "0", "20")),
)
TRIANGLE = (("i", "0", "12"), ("j", "0", "20"), ("k", "0", "affine_map<(d) -> (d + 1)>(%i)"))
COPY = "%x = affine.load %A[%i, %k] : memref<12x16xf32>\n    affine.store %x, %A[%i, %k] : memref<12x16xf32>\n"
BRANCH = "affine.if affine_set<(d) : (d - 1 >= 0)>(%i) {\n" + added() + "    }\n"
OTHERS = {
    "a step of two": nest(added()).replace("%k = 0 to 16", "%k = 0 to 16 step 2"),
    "not from the beginning": nest(added()).replace("%k = 0 to 16", "%k = 1 to 16"),
    "not to the end": nest(added()).replace("%k = 0 to 16", "%k = 0 to 15"),
    "a neighbour": nest(added(left="%A[%i, %k + 1]")).replace("%k = 0 to 16", "%k = 0 to 15"),
    "a symbol": nest(added(left="%A[%i, symbol(%n)]"), arguments=WITH_NUMBER),
    "a bound that is an argument": nest(added(), arguments=WITH_NUMBER).replace("%k = 0 to 16", "%k = 0 to %n"),
    "a diagonal": nest(added(left="%A[%i, %i]", kinds=SAME), SQUARE, memrefs(A="16x16", B="16x16", C="16x16")),
    "the output is an operand": nest(added(right="%C[%k, %j]", kinds=SAME), SQUARE, memrefs(A="16x16", C="16x16")),
    "a difference": nest(added().replace("addf %z, %p", "subf %z, %p")),
    "a number behind the product": nest(
        added(extra="%q = arith.mulf %x, %y : f32\n    %p = arith.mulf %q, %alpha : f32")
    ),
    "a function": nest(added(extra="%e = math.exp %x : f32\n    %p = arith.mulf %e, %y : f32")),
    "a branch": nest(BRANCH),
    "a triangle that is summed": nest(added(), TRIANGLE),
    "another store beside it": nest(added() + "affine.store %x, %A[%i, %k] : memref<12x16xf32>\n"),
    "a value from before": LOADED_BEFORE,
    "no product": nest(COPY, (("i", "0", "12"), ("k", "0", "16"))),
    "another iteration's result is read": TURNED,
    "a part of a buffer": nest(
        added(left="%V[%i, %k]").replace("memref<12x16xf32>", PART),
        before=f"  %V = memref.subview %A[0, 0] [12, 16] [1, 1] : memref<12x16xf32> to {PART}\n",
    ),
    "buffers that are given back": nest(
        added(left="%T[%i, %k]"),
        before="  %T = memref.alloc() : memref<12x16xf32>\n",
        after="  memref.dealloc %T : memref<12x16xf32>\n",
    ),
    "arguments that may be one": nest(added()).replace("@main(", "private @inner(") + CALL,
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_stay(session, name):
    source = session.inspect(OTHERS[name]).text
    assert session.apply(source, RAISE)[0] == source
