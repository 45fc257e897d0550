"""The command line: verbs parse, call a `run(config) -> report`, and print.

Tables for people by default, one JSON document with `--json`; logs and progress bars go to stderr.
Exit status: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from foretune.errors import ForetuneError, OptionError, TargetError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__.splitlines()[0])

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def main() -> None:
    """Entry point of the `foretune` command."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
    try:
        app()
    except (OptionError, TargetError) as error:
        _fail(error, 2)
    except ForetuneError as error:
        _fail(error, 1)


def _fail(error: Exception, status: int) -> None:
    print(f"foretune: {error}", file=sys.stderr)
    raise SystemExit(status)


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=1))


@app.command()
def demo(
    trials: Annotated[int, typer.Option(help="Measurements for each tuning task; 0 lets the model alone decide.")] = 48,
    seed: Annotated[int, typer.Option(help="Of weights, inputs and search.")] = 0,
    database: Annotated[str, typer.Option(help="File of measured records; by default the user's own.")] = "",
    as_json: Json = False,
) -> None:
    """Tune a small CNN and a small transformer, and compare with eager and Inductor."""
    from foretune.compiler import demo as implementation

    report = implementation.run(implementation.DemoConfig(trials, seed, database))
    if as_json:
        _print_json(report.to_json())
        return
    table = Table("model", "eager ms", "inductor ms", "foretune ms", "vs eager", "vs inductor", "max rel. error", "tasks", "trials", "secs")
    for m in report.models:
        table.add_row(
            m.name, f"{m.eager_ms:.3f}", f"{m.inductor_ms:.3f}", f"{m.foretune_ms:.3f}", f"{m.eager_ms / m.foretune_ms:.2f}x",
            f"{m.inductor_ms / m.foretune_ms:.2f}x", f"{m.max_rel_error:.1e}", str(m.num_tasks), str(m.num_trials), f"{m.secs:.0f}",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _not_built(verb: str, what: str) -> None:
    raise ForetuneError(f"`foretune {verb}` is not built yet ({what}); built so far: demo, collect, train")


@app.command()
def collect(
    out: Annotated[Path, typer.Option(help="Folder of the data set; made or continued.")],
    records: Annotated[int, typer.Option(help="Records that the folder shall hold in the end.")],
    workloads: Annotated[str, typer.Option(help="Families of the zoo, comma-separated, or 'all'.")] = "all",
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure sampled schedules of the workload zoo into a data set; a run that was stopped goes on."""
    from foretune.compiler import collection

    families = None if workloads == "all" else tuple(w.strip() for w in workloads.split(","))
    report = collection.run(collection.CollectionConfig(out, records, families, seed))
    if as_json:
        _print_json(report)
    else:
        print(f"{report['num_records']} records in {out}")


@app.command()
def train(
    data: Annotated[Path, typer.Option(help="Folder of a data set.")],
    out: Annotated[Path, typer.Option(help="File of the weights.")],
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = 40,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    as_json: Json = False,
) -> None:
    """Train the latent cost model on a data set."""
    from foretune.costmodel import offline

    report = offline.train_and_save(data, out, epochs, seed)
    if as_json:
        _print_json(report)
    else:
        print(f"{out}: top-1 {report['top1']:.3f}, pairwise accuracy {report['pairwise']:.3f} on held-out tasks")


@app.command(name="import")
def import_() -> None:
    """Import logs of other tuners (not built yet)."""
    _not_built("import", "importers")


@app.command()
def evaluate() -> None:
    """Evaluate cost models on held-out workloads (not built yet)."""
    _not_built("evaluate", "evaluation")


@app.command()
def tune() -> None:
    """Tune a model ahead of time (not built yet)."""
    _not_built("tune", "ahead-of-time tuning")


@app.command()
def passes() -> None:
    """Search LLVM pass sequences (not built yet)."""
    _not_built("passes", "LLVM pass sequences")


@app.command()
def mlir() -> None:
    """Predict and tune MLIR programs (not built yet)."""
    _not_built("mlir", "MLIR")


@app.command()
def report() -> None:
    """Write a report of a database (not built yet)."""
    _not_built("report", "reports")
