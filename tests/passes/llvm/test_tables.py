"""The tiers of the grammar: what a search may always use, what only where it is asked to, what has left; and the
macros.
"""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from foretune.errors import LeftGrammarError
from foretune.passes.llvm.actions import Flag, Pass, PassSequence, parse_flag, parse_pass, parse_sequence
from foretune.passes.llvm.observe import FEATURES
from foretune.passes.llvm.tables import FLAGS, LEFT_FLAGS, LEFT_PASSES, PASSES, usable_flags, usable_passes
from foretune.passes.llvm.tuning.changes import LEVELS, changes
from foretune.passes.llvm.tuning.listing import list_steps
from foretune.passes.llvm.tuning.macros import MACROS, applicable_macros, usable_macros
from foretune.passes.llvm.tuning.moves import BASE, MAX_LEVELS, Moves, apply
from foretune.passes.llvm.tuning.search import STRATEGIES
from foretune.passes.llvm.tuning.skills import applicable

NESTS = tuple(5.0 for _ in FEATURES)
NEST = """
static double a[64][64], b[64][64], c[64][64];
int main(void) {
    for (int i = 0; i < 64; i++) for (int j = 0; j < 64; j++) for (int k = 0; k < 64; k++) c[i][j] += a[i][k] * b[k][j];
    return (int)c[3][5];
}
"""


@pytest.mark.parametrize("name", LEFT_PASSES)
def test_passes_that_miscompile_are_refused_by_name(name):
    for text in (name, f"{name}<option>"):
        with pytest.raises(LeftGrammarError, match=rf"pass {name} has left the grammar \(wrong code.*llvm-project#\d+"):
            parse_pass(text)
    assert name not in PASSES and parse_sequence([name, "gvn"])[0] == PassSequence((Pass("gvn"),))


def test_attributor_and_its_kin_are_among_them():
    assert {"attributor", "attributor-cgscc", "attributor-light", "attributor-light-cgscc"} <= set(LEFT_PASSES)
    for name in LEFT_FLAGS:
        with pytest.raises(LeftGrammarError, match=f"flag {name} has left the grammar"):
            parse_flag(f"-{name}=true")


def test_what_llvm_keeps_off_is_taken_only_where_it_is_asked_for():
    held = {name for name, kind in PASSES.items() if kind.opt_in} | {
        name for name, kind in FLAGS.items() if kind.opt_in
    }
    assert {"loop-interchange", "gvn-hoist", "enable-gvn-hoist"} <= held
    assert not held & {*usable_passes(), *usable_flags()} and held <= {*usable_passes(True), *usable_flags(True, True)}
    drawn = [Moves(np.random.default_rng(seed)).walk(12) for seed in range(60)]
    assert not any(sequence.held_back for sequence in drawn)
    assert any(Moves(np.random.default_rng(seed), experimental=True).walk(12).held_back for seed in range(60))
    assert not any(change.sequence.held_back for change in changes(True)) and any(
        change.sequence.held_back for change in changes(True, True)
    )
    assert not any(skill.steps.held_back for skill in applicable(NESTS)) and any(
        skill.steps.held_back for skill in applicable(NESTS, experimental=True)
    )


def test_the_list_has_each_step_with_its_tier_and_reason():
    rows = {(row["step"], row["kind"]): row for row in list_steps()}
    assert (
        rows["attributor", "pass"]["tier"] == "left the grammar" and "#181103" in rows["attributor", "pass"]["reason"]
    )
    assert rows["loop-interchange", "pass"]["tier"] == "opt-in" and rows["loop-interchange", "pass"]["reason"]
    assert rows["gvn", "pass"]["tier"] == "used" and rows["-unroll-and-jam-count", "flag"]["settings"] == "2 4 8 16"
    assert "default<O3>,default<O3>" in rows["jam-8", "macro"]["settings"]
    assert all(row["reason"] for row in rows.values() if row["tier"] != "used")


def test_macros_are_steps_of_the_grammar():
    for macro in MACROS.values():
        passes, flags = map(str, macro.sequence.passes), map(str, macro.sequence.flags)
        assert parse_sequence(passes, flags) == (macro.sequence, []) and macro.why and macro.intents
    jam = MACROS["jam-8"].sequence
    assert [step.name for step in jam.passes] == ["default<O3>"] * 2 and {
        Flag("unroll-and-jam-count", 8),
        Flag("unroll-and-jam-threshold", 2000),
    } <= set(jam.flags)
    assert Flag("unroll-and-jam-count", 16) in MACROS["jam-16"].sequence.flags
    assert [step.name for step in MACROS["O1-versioning-jam-8"].sequence.passes] == [
        "default<O1>",
        "loop-versioning",
        "loop-unroll-and-jam",
        "default<O3>",
    ]
    assert (
        sum(macro.sequence.uses_polly for macro in MACROS.values()) == 3
        and sum(name.startswith("interleave") for name in MACROS) == 4
    )


def test_macros_apply_to_what_has_loops():
    assert [macro.name for macro in applicable_macros([0.0] * len(FEATURES))] == ["O3-O3"]
    names = [macro.name for macro in applicable_macros(NESTS, polly=False)]
    assert "jam-8" in names and not any("polly" in name or "interchange" in name for name in names)
    assert len(usable_macros(True, True)) == len(MACROS)


def test_llvm_runs_the_macros(toolchain, tmp_path):
    (tmp_path / "nest.c").write_text(NEST)
    clang = [
        toolchain.tool("clang"),
        "-O3",
        "-Xclang",
        "-disable-llvm-passes",
        "-emit-llvm",
        "-S",
        "-o",
        tmp_path / "nest.ll",
        tmp_path / "nest.c",
    ]
    subprocess.run(clang, check=True)
    made = set()
    for macro in usable_macros(toolchain.has_polly, True):
        command = [
            toolchain.tool("opt"),
            f"-passes={macro.sequence.pipeline}",
            *macro.sequence.flag_texts,
            "-S",
            tmp_path / "nest.ll",
            "-o",
            "-",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        made.add(done.stdout)
    assert len(made) > 5  # they do different things


def test_macros_stand_in_place_of_the_level():
    before = PassSequence((Pass("gvn"), *BASE.passes, Pass("sink")), (Flag("unroll-count", 2),))
    macro = next(change for change in changes(True) if change.sequence == MACROS["O1-jam-8"].sequence)
    changed = apply(before, macro)
    assert [step.name for step in changed.passes] == [
        "gvn",
        "default<O1>",
        "loop-unroll-and-jam",
        "default<O3>",
        "sink",
    ]
    assert Flag("unroll-count", 2) in changed.flags and Flag("unroll-and-jam-count", 8) in changed.flags


def test_two_levels_in_sequence_are_a_move():
    moves = Moves(np.random.default_rng(0))
    seen, sequence = set(), BASE
    for _ in range(3000):
        sequence, _ = moves.mutate(sequence)
        seen.add(tuple(step.name for step in sequence.passes if step.name in LEVELS))
    assert {("default<O3>",), ("default<O3>", "default<O3>"), ("default<O1>", "default<O3>")} <= seen and max(
        map(len, seen)
    ) <= MAX_LEVELS


@pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES)
def test_openings_come_first(make):
    strategy = make(0)
    strategy.openings = [macro.sequence for macro in usable_macros()][:3]
    first = strategy.next_batch(4)
    assert first[:3] == [macro.sequence for macro in usable_macros()][:3] and len(set(first)) == 4
    strategy.observe([(sequence, 1.0) for sequence in first])
    assert not set(strategy.next_batch(4)) & set(first)
