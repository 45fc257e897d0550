"""`foretune database`: look at, merge and prune files of tuned records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foretune.datasets.records.database import Database
from foretune.errors import DatabaseError
from foretune.record import fastest
from foretune.support.console import Json, print_json, print_table

app = typer.Typer(no_args_is_help=True, help="Look at, merge and prune files of tuned records.")

File = Annotated[Path, typer.Argument(help="File of tuned records.")]


def _opened(path: Path, read_only: bool) -> Database:
    if not path.expanduser().is_file():
        raise DatabaseError(f"there is no database {path}")
    return Database(path, read_only)


@app.command()
def info(database: File, as_json: Json = False) -> None:
    """List the tasks of a database."""
    with _opened(database, read_only=True) as opened:
        rows = []
        for task in opened.tasks():
            records = opened.records(task)
            best = next((r.best_secs for r in fastest(records, 1)), None)
            rows.append(
                {
                    "name": task.workload.name,
                    "workload": task.workload.hash,
                    "target": task.target.key,
                    "num_records": len(records),
                    "best_secs": best,
                }
            )
    if as_json:
        print_json({"database": str(database), "tasks": rows, "damaged": [str(row) for row in opened.damaged]})
        return
    lines = (
        (
            r["name"],
            r["workload"][:12],
            r["target"],
            str(r["num_records"]),
            "-" if r["best_secs"] is None else f"{r['best_secs'] * 1e6:.4g}",
        )
        for r in rows
    )
    print_table(("kernel", "workload", "target", "records", "best us"), lines, f"{len(rows)} tasks")


@app.command()
def merge(
    into: File,
    others: Annotated[list[Path], typer.Argument(help="Files whose records are taken over.")],
    as_json: Json = False,
) -> None:
    """Take over the records of other databases, for instance of other machines; the newer record of a candidate
    stays.
    """
    for other in others:
        if not other.expanduser().is_file():
            raise DatabaseError(f"there is no database {other}")
    with Database(into) as opened:
        taken = {str(other): opened.merge(other) for other in others}
    if as_json:
        print_json({"database": str(into), "taken": taken})
    else:
        print("\n".join(f"{number} records of {other}" for other, number in taken.items()))


@app.command()
def prune(
    database: File,
    keep: Annotated[int, typer.Option(help="Fastest records of each task that stay.")] = 16,
    as_json: Json = False,
) -> None:
    """Drop slow and failed records, and damaged rows; what was checked, and the default schedules, stay."""
    with _opened(database, read_only=False) as opened:
        dropped = opened.prune(keep)
        left = opened.num_records()
    if as_json:
        print_json({"database": str(database), "dropped": dropped, "left": left})
    else:
        print(f"{dropped} records dropped, {left} left")
