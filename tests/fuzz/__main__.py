"""`python -m tests.fuzz SUBJECT NUM [FIRST]`: what goes wrong, with its numbers."""

from __future__ import annotations

import sys
import time

from tests.fuzz.running import run
from tests.fuzz.subjects import SUBJECTS

if __name__ == "__main__":
    chosen, num, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0
    for subject in SUBJECTS:
        if chosen in ("all", subject.name):
            start = time.perf_counter()
            outcome = run(subject, num, first=first)
            print(outcome.to_json(), f"{time.perf_counter() - start:.1f} s")
