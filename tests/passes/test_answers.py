"""Finding proposals in what a model says, and ranking them before they are measured."""

from __future__ import annotations

import json
import math
import time

import numpy as np
import pytest

from foretune.passes.language.answers import read_rows
from foretune.passes.language.proposals import Proposals

ROWS = [{"a": 1}, {"b": [2, 3]}]
ANSWER = json.dumps({"proposals": ROWS})


@pytest.mark.parametrize(
    "text",
    [
        ANSWER,
        f"```json\n{ANSWER}\n```",
        f"Here you are:\n```\n{ANSWER}\n```\nGood luck.",
        f'<think>\nWhat about {{this}}? {{"proposals": []}}\n</think>\n{ANSWER}',
        f"I think first.</think>{ANSWER}",
        f"Sure! {ANSWER} That is all.",
        json.dumps(ROWS),
        f"<thinking>{{</thinking>```json\n{json.dumps(ROWS, indent=2)}```",
    ],
)
def test_answers_are_found(text):
    assert read_rows(text, 10) == (ROWS, [])


def test_what_is_whole_of_a_broken_answer_is_read():
    assert read_rows(ANSWER[: ANSWER.index("3]")], 10) == (ROWS[:1], ["the answer breaks off after 1 proposals"])
    assert read_rows("```json\n" + ANSWER[:-2], 10)[0] == ROWS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no",
        "{" * 100_000,
        "[" * 100_000,
        '{"a":' * 100_000,
        "```" * 50_000,
        "<think>" * 20_000,
        "{}" * 100_000,
        '{"proposals": [',
    ],
)
def test_what_is_no_answer_is_refused_soon(text):
    start = time.monotonic()
    rows, refused = read_rows(text, 10)
    assert not rows and len(refused) == 1 and time.monotonic() - start < 20


def test_too_many():
    assert read_rows(json.dumps({"proposals": [1] * 30}), 20) == ([1] * 20, ["more than 20 proposals"])


def test_proposals_wait_in_the_order_of_their_ranks():
    proposals = Proposals()
    assert proposals.add("abcda") == 4 and proposals.add("ax") == 1
    proposals.rank(lambda items: np.array([{"c": 9.0, "x": 5.0}.get(item, 0.0) for item in items]))
    assert proposals.take(2) == ["c", "x"] and proposals.waiting == ["a", "b", "d"]
    proposals.note("c", 0.5)
    proposals.note("x", math.inf)
    proposals.drop(["a"])
    told = {row["proposal"]: row for row in proposals.to_json()}
    assert (
        (told["c"]["rank"], told["c"]["among"], told["c"]["gain"]) == (1, 5, 2.0)
        and told["x"]["gain"] == 0.0
        and told["b"]["gain"] is None
    )
    assert proposals.waiting == ["b", "d"] and proposals.add("a") == 0


def test_an_eighth_is_sure_to_be_measured():
    proposals = Proposals()
    proposals.add(range(20))
    proposals.answered()
    assert [proposals.take_sure(1) for _ in range(5)] == [[0], [1], [2], [], []] and len(proposals.waiting) == 17
