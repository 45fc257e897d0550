"""`kill -9` of the commands that store something. `python benchmarks/kills.py` kills each twenty times."""

from __future__ import annotations

import os

import pytest

from foretune.errors import ForetuneError
from tests.kills.running import Outcome, run
from tests.kills.subjects import SUBJECTS, Subject

QUICK = {"import": 2}  # kills


def outcome_of(subject: Subject, num_kills: int) -> Outcome:
    if subject.name == "passes tune":
        from foretune.passes.llvm.toolchain import find_toolchain

        try:
            find_toolchain()
        except ForetuneError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))
    return run(subject, num_kills)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("subject", [s for s in SUBJECTS if s.name in QUICK], ids=lambda subject: subject.name)
def test_kills(subject: Subject):
    outcome = outcome_of(subject, QUICK[subject.name])
    assert outcome.faults == [] and outcome.num_kills >= 1


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_twenty_kills(subject: Subject):
    outcome = outcome_of(subject, 20)
    assert outcome.faults == [] and outcome.num_kills >= 18
