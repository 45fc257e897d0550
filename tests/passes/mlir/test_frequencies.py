"""Runs of blocks from trip counts, compared with runs that were counted to the end."""

from __future__ import annotations

import pytest

from foretune.costmodel.machine_code.assembly import read_blocks
from foretune.costmodel.mlir.target import similar_target
from foretune.errors import UnsupportedError
from foretune.passes.mlir.blocks.frequencies import frequencies
from foretune.passes.mlir.blocks.trip_counts import TripCount, read_trip_counts
from foretune.passes.mlir.costs.exact import ExactSettings
from foretune.passes.mlir.costs.tiers import TierSettings, predict_costs
from tests.passes.mlir import sources

HASWELL = similar_target("haswell")
SHORT = ExactSettings(run_ms=1)

TRIANGULAR = """func.func @main(%x: memref<4000xf32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %n = arith.constant 4000 : index
  scf.for %i = %c0 to %n step %c1 {
    scf.for %j = %i to %n step %c1 {
      %v = memref.load %x[%j] : memref<4000xf32>
      %w = func.call @work(%v) : (f32) -> f32
      memref.store %w, %x[%i] : memref<4000xf32>
    }
  }
  return
}
func.func private @work(%v: f32) -> f32"""

BRANCHES = """func.func @main(%x: memref<200000xi32>) {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %n = arith.constant 200000 : index
  %rounds = arith.constant 400 : index
  %zero = arith.constant 0 : i32
  scf.for %r = %c0 to %rounds step %c1 {
    scf.for %i = %c0 to %n step %c1 {
      %v = memref.load %x[%i] : memref<200000xi32>
      %odd = arith.cmpi sgt, %v, %zero : i32
      scf.if %odd {
        %w = func.call @work(%v) : (i32) -> i32
        memref.store %w, %x[%i] : memref<200000xi32>
      }
    }
  }
  return
}
func.func private @work(%v: i32) -> i32"""

POINTERS = """llvm.func @main(%p: !llvm.ptr) {
  %c0 = llvm.mlir.constant(0 : i64) : i64
  %c1 = llvm.mlir.constant(1 : i64) : i64
  %n = llvm.mlir.constant(5000 : i64) : i64
  llvm.br ^head(%c0 : i64)
^head(%i: i64):
  %more = llvm.icmp "slt" %i, %n : i64
  llvm.cond_br %more, ^body, ^end
^body:
  %q = llvm.getelementptr %p[%i] : (!llvm.ptr, i64) -> !llvm.ptr, f32
  %v = llvm.load volatile %q : !llvm.ptr -> f32
  llvm.store volatile %v, %q : f32, !llvm.ptr
  %next = llvm.add %i, %c1 : i64
  llvm.br ^head(%next : i64)
^end:
  llvm.return
}"""

SAID = """Printing analysis 'Scalar Evolution Analysis' for function 'main':
Determining loop execution counts for: @main
Loop %vector.body: backedge-taken count is i64 11
Loop %vector.body: constant max backedge-taken count is i64 11
Loop %inner: backedge-taken count is {0,+,2}<nuw><nsw><%outer>
Loop %other: backedge-taken count is ((-4 + (1 smax {0,+,1}<%outer>))<nsw> /u 4)
Loop %outer: backedge-taken count is i64 4
Loop %data: Unpredictable backedge-taken count.
Determining loop execution counts for: @"two words"
Loop %bb: <multiple exits> Unpredictable backedge-taken count.
"""


ASSEMBLY = """
	.text
	.type	work,@function
work:                                   # @work
	incq	%rdi
	retq
	.type	table,@function
table:
	jmpq	*(%rax)
	.type	main,@function
main:                                   # @main
	xorl	%eax, %eax
	.p2align	4
.LBB2_1:                                # %loop
                                        # =>This Inner Loop Header: Depth=1
	callq	work
	callq	work@PLT
	decq	%rax
	jne	.LBB2_1
# %bb.2:                                # %end
	testq	%rdi, %rdi
	je	.LBB2_4
# %bb.3:
	OPTIONAL
.LBB2_4:
	retq
"""


def _runs(text: str, roots: tuple[str, ...] = ("main",), loops: int = 9):
    blocks = read_blocks(text)
    found = frequencies(text, blocks, {"main": {"loop": TripCount(loops)}}, roots)
    return dict(zip((b.instructions[0].text for b in blocks), found.runs.tolist())), found.estimated


def test_calls_and_loops_multiply():
    text = ASSEMBLY.replace("OPTIONAL", "nop")
    runs, estimated = _runs(text)
    assert (runs["incq %rdi"], runs["xorl %eax, %eax"], runs["callq work"], runs["retq"]) == (20, 1, 10, 1)
    assert runs["jmpq *(%rax)"] == 0 and estimated  # which way the branch goes is not known, and hardly matters
    assert _runs(text, ("work", "main"))[0]["incq %rdi"] == 21


def test_what_is_not_known_is_refused():
    much = ASSEMBLY.replace("OPTIONAL", "incq %rsi\n\t" * 100)
    with pytest.raises(UnsupportedError, match="which way a branch of @main goes"):
        _runs(much)
    for text, root, why in (
        (ASSEMBLY.replace("OPTIONAL", "nop"), "table", "jumps through a table"),
        (ASSEMBLY.replace("OPTIONAL", "callq main"), "main", "@main calls itself"),
        (ASSEMBLY.replace("OPTIONAL", "callq *%rax"), "main", "calls through a pointer"),
        (ASSEMBLY.replace("OPTIONAL", "nop").replace("# %loop", "# %other"), "main", "how far a loop of @main goes"),
        (ASSEMBLY.replace("OPTIONAL", "nop"), "nothing", "has no code of its own"),
    ):
        with pytest.raises(UnsupportedError, match=why):
            _runs(text, (root,))


def test_what_scalar_evolution_says():
    said = read_trip_counts(SAID)
    main = said["main"]
    assert main["vector.body"] == TripCount(11) and main["vector.body"].average({}) == 12
    assert main["inner"].average({"outer": 5}) == 5.0 and main["inner"].average({}) is None
    assert main["other"] == TripCount(varies=True) and main["data"] == TripCount()
    assert said["two words"]["bb"].average({}) is None


@pytest.mark.parametrize(
    "source",
    [
        sources.matmul(300, 400, 400),
        sources.CONV.replace("10x10", "202x202").replace("8x8", "200x200"),
    ],
)
def test_a_run_that_is_stopped_is_counted_as_one_that_ends(counting, source):
    stopped, whole = (counting.count(source, "haswell", settings=ExactSettings(run_ms=ms)) for ms in (1, 20_000))
    assert not stopped.stopped and not stopped.estimated and stopped.labels == whole.labels
    assert any("constant trip counts" in note and "longer than the 1 ms" in note for note in stopped.notes)
    assert not any("trip counts" in note for note in whole.notes)


def test_bounds_that_depend_on_the_loop_around(counting):
    counts = counting.count(TRIANGULAR, "haswell", settings=SHORT)
    assert not counts.stopped and not counts.estimated
    assert counts.labels["bytes_written"] >= 4 * 4000 * 4001 / 2
    assert counts.labels == counting.count(TRIANGULAR, "haswell", settings=ExactSettings(run_ms=20_000)).labels


def test_branches_that_data_decides_are_estimates(counting):
    made = predict_costs(counting, BRANCHES, HASWELL, settings=TierSettings("exact", exact=SHORT))
    assert made.sources["instructions"] == "counted" and made.sources["dynamic_instructions"] == "predicted"
    assert 0 < made.spread["dynamic_instructions"] < 0.5
    assert any("shares of branches" in note for note in made.notes)
    whole = counting.count(BRANCHES, "haswell", settings=ExactSettings(run_ms=20_000))
    low, high = made.interval("dynamic_instructions")
    assert low <= whole.labels["dynamic_instructions"] <= high


def test_functions_that_cannot_be_called(counting):
    counts = counting.count(POINTERS, "haswell")
    assert not counts.stopped and counts.labels["bytes_written"] == 5000 * 4
    assert any("take pointers" in note for note in counts.notes)


def test_a_processor_that_this_machine_is_not(counting):
    """Whether or not this machine has its instructions."""
    counts = counting.count(sources.matmul(64, 64, 64), "znver4")
    assert not counts.stopped and counts.labels["mca_cycles"] > 0
