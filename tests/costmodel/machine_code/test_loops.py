"""Loops of listings, with trip counts that are known by hand."""

from __future__ import annotations

import pytest

from foretune.costmodel.machine_code.assembly import operands, read_blocks
from foretune.costmodel.machine_code.loops import find_loops


def listing(body: str) -> str:
    return f"\t.text\n\t.type\tf,@function\nf:\n{body}\n\tretq\n"


@pytest.mark.parametrize(
    "before, body, jump, trips",
    [
        ("\txorl\t%eax, %eax", "\taddq\t$8, %rax\n\tcmpq\t$64, %rax", "jne", 8),
        ("\tmovl\t$32, %ecx", "\taddq\t$64, %rsi\n\tdecq\t%rcx", "jne", 32),
        ("\tmovq\t$-512, %rax", "\tvmovups\t(%rsi,%rax), %ymm0\n\taddq\t$32, %rax", "jne", 16),
        ("\txorl\t%eax, %eax", "\tleaq\t1(%rax), %rcx\n\tcmpq\t$7, %rax\n\tmovq\t%rcx, %rax", "jb", 8),
        ("\tmovq\t$0, 8(%rsp)", "\tincq\t8(%rsp)\n\tcmpq\t$12, 8(%rsp)", "jl", 12),
        ("\tmovq\t%rdi, %rax", "\tincq\t%rax\n\tcmpq\t$9, %rax", "jne", 9),  # the first value is taken to be 0
        ("\tmovq\t%rdi, %rax", "\tdecq\t%rax", "jne", None),
        ("\tmovb\t$1, %al", "\ttestb\t$1, %al\n\tmovl\t$0, %eax", "jne", 2),
        ("\txorl\t%eax, %eax", "\tincq\t%rax\n\tcmpq\t%rdi, %rax", "jne", None),
        ("\txorl\t%eax, %eax", "\tincq\t%rax\n\tvucomiss\t%xmm0, %xmm1", "ja", None),
    ],
)
def test_trips_follow_from_the_counter(before, body, jump, trips):
    [loop] = find_loops(read_blocks(listing(f"{before}\n.LBB0_1:\n{body}\n\t{jump}\t.LBB0_1")))
    assert loop.trips == trips


def test_loops_nest():
    inner = "\txorl\t%ecx, %ecx\n.LBB0_2:\n\tincq\t%rcx\n\tcmpq\t$4, %rcx\n\tjne\t.LBB0_2"
    text = listing(f"\txorl\t%eax, %eax\n.LBB0_1:\n{inner}\n\tincq\t%rax\n\tcmpq\t$10, %rax\n\tjne\t.LBB0_1")
    outer, nested = find_loops(read_blocks(text))
    assert (outer.trips, nested.trips) == (10, 4)
    assert outer.holds(nested.first) and not nested.holds(outer.first)


def test_jumps_forward_and_into_other_functions_are_no_loops():
    text = listing(".LBB0_1:\n\ttestq\t%rax, %rax\n\tje\t.LBB0_2\n\tincq\t%rax\n.LBB0_2:")
    text += "\t.type\tg,@function\ng:\n\tjmp\t.LBB0_1\n"
    assert find_loops(read_blocks(text)) == []


def test_commas_within_memory_operands_do_not_part_operands():
    assert operands("vfmadd231ps (%rax,%rcx,4), %zmm1, %zmm2") == ["(%rax,%rcx,4)", "%zmm1", "%zmm2"]
    assert operands("rep stosq %al, %es:(%rdi)") == ["%al", "%es:(%rdi)"]
