"""Writes a benchmark's figures to `benchmarks/results/NAME.json`."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from foretune.support.files import write_text_atomically
from foretune.target import measure_host

FOLDER = Path(__file__).parent / "results"


def write_results(name: str, figures: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Writes one document and prints the figures.

    Args:
        name: of the benchmark.
        figures: the numbers to quote; ratios are better when higher.
        rows: what they were made from.
    """
    root = FOLDER.parent.parent
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True, check=False
    ).stdout.strip()
    document = {
        "name": name,
        "command": f"python benchmarks/{name}.py {' '.join(sys.argv[1:])}".strip(),
        "machine": measure_host().to_json(),
        "commit": commit,
        "date": datetime.date.today().isoformat(),
        "figures": figures,
        "rows": rows,
    }
    write_text_atomically(FOLDER / f"{name}.json", json.dumps(document, indent=1) + "\n")
    print(json.dumps(figures, indent=1))
