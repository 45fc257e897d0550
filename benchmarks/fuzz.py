"""Random damage to all that Foretune reads: logs, databases, data sets, weights, artifacts, replies of language models,
MLIR text.

    python benchmarks/fuzz.py [--mutations 100000] [--subjects "log lines,database"] [--seed 0]

Counts what was uncaught (an error that is none of Foretune's) and what was silently different (taken, but not what was
written).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from results import write_results

from tests.fuzz.running import run
from tests.fuzz.subjects import SUBJECTS

_CHEAP = {"log lines": 30, "replies": 20, "modules in logs": 10}  # so many times as many as of the others


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=100_000, help="of all subjects together")
    parser.add_argument("--subjects", default="", help="names, comma-separated; all by default")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = [name.strip() for name in options.subjects.split(",") if name.strip()]
    subjects = [subject for subject in SUBJECTS if not names or subject.name in names]
    shares = {subject.name: _CHEAP.get(subject.name, 1) for subject in subjects}
    rows = []
    for subject in subjects:
        num = -(-options.mutations * shares[subject.name] // sum(shares.values()))
        rows.append(run(subject, num, options.seed).to_json())
        print(rows[-1], file=sys.stderr, flush=True)
    figures = {name: sum(row[name] for row in rows) for name in ("num_mutations", "num_uncaught", "num_silent")}
    write_results("fuzz", figures, rows)


if __name__ == "__main__":
    main()
