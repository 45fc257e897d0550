"""Counts by compiling: exact, deterministic, and told apart from what is predicted."""

from __future__ import annotations

import math

import pytest

from foretune.costmodel.mlir.target import similar_target
from foretune.costmodel.mlir.time_model import COUNTS
from foretune.errors import DataError, OptionError
from foretune.passes.mlir.costs.exact import Counts, ExactSettings
from foretune.passes.mlir.costs.tiers import TierSettings, from_counts, predict_costs
from foretune.passes.mlir.grammar.actions import Schedule
from tests.passes.mlir import nests, sources

EXACT, FAST = TierSettings("exact"), TierSettings("fast")
HASWELL = similar_target("haswell")


def test_counts_are_the_same_however_the_loops_are_written(counting):
    found = counting.count_all(
        [nests.FOR, nests.PARALLEL, nests.FORALL, nests.CALLED, nests.WITH_DEAD, nests.NESTED], "haswell"
    )
    assert all(isinstance(counts, Counts) and not counts.stopped for counts in found)
    assert (
        len({counts.labels["dynamic_instructions"] for counts in found}) == 1
        and len({counts.labels["mca_cycles"] for counts in found}) == 1
    )
    assert found[0].labels["bytes_written"] == nests.RUNS * 4


def test_a_schedule_and_another_processor_change_them(counting):
    source = sources.matmul(16, 32, 8)
    plain, tiled = (
        counting.count(source, "haswell"),
        counting.count(source, "haswell", Schedule.parse("tile{on=linalg.matmul:0 sizes=4,8,0}; vectorize-all")),
    )
    other = counting.count(source, "x86-64")
    assert (
        len({c.labels["dynamic_instructions"] for c in (plain, tiled, other)}) == 3
        and plain.labels == counting.count(source, "haswell").labels
    )


@pytest.mark.parametrize(
    "name",
    [
        "PRINTS",
        "OUTSIDE",
        "BOUNDED_BY_ARGUMENT",
        "BOUNDED_BY_DATA",
        "PAD",
        "GENERATE",
        "COPY",
        "TOSA",
        "VECTOR_MATH",
        "TILED",
    ],
)
def test_every_kind_is_counted(counting, name):
    counts = counting.count(getattr(nests, name), "haswell")
    assert not counts.stopped and counts.labels["dynamic_instructions"] > 0 and "mca_cycles" in counts.labels
    assert any("their code is not in the module" in note for note in counts.notes) == (name in ("PRINTS", "OUTSIDE"))


def test_each_number_says_what_it_is(counting):
    exact = predict_costs(counting, nests.TILED, HASWELL, settings=EXACT)
    assert {name for name, how in exact.sources.items() if how == "predicted"} == {"secs"}
    assert (
        exact.spread["registers"] == 0
        and exact.spread["secs"] > 0
        and any("training data" in note for note in exact.notes)
    )
    fast = predict_costs(counting, nests.TILED, HASWELL, settings=FAST)
    assert set(fast.sources.values()) == {"predicted"} and all(fast.spread[name] > 0 for name in fast.costs)
    for name in ("dynamic_instructions", "mca_cycles", "bytes_written", "instructions"):
        low, high = fast.interval(name)
        assert low <= exact.costs[name] <= high


def test_a_run_that_takes_too_long_is_counted_by_trip_counts(counting):
    """`test_frequencies.py` compares the numbers with those of a whole run."""
    settings = TierSettings("exact", exact=ExactSettings(run_ms=1))
    made = predict_costs(counting, sources.matmul(300, 400, 400), HASWELL, settings=settings)
    assert made.sources["dynamic_instructions"] == "counted" and made.sources["secs"] == "predicted"
    assert any("constant trip counts" in note and "takes longer than the 1 ms" in note for note in made.notes)


def test_unknown_extents_are_not_run(counting):
    made = predict_costs(counting, sources.UNKNOWN_SIZES, HASWELL, settings=EXACT)
    assert made.sources["dynamic_instructions"] == "predicted" and any(
        "extents must be known" in note for note in made.notes
    )
    assert made.spread["dynamic_instructions"] > 2


def test_values_and_entries_are_chosen(counting):
    few, many = (
        counting.count(nests.BOUNDED_BY_ARGUMENT, "haswell", settings=ExactSettings(values=(n,))).labels[
            "dynamic_instructions"
        ]
        for n in (3, 190)
    )
    assert few < many
    two = nests.FOR + nests.FOR.replace("@main", "@other")
    one, both = counting.count(two, "haswell", settings=ExactSettings(entry="other")), counting.count(two, "haswell")
    assert both.labels["dynamic_instructions"] == 2 * one.labels["dynamic_instructions"]


def test_modules_that_cannot_be_compiled(counting):
    with pytest.raises(DataError, match="cannot be read"):
        predict_costs(counting, "func.func @main(", HASWELL)
    with pytest.raises(DataError, match="no function with a body"):
        predict_costs(counting, "module {}", HASWELL, settings=EXACT)
    [good, bad] = counting.count_all([nests.FOR, "module {"], "haswell")
    assert isinstance(good, Counts) and isinstance(bad, DataError)
    crash = counting.count(sources.CRASHES, "haswell")
    assert "killed by signal 11" in crash.stopped and crash.labels["instructions"] > 0
    with pytest.raises(OptionError, match="is not a recognized processor"):
        predict_costs(counting, nests.FOR, similar_target("pentium9"), settings=EXACT)


def test_deadlines(counting):
    hurried = predict_costs(counting, nests.FOR, HASWELL, settings=TierSettings(deadline_ms=0.01))
    assert set(hurried.sources.values()) == {"predicted"} and any("deadline" in note for note in hurried.notes)
    patient = predict_costs(counting, nests.FOR, HASWELL, settings=TierSettings(deadline_ms=60_000))
    assert patient.sources["registers"] == "counted"
    with pytest.raises(OptionError, match="a deadline chooses the tier"):
        TierSettings("fast", deadline_ms=5)


def test_copies_by_the_library_take_time(counting):
    small, large = (
        predict_costs(counting, nests.COPY.replace("512", str(n)), HASWELL, settings=s)
        for n, s in ((8, EXACT), (4096, EXACT))
    )
    assert large.costs["secs"] > 50 * small.costs["secs"] and math.log(large.costs["secs"] / 4e-4) < 2


def test_functions_that_do_nothing(counting):
    empty = "func.func @main() {\n  %c = arith.constant 1 : i32\n  return\n}"
    for settings in (EXACT, FAST):
        made = predict_costs(counting, empty, HASWELL, settings=settings)
        assert made.costs["instructions"] <= 1 and made.costs["secs"] < 1e-8


def test_llvm_mca_is_started_ahead_and_remembers(counting):
    source = nests.TILED.replace("90", "33")
    first = counting.count(source, "haswell")
    assert counting.count(source, "haswell").labels["mca_cycles"] == first.labels["mca_cycles"] and set(first.ms) >= {
        "lower",
        "compile",
        "run",
    }


def test_arguments_that_are_too_large_for_a_run(counting):
    source = (
        "func.func @main(%x: memref<40000x1000xf32>) {\n  %c0 = arith.constant 0 : index\n  %z = arith.constant 0.0 :"
        " f32\n  memref.store %z, %x[%c0, %c0] : memref<40000x1000xf32>\n  return\n}"
    )
    counts = counting.count(source, "haswell")
    assert not counts.stopped and counts.labels["bytes_written"] == 4
    assert any("arguments and results have 152 MiB" in note for note in counts.notes)


def test_without_llvm_mca_cycles_are_estimates():
    labels = {name: 100.0 for name in COUNTS if not name.startswith("mca")} | {"registers": 9.0}
    made = from_counts(Counts(labels), HASWELL)
    assert (made.sources["dynamic_instructions"], made.sources["mca_cycles"]) == ("counted", "predicted")
    assert 20 <= made.costs["mca_cycles"] <= 100 and made.spread["mca_cycles"] > 0.5 and made.spread["secs"] > 0.5
    assert any("llvm-mca comes to no end" in note for note in made.notes)
