"""Labels: what is read off assembly by hand, and what a run counts."""

from __future__ import annotations

import numpy as np
import pytest

from foretune.costmodel.machine_code import mca as machine_code_mca
from foretune.costmodel.machine_code.assembly import read_blocks, read_instruction, with_counters
from foretune.costmodel.machine_code.mca import HotBlock, Mca, hot_blocks
from foretune.errors import UnsupportedError
from foretune.passes.llvm.toolchain import find_toolchain
from foretune.passes.mlir.costs.labels import dynamic_labels, static_labels

ASSEMBLY = """
	.text
	.globl	main
	.type	main,@function
main:
	subq	$24, %rsp
	movq	%rdi, 8(%rsp)                   # 8-byte Spill
	xorl	%eax, %eax
	.p2align	4
.LBB0_1:
	vmovups	(%rsi,%rax,4), %ymm0
	vaddps	(%rdx,%rax,4), %ymm0, %ymm0
	vmulss	%xmm1, %xmm2, %xmm2
	vmovups	%ymm0, (%rsi,%rax,4)
	addq	$8, %rax
	cmpq	$64, %rax
	jne	.LBB0_1
	movq	8(%rsp), %rdi
	addq	$24, %rsp
	retq
.Lfunc_end0:
	.size	main, .Lfunc_end0-main
	.section	.rodata
	.long	1
"""


def test_static_labels_of_a_loop():
    blocks = read_blocks(ASSEMBLY)
    assert [len(b.instructions) for b in blocks] == [3, 7, 3]
    labels = static_labels(blocks)
    assert labels["instructions"] == 13
    assert labels["gpr_registers"] == 4  # rdi rax rsi rdx; the stack pointer is not counted
    assert labels["vector_registers"] == 3 and labels["registers"] == 7
    assert labels["spills"] == 1 and labels["reloads"] == 1
    assert labels["memory_operands"] == 5
    assert labels["vector_share"] == 0.5


def test_dynamic_labels_weigh_blocks_with_their_runs():
    blocks, runs = read_blocks(ASSEMBLY), np.array([1.0, 8.0, 1.0])
    labels = dynamic_labels(blocks, runs)
    assert labels["dynamic_instructions"] == 3 + 8 * 7 + 3
    assert labels["bytes_read"] == 8 * (32 + 32) + 8 and labels["bytes_written"] == 8 + 8 * 32
    [hot, *_] = hot_blocks(blocks, runs)
    assert hot.runs == 8 and "vaddps" in hot.text


@pytest.mark.parametrize(
    "text, reads, writes",
    [
        ("vmovups %ymm0, (%rax,%rcx,4) {%k1}", 0, 32),
        ("vmulss -768(%rbp), %xmm1, %xmm1", 4, 0),
        ("incq 8(%rsp)", 8, 8),
        ("cmpl $3, (%rdi)", 4, 0),
        ("vaddps (%rax){1to8}, %ymm0, %ymm1", 4, 0),
        ("vbroadcastss (%rdi), %zmm1", 4, 0),
        ("vcvtdq2pd (%rax), %ymm0", 16, 0),
        ("movzbl (%rax), %ecx", 1, 0),
        ("leaq 8(%rax), %rcx", 0, 0),
        ("vextractf128 $1, %ymm0, (%rax)", 0, 16),
        ("addl %eax, (%rcx)", 4, 4),
        ("pushq %rbx", 0, 8),
    ],
)
def test_bytes_of_memory_operands(text, reads, writes):
    instruction = read_instruction(text)
    assert (instruction.reads, instruction.writes) == (reads, writes)


def test_counting_copy_touches_neither_flags_nor_stack():
    counted = with_counters(ASSEMBLY, read_blocks(ASSEMBLY))
    added = [line for line in counted.splitlines() if "foretune" in line or "leaq" in line]
    assert counted.count("leaq\t1(%rax), %rax") == 3 + 1  # runs of blocks, and how often the jump was not taken
    assert not any(word in line for line in added for word in ("push", "pop", "addq", "incq"))


def test_other_text_is_refused():
    with pytest.raises(UnsupportedError, match="no function with instructions"):
        read_blocks("hello\n")


def test_mca_counts_a_dependent_chain_by_its_latency():
    mca = Mca(find_toolchain().tool("llvm-mca"), "skylake-avx512")
    chain = HotBlock("vaddss %xmm1, %xmm0, %xmm0\nvaddss %xmm1, %xmm0, %xmm0", 100.0, 1.0)
    mca.look_at([chain])
    labels = mca.labels([chain])
    assert 700 < labels["mca_cycles"] < 1000  # two additions of four cycles each, a hundred times
    assert labels["mca_throughput"] == pytest.approx(100.0, rel=0.2)
    assert np.isnan(mca.labels([])["mca_cycles"])


def test_a_block_that_llvm_mca_hangs_on_stays_unknown(tmp_path, monkeypatch):
    tool = tmp_path / "mca"
    tool.write_text(
        '#!/bin/sh\ntext=$(cat)\ncase "$text" in *hangs*) exec sleep 60;; esac\n'
        'echo \'{"CodeRegions": [{"Name": "b0", "SummaryView": {"TotalCycles": 60, "Iterations": 30,'
        ' "BlockRThroughput": 1}}]}\'\n'
    )
    tool.chmod(0o755)
    monkeypatch.setattr(machine_code_mca, "_TIMEOUT_SECS", 0.5)
    monkeypatch.setattr(machine_code_mca, "_ALONE_SECS", 0.5)
    mca = Mca(tool, "any")
    good, bad = HotBlock("nop", 10.0, 0.5), HotBlock("hangs", 10.0, 0.5)
    mca.look_at([good, bad])
    assert len(mca) == 2 and mca.labels([good])["mca_cycles"] == 10 * 2 / 0.5
    assert mca.labels([good, bad]) == mca.labels([good]) and np.isnan(mca.labels([bad])["mca_cycles"])
