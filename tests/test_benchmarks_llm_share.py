"""The figures of `benchmarks/llm_share.py`, and the skills that stand in for a language model there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from foretune.passes.llvm.observe import FEATURES
from foretune.passes.llvm.tuning.strategist import SCHEMA, read_proposals

BENCHMARKS = str(Path(__file__).parents[1] / "benchmarks")

sys.path.append(BENCHMARKS)  # no package: its files are run as scripts
try:
    from llm_share import SkillProposer, figures, spread
finally:
    sys.path.remove(BENCHMARKS)


def row(program: str, chosen: list[float], drawn: list[float], accepted: int = 10) -> dict[str, Any]:
    told = {"program": program, "proposer": "skills", "seed": 0, "known_code": 1, "accepted": accepted}
    return {**told, "measured": len(chosen), "chosen": chosen, "random": drawn}


def test_figures():
    found = figures([row("a", [1.2, 1.2], [1.0, 0.0]), row("b", [1.1, 0.0], [1.1, 1.1]), row("c", [], [])])
    assert found["llm_share"] == 4 / 20 and found["num_programs"] == found["num_runs"] == 2
    assert found["failed_chosen"] == found["failed_random"] == 0.25
    assert found["mean_gain_chosen"] == pytest.approx((1.2 * 1.2 * 1.1) ** (1 / 3))
    assert found["chosen_vs_random"] == pytest.approx(1.2**0.5)
    low, high = found["chosen_vs_random_interval"]
    assert 1.0 <= low <= found["chosen_vs_random"] <= high <= 1.2 + 1e-9
    assert figures([row("c", [], [])]) == {"num_runs": 0}


def test_skills_answer_as_a_model_does():
    prepared: Any = SimpleNamespace(features=tuple(5.0 for _ in FEATURES))
    proposer = SkillProposer(prepared, 0, polly=False)
    found = [read_proposals(proposer.ask([], SCHEMA).text) for _ in range(3)]
    assert all(len(answer) == 12 and not any(p.refused for p in answer) for answer in found)
    assert len({p.sequence for answer in found for p in answer}) > 24
    again = SkillProposer(prepared, 0, polly=False)
    assert read_proposals(again.ask([], SCHEMA).text) == found[0]


def test_programs_are_spread():
    letters: Any = list("abcdefghij")
    assert spread(letters, 4) == ["a", "d", "g", "j"] and spread(letters, 20) == letters
