"""Counters of listings, and what a vector kernel has that a scalar one has not."""

from __future__ import annotations

import numpy as np
import pytest

from foretune.costmodel.machine_code.assembly import read_blocks
from foretune.costmodel.machine_code.counters import NAMES, bodies, counters, hot_code
from foretune.costmodel.machine_code.loops import find_loops
from foretune.costmodel.machine_code.mix import PLACE, mix
from foretune.errors import UnsupportedError

WRAPPER = "\t.type\t__tvm_ffi_main,@function\n__tvm_ffi_main:\n"
WRAPPER += "\ttestq\t%rdi, %rdi\n\tje\t.LBB1_1\n\tcallq\tf\n.LBB1_1:\n\tretq\n"


def kernel(body: str, trips: int = 16) -> str:
    return (
        f"\t.text\n\t.type\tf,@function\nf:\n\txorl\t%eax, %eax\n.LBB0_1:\n{body}\n"
        f"\tincq\t%rax\n\tcmpq\t${trips}, %rax\n\tjne\t.LBB0_1\n\tretq\n"
    )


VECTOR = kernel("\tvmovups\t(%rsi), %zmm0\n\tvfmadd231ps\t(%rdi,%rax,4), %zmm0, %zmm1\n\tvmovups\t%zmm1, (%rdx)")
SCALAR = kernel("\tvmovss\t(%rsi), %xmm0\n\tvfmadd231ss\t(%rdi,%rax,4), %xmm0, %xmm1\n\tvmovss\t%xmm1, (%rdx)")
SPILLING = kernel("\tvmovups\t64(%rsp), %zmm0\n\tvfmadd231ps\t%zmm2, %zmm0, %zmm1\n\tvmovups\t%zmm1, 64(%rsp)")


def of(text: str) -> dict[str, float]:
    found = counters(text)
    assert found.shape == (len(NAMES),) and found.dtype == np.float32 and np.isfinite(found.astype(np.float16)).all()
    return dict(zip(NAMES, found.tolist()))


def test_a_loop_is_weighed_with_its_trips():
    found = of(VECTOR)
    assert found["log_executed"] == pytest.approx(np.log2(1 + 16 * 6 + 2), abs=1e-3)
    assert (
        found["loops"] == 1 and found["unknown_trips"] == 0 and found["body1_log_trips"] == pytest.approx(4.087, 1e-3)
    )
    assert found["run_log_lanes"] == pytest.approx(np.log2(1 + 16 * 32))


def test_scalar_code_and_spills_are_seen():
    vector, scalar, spilling = of(VECTOR), of(SCALAR), of(SPILLING)
    assert vector["body1_share_fma_512"] == scalar["body1_share_fma_scalar"] == pytest.approx(1 / 6)
    assert scalar["run_log_cycles_per_lane"] - vector["run_log_cycles_per_lane"] > 3.5
    assert vector["body1_log_spills"] == 0 < spilling["body1_log_spills"] and spilling["body1_log_reloads"] > 0


def test_what_unpacks_arguments_is_left_out():
    assert np.array_equal(counters(VECTOR), counters(VECTOR + WRAPPER))
    assert of(VECTOR)["functions"] == 1


def test_straight_code_is_one_body():
    blocks = read_blocks("\t.text\n\t.type\tf,@function\nf:\n\tvaddps\t%ymm0, %ymm1, %ymm2\n\tretq\n")
    [body] = bodies(blocks, find_loops(blocks))
    assert (body.runs, body.trips, body.depth) == (1.0, None, 0)


def test_hot_code_is_the_loop():
    hot, lanes = hot_code(VECTOR)
    assert "vfmadd231ps" in hot[0].text and hot[0].runs == 16 and lanes == 1 + 16 * 32


def test_other_assembly_is_refused():
    with pytest.raises(UnsupportedError, match="AT&T"):
        counters("add x0, x1, x2\n")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("vfmadd231pd %ymm0, %ymm1, %ymm2", {"fma_256": 1, "lanes": 8}),
        ("vaddps %xmm0, %xmm1, %xmm2", {"packed": 1, "lanes": 4}),
        ("vmulsd %xmm0, %xmm1, %xmm2", {"scalar": 1, "lanes": 1}),
        ("vpermt2ps %zmm0, %zmm1, %zmm2", {"shuffles": 1}),
        ("vbroadcastss (%rdi), %zmm1", {"broadcasts": 1, "loads": 1, "bytes_read": 4}),
        ("vfmadd231ps (%rax){1to16}, %zmm0, %zmm1", {"fma_512": 1, "lanes": 32, "broadcasts": 1, "loads": 1}),
        ("vgatherdps (%rax,%ymm1,4), %ymm0 {%k1}", {"gathers": 1, "masked": 1}),
        ("vmovaps %zmm0, 64(%rsp)", {"spills": 1, "bytes_written": 64}),
        ("vmovaps %zmm0, %zmm1", {"moves": 1}),
        ("leaq 8(%rax), %rcx", {"addresses": 1}),
        ("vdivps %ymm0, %ymm1, %ymm2", {"divides": 1, "packed": 1}),
        ("callq expf@PLT", {"calls": 1}),
    ],
)
def test_classes_of_instructions(text, expected):
    [instruction] = [i for b in read_blocks(f"\t.text\n\t.type\tf,@function\nf:\n\t{text}\n") for i in b.instructions]
    found = mix([instruction])
    assert {name: found[PLACE[name]] for name in expected} == expected
