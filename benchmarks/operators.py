"""PyTorch's operator database, float32, through Foretune and through Inductor: `python benchmarks/operators.py [--most
3] [--only OP …]`.

Every sample input of every operator is compiled by itself and compared with eager; Foretune may leave it with PyTorch,
but must not give a wrong answer or crash. Rows are kept in `runs/operators.jsonl`, so that the same command goes on
where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from operators_messages import CheckOperator, Start
from results import FOLDER, write_results

from foretune.workers.process import Death, Silence, WorkerProcess

BACKENDS = ("foretune", "foretune-unguarded", "inductor")  # unguarded: what TVM can take goes to TVM, measured or not
TIMEOUT_SECS = 600.0
ROWS = FOLDER.parent.parent / "runs" / "operators.jsonl"


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares of samples that pass, and how many operators have a wrong answer, a crash or a process that died."""
    found: dict[str, Any] = {}
    for backend in BACKENDS:
        own = [row for row in rows if row["backend"] == backend]
        total = {key: sum(row.get(key, 0) for row in own) for key in ("ok", "wrong", "crash", "skipped")}
        checked = total["ok"] + total["wrong"] + total["crash"]
        found[backend] = {
            **total,
            "num_operators": len(own),
            "pass_rate": total["ok"] / max(1, checked),
            "died": sum("died" in row for row in own),
            "operators_not_passed": sorted(
                row["op"] for row in own if row.get("wrong") or row.get("crash") or "died" in row
            ),
        }
    return found


def main() -> None:
    """Runs the check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=int, default=10_000, help="samples of each operator")
    parser.add_argument("--only", nargs="*", metavar="OP", help="some operators")
    parser.add_argument("--backends", nargs="*", default=BACKENDS, choices=BACKENDS)
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    options = parser.parse_args()
    ROWS.parent.mkdir(exist_ok=True)
    kept = map(json.loads, ROWS.read_text().splitlines()) if ROWS.exists() else ()
    rows = {(row["backend"], row["op"]): row for row in kept}
    for backend in options.backends:
        worker = WorkerProcess(
            str(Path(__file__).with_name("operators_child.py")),
            Start(backend, options.threads),
            TIMEOUT_SECS,
        )
        try:
            worker.start()
            known = {row["op"] for row in rows.values() if row["backend"] == backend and row["most"] >= options.most}
            for op in options.only or worker.welcome.operators:
                if op in known and not options.only:
                    continue
                start = time.perf_counter()
                try:
                    counts = worker.request(CheckOperator(op, options.most), TIMEOUT_SECS)
                    reply = asdict(counts) if counts.status == "ok" else {"died": counts.error}
                except (Silence, Death) as error:
                    reply = {"died": str(error)}
                row = {
                    "op": op,
                    "backend": backend,
                    "most": options.most,
                    "secs": round(time.perf_counter() - start, 1),
                    **reply,
                }
                rows[backend, op] = row
                with ROWS.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                if row.get("wrong") or row.get("crash") or "died" in row:
                    print(backend, op, row.get("messages") or row.get("died"), file=sys.stderr, flush=True)
        finally:
            worker.close()
    write_results("operators", figures(list(rows.values())), [rows[key] for key in sorted(rows)])


if __name__ == "__main__":
    main()
