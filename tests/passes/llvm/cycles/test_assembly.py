"""Blocks of code and their frequencies are read from llc's assembly."""

from __future__ import annotations

from foretune.passes.llvm.cycles.assembly import public_names, read_functions

ASSEMBLY = """
	.text
	.globl	f
	.type	f,@function
f:                                      # @f
.Lfunc_begin0:
	.cfi_startproc
# %bb.0:                                # %entry
	movl	%edi, %eax
	jmp	.LBB0_1
.LBB_END0_0:
	.p2align	4
.LBB0_1:                                # %loop
	addl	$2, %eax                        # imm = 0x2
	callq	.Lg$local
	jne	.LBB0_1
.LBB_END0_1:
.LBB0_2:
	jmp	g                               # TAILCALL
.LBB_END0_2:
.Lfunc_end0:
	.size	f, .Lfunc_end0-f
	.section	.llvm_bb_addr_map,"o",@llvm_bb_addr_map,.text
	.byte	5                               # version
	.byte	3                               # number of basic blocks
	.byte	64                              # basic block frequency
	.ascii	"\\200\\020"                     # basic block frequency
	.ascii	"\\300 "                         # basic block frequency
	.text
	.type	g,@function
g:
.Lg$local:
	.type	.Lg$local,@function
.Lfunc_begin1:
	retq
.LBB_END1_0:
	.section	.llvm_bb_addr_map,"o",@llvm_bb_addr_map,.text
	.byte	1                               # basic block frequency
"""


def test_blocks_frequencies_and_calls():
    functions = read_functions(ASSEMBLY)
    assert set(functions) == {"f", "g"} and public_names(ASSEMBLY) == {"f"}
    entry, loop, end = functions["f"]
    assert entry.instructions == ("movl\t%edi, %eax", "jmp\t.LBB0_1") and entry.calls == () and entry.frequency == 1
    assert loop.instructions[0] == "addl\t$2, %eax" and loop.calls == ("g",) and loop.frequency == 2048 / 64
    assert end.calls == ("g",) and end.frequency == (0x40 + (0x20 << 7)) / 64
    assert [block.instructions for block in functions["g"]] == [("retq",)]


def test_no_assembly_of_llc_has_no_functions():
    assert read_functions("int main(void);\n.text\n") == {}
