"""`kill -9` of collect, tune, passes tune, train and import at random moments: what the next start makes of it.

    python benchmarks/kills.py [--kills 20] [--subjects "import,train"] [--seed 0]

Each is killed so many times, in new folders each time, and started once more. Counted are records that were lost or
doubled, processes and folders that are left when that start has ended, and starts that failed. Rows of commands that
are not asked for stay as they were.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from results import FOLDER, write_results

from tests.kills.running import run
from tests.kills.subjects import SUBJECTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of each command")
    parser.add_argument("--subjects", default="", help="names, comma-separated; all by default")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = [name.strip() for name in options.subjects.split(",") if name.strip()]
    rows = [row for row in earlier_rows() if names and row["subject"] not in names]
    for subject in (s for s in SUBJECTS if not names or s.name in names):
        outcome = run(subject, options.kills, options.seed, lambda line: print(line, file=sys.stderr, flush=True))
        rows.append(outcome.to_json())
        print(rows[-1], file=sys.stderr, flush=True)
    counted = ("num_kills", "num_lost", "num_doubled", "num_processes", "num_folders", "num_failed")
    write_results("kills", {name: sum(row[name] for row in rows) for name in counted}, rows)


def earlier_rows() -> list[dict[str, Any]]:
    """Those of the last run."""
    path = FOLDER / "kills.json"
    return json.loads(path.read_text())["rows"] if path.is_file() else []


if __name__ == "__main__":
    main()
