"""PyTorch's own tests of its compiler, `CommonTemplate` of `test/inductor/test_torchinductor.py`, with other
backends.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from conformance_template_messages import RunTest, Start
from results import FOLDER, write_results

from foretune.workers.process import Death, Silence, WorkerProcess

BACKENDS = ("eager", "foretune", "inductor")
TIMEOUT_SECS, START_SECS = 300.0, 300.0
ROWS = FOLDER.parent.parent / "runs" / "conformance_template.jsonl"


def run_template(file: Path, again: bool = False) -> None:
    """Runs each test with PyTorch's own graphs, then those that pass with Foretune's, and what fails then with
    Inductor's.

    Args:
        file: the tests. They are Python code, and are run.
        again: whether what failed before is run again.
    """
    ROWS.parent.mkdir(exist_ok=True)
    kept = map(json.loads, ROWS.read_text().splitlines()) if ROWS.exists() else ()
    rows = {(row["test"], row["backend"]): row for row in kept}
    for backend in BACKENDS:
        hello = Start(str(file.resolve()), backend)
        worker = WorkerProcess(str(Path(__file__).with_name("conformance_template_child.py")), hello, START_SECS)
        try:
            worker.start()
            for test in worker.welcome.tests:
                known = rows.get((test, backend))
                if not _due(rows, test, backend) or (known and not (again and backend != "eager" and failed(known))):
                    continue
                try:
                    reply = worker.request(RunTest(test), TIMEOUT_SECS)
                    result, message = (reply.result, reply.message) if reply.status == "ok" else ("died", reply.error)
                except (Silence, Death) as error:
                    result, message = "died", str(error)
                row = rows[test, backend] = {"test": test, "backend": backend, "result": result, "message": message}
                with ROWS.open("a") as lines:
                    lines.write(json.dumps(row) + "\n")
                if backend != "eager" and failed(row):
                    print(backend, test, row["result"], row["message"], file=sys.stderr, flush=True)
        finally:
            worker.close()
    tests = {test for test, _ in rows}
    wrong = [rows[test, "foretune"] for test in sorted(tests) if only_foretune_fails(rows, test)]
    figures = {
        "num_tests": len(tests),
        "num_passed_by_eager": sum(row["result"] == "ok" for row in rows.values() if row["backend"] == "eager"),
        "num_passed": sum(row["result"] == "ok" for row in rows.values() if row["backend"] == "foretune"),
        "num_wrong": len(wrong),
    }
    write_results("conformance_template", figures, wrong)


def failed(row: dict[str, Any]) -> bool:
    """Whether a test that ran did not pass."""
    return row["result"] not in ("ok", "skipped")


def _due(rows: dict[tuple[str, str], dict[str, Any]], test: str, backend: str) -> bool:
    """Whether a test says something of a backend: one that looks into Inductor's code fails with eager, too."""
    if backend == "eager":
        return True
    if rows[test, "eager"]["result"] != "ok":
        return False
    return backend == "foretune" or failed(rows[test, "foretune"])


def only_foretune_fails(rows: dict[tuple[str, str], dict[str, Any]], test: str) -> bool:
    """Whether eager and Inductor pass a test that Foretune does not."""
    ours, theirs = rows.get((test, "foretune")), rows.get((test, "inductor"))
    return ours is not None and failed(ours) and (theirs is None or not failed(theirs))
