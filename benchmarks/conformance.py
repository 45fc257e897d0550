"""Right on every later call: `python benchmarks/conformance.py [--only OP …] [--failed] [--random-minutes 60]
[--common-template FILE]`.

Programs of each operator of PyTorch's database, and others by hand, are compiled once on kind values and called again
with hostile ones; so are random programs. Every call is compared with eager. Rows are kept in `runs/conformance.jsonl`,
so that the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from conformance_template import run_template
from results import FOLDER, write_results

from foretune.compiler.conformance.messages import (
    Checked,
    CheckProgram,
    CheckRandom,
    ListOperators,
    ListPrograms,
    Start,
)
from foretune.errors import WorkerError
from foretune.workers.messages import R, Request
from foretune.workers.process import Death, Silence, WorkerProcess

STAGES = (  # types and uses of an operator, in the order in which they are played
    ("float32", ("alone",)),
    ("int64", ("alone", "inplace")),
    ("float32", ("inside", "inplace", "gradients", "weights", "layouts")),
    ("bool", ("alone",)),
    ("int32", ("alone",)),
    ("float64", ("alone", "gradients")),
)
TIMEOUT_SECS, START_SECS = 240.0, 300.0
PROGRAMS_A_PROCESS = 300  # what compiled programs hold is not given back
ROWS = FOLDER.parent.parent / "runs" / "conformance.jsonl"


class Suite:
    """Rows of programs, and the process that plays them.

    Args:
        step: file in which the process says what it does.
    """

    def __init__(self, step: Path) -> None:
        ROWS.parent.mkdir(exist_ok=True)
        kept = map(json.loads, ROWS.read_text().splitlines()) if ROWS.exists() else ()
        self.rows: dict[str, dict[str, Any]] = {row["program"]: row for row in kept}
        self._step = step
        self._player = WorkerProcess("foretune.compiler.conformance.worker", Start(str(step)), START_SECS)
        self._played = 0

    def ask(self, request: Request[R]) -> R:
        """A reply that must come."""
        reply = self._player.request(request, START_SECS)
        if reply.status != "ok":
            raise WorkerError(f"the programs of the suite cannot be listed: {reply.error}")
        return reply

    def play(self, name: str, request: Request[Checked]) -> None:
        """Plays a program and keeps its row."""
        self._played += 1
        if self._played % PROGRAMS_A_PROCESS == 0:
            self._player.close()
        self._step.write_text("")
        start = time.perf_counter()
        row: dict[str, Any] = {"program": name}
        try:
            reply = self._player.request(request, TIMEOUT_SECS)
        except (Silence, Death) as error:
            row |= {"died": str(error), "step": self._step.read_text()}
        else:
            if reply.status == "ok":
                row |= asdict(reply)
            else:  # Foretune, or the suite, raised what it should not
                row |= {"died": reply.error, "raised": True, "step": self._step.read_text()}
                self._player.close()
        row["secs"] = round(time.perf_counter() - start, 1)
        self.rows[name] = row
        with ROWS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        if fails(row):
            print(name, row.get("failures") or (row["died"], row["step"]), file=sys.stderr, flush=True)

    def close(self) -> None:
        """Ends the process."""
        self._player.close()


def crashes(row: dict[str, Any]) -> bool:
    """Whether Foretune ended or silenced the process; PyTorch itself may, on hostile values."""
    raised = row.get("raised") or "exited with code" in row.get("died", "")
    return "died" in row and (not row["step"].startswith("PyTorch") or raised)


def fails(row: dict[str, Any]) -> bool:
    """Whether a program has a wrong call or a crash."""
    return bool(row.get("num_wrong")) or crashes(row)


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The numbers to quote."""
    random = [row for row in rows if row["program"].startswith("random|")]
    played = [row for row in rows if not row["program"].startswith("random|")]
    taken = {operator for row in rows for operator in row.get("operators", ())}
    left = {text.split(" ")[0] for row in rows for text in row.get("left", ())}
    return {
        "num_operators": len(taken),
        "num_calls": sum(row["num_calls"] for row in rows if row.get("num_regions")),
        "num_wrong": sum(row.get("num_wrong", 0) for row in played),
        "num_traced_wrong": sum(row.get("num_traced_wrong", 0) for row in rows),
        "num_crashed": sum(map(crashes, rows)),
        "num_left_with_pytorch": len(left - taken),
        "num_programs": len(rows),
        "num_programs_left_with_pytorch": sum(not row.get("num_regions", 1) and not row.get("skipped") for row in rows),
        "random_programs": len(random),
        "random_wrong": sum(map(fails, random)),
    }


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row an operator: who took it, in how many programs, and what failed."""
    taken: Counter[str] = Counter(operator for row in rows for operator in row.get("operators", ()))
    reasons: dict[str, set[str]] = {}
    for row in rows:
        for text in row.get("left", ()):
            name, _, why = text.partition(" ")
            reasons.setdefault(name, set()).add(why.strip("()")[:200])
    return [
        {"operator": name, "num_programs": taken[name], "left_because": sorted(reasons.get(name, ()))[:3]}
        for name in sorted({*taken, *reasons})
    ] + [
        {"program": row["program"], "failures": row.get("failures") or [row["died"], row["step"]]}
        for row in rows
        if fails(row)
    ]


def main() -> None:
    """Runs the suite."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="*", metavar="OP", help="some operators of the database, or 'by hand'; played again"
    )
    parser.add_argument("--dtypes", nargs="*", metavar="T", help="such as float32; all by default")
    parser.add_argument("--most", type=int, default=2, help="samples of each operator and type")
    parser.add_argument("--failed", action="store_true", help="play what failed again, and nothing else")
    parser.add_argument(
        "--random-minutes", type=float, metavar="M", help="play random programs for so long, and nothing else"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first random program")
    parser.add_argument(
        "--common-template",
        type=Path,
        metavar="FILE",
        help="PyTorch's test_torchinductor.py; run its tests, and nothing else",
    )
    options = parser.parse_args()
    if options.common_template:
        run_template(options.common_template, options.failed)
        return
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(Path(folder) / "step")
        try:
            if options.failed:
                again(suite)
            elif options.random_minutes:
                play_random(suite, options.random_minutes, options.seed)
            else:
                play_operators(suite, options.only, options.dtypes, options.most)
        finally:
            suite.close()
            rows = [suite.rows[key] for key in sorted(suite.rows)]
            write_results("conformance", figures(rows), summary(rows))


def play_operators(suite: Suite, only: list[str] | None, dtypes: list[str] | None, most: int) -> None:
    """Plays what has no row yet; what was asked for by name, again."""
    operators = suite.ask(ListOperators()).operators
    for stage, (dtype, forms) in enumerate(STAGES):
        for operator in only or operators:
            if (operator == "by hand" and stage) or (dtypes and dtype not in dtypes):
                continue
            for program in suite.ask(ListPrograms(operator, dtype, most)).programs:
                if (operator == "by hand" or program.rpartition("|")[2] in forms) and (
                    program not in suite.rows or only
                ):
                    suite.play(program, CheckProgram(program, operator, dtype, most))


def again(suite: Suite) -> None:
    """Plays what failed again."""
    for row in [row for row in suite.rows.values() if fails(row)]:
        program = row["program"]
        operator, dtype, *_ = program.split("|")
        if operator == "random":
            suite.play(program, CheckRandom(int(dtype)))
        else:
            suite.play(program, CheckProgram(program, operator, dtype, most=2))


def play_random(suite: Suite, minutes: float, seed: int) -> None:
    """Plays random programs."""
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        if f"random|{seed}" not in suite.rows:
            suite.play(f"random|{seed}", CheckRandom(seed))
        seed += 1


if __name__ == "__main__":
    main()
