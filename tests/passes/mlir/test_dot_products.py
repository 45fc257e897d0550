"""Widening products by dot-product instructions: right outputs, and the instructions that were meant."""

from __future__ import annotations

import re

import pytest

from foretune.errors import IllegalActionError
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.grammar.dot_instructions import DOT_INSTRUCTIONS, instruction_for
from foretune.passes.mlir.grammar.templates import Template
from foretune.passes.mlir.rewriting.dot_kernel import DotTiling, WideningProduct, dot_product_text
from foretune.record import Status
from foretune.target import dot_product_instructions, vector_bits
from tests.passes.mlir import nests
from tests.passes.mlir.running import run_beside_default

SPOKEN = {"vpdpbusd": "vpdpbusd", "vpmaddwd": "vpdpwssd", "vdpbf16ps": "vdpbf16ps"}  # of the processor below
RESULTS = {"i8": "i32", "i16": "i32", "bf16": "f32"}
WIDENED = {"i8": "arith.extsi", "i16": "arith.extsi", "bf16": "arith.extf"}


def product(m, n, k, element="i8", widen=("", ""), turned=False, batch=0):
    """A widening product, with the right operand's rows along the columns of the result if `turned`."""
    result, extra = RESULTS[element], "b, " if batch else ""
    widen = [word or WIDENED[element] for word in widen]
    multiply, add = ("arith.mulf", "arith.addf") if result == "f32" else ("arith.muli", "arith.addi")

    def kind(one, other, of):
        return f"tensor<{f'{batch}x' if batch else ''}{one}x{other}x{of}>"

    left, right, out = kind(m, k, element), kind(n, k, element) if turned else kind(k, n, element), kind(m, n, result)
    maps = ", ".join(
        f"affine_map<({extra}i, j, k) -> ({extra}{axes})>" for axes in ("i, k", "j, k" if turned else "k, j", "i, j")
    )
    kinds = ", ".join([*(['"parallel"'] * (3 if batch else 2)), '"reduction"'])
    return f"""func.func @main(%a: {left}, %b: {right}, %c: {out}) -> {out} {{
  %r = linalg.generic {{indexing_maps = [{maps}], iterator_types = [{kinds}]}} ins(%a, %b : {left}, {right}) outs(%c : {out}) {{
  ^bb0(%x: {element}, %y: {element}, %z: {result}):
    %u = {widen[0]} %x : {element} to {result}
    %v = {widen[1]} %y : {element} to {result}
    %p = {multiply} %u, %v : {result}
    %s = {add} %z, %p : {result}
    linalg.yield %s : {result}
  }} -> {out}
  return %r : {out}
}}"""  # noqa: E501


def first_schedule(session, source, bits, instructions, answers=None):
    def choose(fork, offered):
        wanted = (answers or {}).get(fork.partition(" ")[2])
        return wanted if wanted in offered else offered[0]

    return Template(lambda s: session.describe(source, s), bits, instructions).schedule(choose)


def check_outputs(session, source, schedule, exactly):
    assert run_beside_default(session, source, schedule).difference == 0 or not exactly


@pytest.mark.parametrize("name", DOT_INSTRUCTIONS)
def test_the_instructions_that_were_meant(session, counting, name):
    element = DOT_INSTRUCTIONS[name].operands[0]
    source = nests.product(element, RESULTS[element], 64)
    plain = first_schedule(session, source, 512, ())
    made = first_schedule(session, source, 512, (name,))
    assert f"by={name}" in str(made) and "dot-product" not in str(plain)
    build = session.build(source, "main", made, (".s",), cpu="znver4")
    assert build.status is Status.OK, build.error
    text = build.files[".s"].read_text()
    hot = re.findall(rf"{SPOKEN[name]}\s.*%zmm", text)
    assert len(hot) >= 24, text[:2000]
    assert not re.search(r"%zmm\d+, -?\w*\(%rsp\)", text)  # all accumulators stay in registers
    before, after = (counting.count(source, "znver4", schedule).labels for schedule in (plain, made))
    assert after["dynamic_instructions"] < 0.5 * before["dynamic_instructions"]


CONV = """func.func @main(%x: tensor<2x17x13x3xi8>, %w: tensor<5x3x3x32xi8>, %y: tensor<2x7x6x32xi32>) -> tensor<2x7x6x32xi32> {
  %r = linalg.conv_2d_nhwc_hwcf {dilations = dense<1> : tensor<2xi64>, strides = dense<2> : tensor<2xi64>} ins(%x, %w : tensor<2x17x13x3xi8>, tensor<5x3x3x32xi8>)
    outs(%y : tensor<2x7x6x32xi32>) -> tensor<2x7x6x32xi32>
  return %r : tensor<2x7x6x32xi32>
}"""  # noqa: E501
CONV_FIRST = """func.func @main(%x: tensor<2x3x17x13xi8>, %w: tensor<8x3x5x3xi8>, %y: tensor<2x8x7x6xi32>) -> tensor<2x8x7x6xi32> {
  %r = linalg.conv_2d_nchw_fchw {dilations = dense<1> : tensor<2xi64>, strides = dense<2> : tensor<2xi64>} ins(%x, %w : tensor<2x3x17x13xi8>, tensor<8x3x5x3xi8>)
    outs(%y : tensor<2x8x7x6xi32>) -> tensor<2x8x7x6xi32>
  return %r : tensor<2x8x7x6xi32>
}"""  # noqa: E501
CASES = {
    "square": product(32, 32, 32),
    "rows are left over": product(19, 48, 64),
    "nothing fits": product(23, 37, 29),
    "steps are left over in sums": product(5, 16, 100),
    "turned": product(12, 32, 16, turned=True),
    "batch": product(9, 32, 16, batch=3),
    "both without sign": product(12, 32, 24, widen=("arith.extui", "arith.extui")),
    "left without sign": product(12, 32, 24, widen=("arith.extui", "")),
    "right without sign": product(12, 32, 24, widen=("", "arith.extui")),
    "i16": product(14, 32, 18, "i16"),
    "bf16": product(14, 48, 36, "bf16"),
    "convolution": CONV,
    "convolution, channels first": CONV_FIRST,
    "bf16 turned": product(14, 32, 18, "bf16", turned=True),
}


@pytest.mark.parametrize("case", CASES)
def test_outputs(session, case):
    source = CASES[case]
    instructions = dot_product_instructions()
    element = next(e for e in ("i8", "i16", "bf16") if f"x{e}>" in source)
    served = [name for name in instructions if element in DOT_INSTRUCTIONS[name].operands]
    if not served:
        pytest.skip(f"this processor has no dot products of {element}")
    for name in served:
        schedule = first_schedule(session, source, vector_bits(), (name,))
        assert f"by={name}" in str(schedule)
        check_outputs(session, source, schedule, element != "bf16")


@pytest.mark.parametrize("case", ["batch", "turned", "bf16", "right without sign"])
def test_operands_may_be_widened_once(session, case):
    source = CASES[case]
    made = session.apply(source, Schedule.of("widen-operands{on=linalg:0}"))[0]
    assert made.count("linalg.generic") == 3
    schedule = first_schedule(session, source, 256, (), {"widen": True})
    assert "widen-operands" in str(schedule)
    check_outputs(session, source, schedule, False)


def test_blocks_of_rows(session):
    if "vpmaddwd" not in dot_product_instructions():
        pytest.skip("this processor has no dot products of i8")
    source = product(140, 64, 32)
    schedule = first_schedule(
        session,
        source,
        vector_bits(),
        ("vpmaddwd",),
        {"dot vectors": 1, "dot rows": 16, "dot block": 128},
    )
    assert "block=" in str(schedule)
    check_outputs(session, source, schedule, True)


@pytest.mark.parametrize(
    ("source", "action", "reason"),
    [
        (product(8, 16, 8), "by=vdpbf16ps rows=4 vectors=1 bits=512", "vdpbf16ps multiplies bf16, but got i8"),
        (product(8, 16, 8), "by=vpdpbusd rows=4 vectors=2 bits=512", "columns must be a multiple of 32"),
        (product(8, 16, 6), "by=vpdpbusd rows=4 vectors=1 bits=512", "and steps of 4, but got 16 and 6"),
        (product(8, 16, 8), "by=vpdpbusd rows=4 vectors=1 bits=128", "takes vectors of"),
        (product(8, 16, 8, "i16", ("arith.extui", "")), "by=vpmaddwd rows=4 vectors=1 bits=256", "without a sign"),
        (product(8, 16, 8).replace("arith.addi", "arith.subi"), "by=vpdpbusd rows=4 vectors=1 bits=512", "no product"),
        (product(8, 16, 8).replace("8x16xi8", "?x16xi8"), "by=vpdpbusd rows=4 vectors=1 bits=512", "known extents"),
    ],
)
def test_what_is_refused(session, source, action, reason):
    with pytest.raises(IllegalActionError, match=re.escape(reason)):
        session.apply(source, Schedule.of(f"dot-product{{on=linalg:0 {action}}}"))


def test_the_best_instruction_of_a_type():
    assert instruction_for("i8", "i32", ("vpmaddwd", "vpdpbusd")) == "vpdpbusd"
    assert instruction_for("i8", "i32", ("vpmaddwd",)) == "vpmaddwd"
    assert instruction_for("i8", "i64", ("vpdpbusd",)) == instruction_for("f16", "f32", DOT_INSTRUCTIONS) == ""


def test_the_sign_is_corrected_only_where_both_or_none_has_one():
    tiling = DotTiling(4, 1, 512)
    for signed, corrected in (((True, True), True), ((True, False), False), ((False, True), False)):
        made = WideningProduct((8, 16, 64), (0, 2), (2, 1), (0, 1), 0, 1, 2, "i8", signed)
        text = dot_product_text(made, "vpdpbusd", tiling)
        assert ("arith.xori" in text) == ("tensor.extract" in text) == corrected
