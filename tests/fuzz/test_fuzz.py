"""Random damage to all that is read: nothing uncaught, nothing silently different. `python benchmarks/fuzz.py` tries
many more.
"""

from __future__ import annotations

import os

import pytest

from foretune.errors import UnsupportedError
from tests.fuzz.running import Outcome, Subject, run
from tests.fuzz.subjects import SUBJECTS

MOST, SECS = 1000, 6.0  # of each subject, whichever comes first
_MANY = 100_000 // len(SUBJECTS)


def outcome_of(subject: Subject, num: int, secs: float = float("inf")) -> Outcome:
    try:
        return run(subject, num, secs=secs)
    except UnsupportedError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_mutations(subject: Subject):
    outcome = outcome_of(subject, MOST, SECS)
    assert (outcome.uncaught, outcome.silent) == ([], []) and outcome.num_mutations >= 20


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_many_mutations(subject: Subject):
    outcome = outcome_of(subject, _MANY)
    assert (outcome.uncaught, outcome.silent) == ([], [])


def test_what_goes_wrong_is_noticed():
    """The harness itself: an error that is none of Foretune's, and something taken that was not written."""
    import contextlib

    from tests.fuzz.running import Silent

    @contextlib.contextmanager
    def faulty(folder):
        def try_one(rng) -> bool:
            number = rng.randrange(4)
            if number == 0:
                raise KeyError("x")
            if number == 1:
                raise Silent("another")
            return number == 2

        yield try_one

    outcome = run(Subject("faulty", faulty), 40)
    again = run(Subject("faulty", faulty), 10, first=30)
    assert outcome.num_mutations == 40 and outcome.uncaught and outcome.silent and 0 < outcome.taken < 40
    assert again.uncaught == [row for row in outcome.uncaught if row[0] >= 30]
