"""The command line: verbs parse, call a `run(config) -> report`, and print.

Tables for people by default, one JSON document with `--json`; logs and progress bars go to stderr.
Exit status: 0 done, 1 failed, 2 wrong usage.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from foretune import __version__
from foretune.cli import data as data_verbs
from foretune.cli import database as database_verbs
from foretune.cli import domain as domain_verbs
from foretune.cli import mlir as mlir_verbs
from foretune.cli import passes as passes_verbs
from foretune.errors import ForetuneError, OptionError, TargetError
from foretune.support.console import Json, print_json, print_table, printable
from foretune.support.files import check_writable

if TYPE_CHECKING:
    from foretune.datasets.importers import ImportReport

_TUNE, _BACK, _TRAIN = "Tune", "Look back", "Data and cost models"
_EPILOG = (
    "Exit status: 0 done, 1 failed, 2 wrong usage. --json prints one JSON document; progress and messages go to stderr."
)

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, epilog=_EPILOG)

app.add_typer(passes_verbs.app, name="passes", rich_help_panel=_TUNE)
app.add_typer(mlir_verbs.app, name="mlir", rich_help_panel=_TUNE)
app.add_typer(domain_verbs.app, name="domain", rich_help_panel=_TUNE)
app.add_typer(database_verbs.app, name="database", rich_help_panel=_BACK)
app.add_typer(data_verbs.app, name="data", rich_help_panel=_TRAIN)

_SHOWN_BAD_LINES = 20


def _print_version(asked: bool) -> None:
    if asked:
        print(f"foretune {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Find faster code for PyTorch models, TVM kernels, LLVM programs and MLIR modules.

    A learned cost model ranks what the compiler could do; only the few best are built, checked and measured on this
    machine.
    """


def main() -> None:
    """Entry point of the `foretune` command."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s: %(message)s")
    try:
        app()
    except (OptionError, TargetError) as error:
        _fail(error, 2)
    except ForetuneError as error:
        _fail(error, 1)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:  # a full disk, a folder that went away
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", 1)


def _fail(error: Exception | str, status: int) -> None:
    print(printable(f"foretune: {error}"), file=sys.stderr)
    raise SystemExit(status)


@app.command(rich_help_panel=_TUNE)
def demo(
    trials: Annotated[int, typer.Option(help="Measurements for each tuning task; 0 lets the model alone decide.")] = 48,
    seed: Annotated[int, typer.Option(help="Of weights, inputs and search.")] = 0,
    database: Annotated[str, typer.Option(help="File of measured records; by default the user's own.")] = "",
    as_json: Json = False,
) -> None:
    """Tune a small CNN and a small transformer, and compare with eager and Inductor."""
    from foretune.compiler.workloads import demo as implementation

    report = implementation.run(implementation.DemoConfig(trials, seed, database))
    if as_json:
        print_json(report.to_json())
        return
    table = Table(
        "model",
        "eager ms",
        "inductor ms",
        "foretune ms",
        "vs eager",
        "vs inductor",
        "max rel. error",
        "tasks",
        "trials",
        "secs",
    )
    for m in report.models:
        table.add_row(
            m.name,
            f"{m.eager_ms:.3f}",
            f"{m.inductor_ms:.3f}",
            f"{m.foretune_ms:.3f}",
            f"{m.eager_ms / m.foretune_ms:.2f}x",
            f"{m.inductor_ms / m.foretune_ms:.2f}x",
            f"{m.max_rel_error:.1e}",
            str(m.num_tasks),
            str(m.num_trials),
            f"{m.secs:.0f}",
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)


@app.command(rich_help_panel=_TRAIN)
def collect(
    out: Annotated[Path, typer.Option(help="Folder of the data set; made or continued.")],
    records: Annotated[int, typer.Option(help="Records that the folder shall hold in the end.")],
    workloads: Annotated[str, typer.Option(help="Families of the zoo, comma-separated, or 'all'.")] = "all",
    random_workloads: Annotated[
        int, typer.Option(help="So many random workloads of these families in place of the zoo's own.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the sampling, and of the random workloads.")] = 0,
    target: Annotated[
        str, typer.Option(help="TVM target in JSON; by default that of the machine that measures.")
    ] = "auto",
    ray: Annotated[str, typer.Option(help="Measure on a Ray cluster: local (started here), auto, or HOST:PORT.")] = "",
    rpc: Annotated[str, typer.Option(help="Measure on devices of an RPC tracker: HOST:PORT:KEY.")] = "",
    cost_model: Annotated[
        str, typer.Option(help="Weights that guide the sampling: a file, 'bundled', or 'none'.")
    ] = "bundled",
    as_json: Json = False,
) -> None:
    """Measure sampled schedules of the workload zoo into a data set; a run that was stopped goes on."""
    check_writable(out, is_folder=True)
    from foretune.compiler.workloads import collection

    families = None if workloads == "all" else tuple(w.strip() for w in workloads.split(","))
    report = collection.run(
        collection.CollectionConfig(out, records, families, seed, random_workloads, target, ray, rpc, cost_model)
    )
    if as_json:
        print_json(report)
    else:
        print(f"{report['num_records']} records in {out}")


@app.command(rich_help_panel=_TRAIN)
def train(
    data: Annotated[list[Path], typer.Option(help="Folder of a data set; may be repeated.")],
    out: Annotated[Path, typer.Option(help="File of the weights.")],
    model: Annotated[str, typer.Option(help="Cost model; `foretune evaluate --help` names them.")] = "latent",
    epochs: Annotated[int | None, typer.Option(help="Passes over the data at most.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights and order.")] = 0,
    share: Annotated[float, typer.Option(help="Share of the training records to train on.")] = 1.0,
    start: Annotated[Path | None, typer.Option(help="Weights to go on from, for instance of another target.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File that keeps the state after each epoch; training goes on from it.")
    ] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder for TensorBoard logs.")] = None,
    skip_damaged: Annotated[
        bool, typer.Option("--skip-damaged", help="Train on what can be read of a damaged data set.")
    ] = False,
    sweep: Annotated[
        list[str],
        typer.Option(help="NAME=VALUE,VALUE,... of the training; may be repeated: the best combination stays."),
    ] = [],  # noqa: B006 - typer copies it
    ray: Annotated[str, typer.Option(help="Sweep on a Ray cluster: local (started here), auto, or HOST:PORT.")] = "",
    as_json: Json = False,
) -> None:
    """Train a cost model on the training part of a data set."""
    check_writable(out)
    from foretune.costmodel.evaluation import runs as offline
    from foretune.costmodel.evaluation.sweep import parse_sweep, run_sweep

    run = offline.TrainingRun(
        tuple(data), out, model, epochs, seed, share, start, checkpoint, tensorboard, skip_damaged
    )
    if (ray or sweep) and (not sweep or model != "latent" or checkpoint is not None):
        raise OptionError("--ray goes with --sweep, which is for the latent model and keeps no checkpoints")
    report = run_sweep(run, parse_sweep(sweep), ray) if sweep else offline.run_training(run)
    if as_json:
        print_json(report)
    else:
        print(
            f"{out}: "
            + ", ".join(
                f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in report.items()
                if name != "trials"
            )
        )


@app.command(name="import", rich_help_panel=_TRAIN)
def import_(
    files: Annotated[list[Path], typer.Argument(help="Logs, plain, .gz or .xz, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder of the data set; made or continued.")],
    log_format: Annotated[str, typer.Option("--format", help="auto, metaschedule, ansor or autotvm.")] = "auto",
    workload_file: Annotated[
        Path | None, typer.Option(help="MetaSchedule's file of workloads, if its name does not tell.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Import nothing if any line is bad.")] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Read logs that were imported before once more; records that are there stay single."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Import logs of MetaSchedule, Ansor, TenSet and AutoTVM into a data set."""
    from foretune.datasets.importers import FORMATS, import_logs
    from foretune.datasets.records.store import RecordStore

    if log_format not in FORMATS:
        raise OptionError(f"unknown log format {log_format!r}; known are {list(FORMATS)}")
    with RecordStore(out, writable=True) as store:
        report = import_logs(files, store, log_format, strict, workload_file, force)
    _print_bad_lines(report)
    if as_json:
        print_json(report.to_json())
    else:
        print(
            f"{report.num_records} records ({report.num_ok} ok) of {report.num_workloads} workloads from"
            f" {report.num_lines} lines into {out}; {report.num_bad} bad lines, {report.num_duplicates} duplicates left"
            f" out, {len(report.already_imported)} files imported before; {report.lines_per_sec:,.0f} lines/s"
        )
    if not report.num_records and not report.num_duplicates and not report.already_imported:
        reason = f"each of the {report.num_bad} lines is bad" if report.num_bad else "the files have no lines"
        raise ForetuneError(f"no record was imported: {reason}; `--format` says of which kind a log is")


def _print_bad_lines(report: ImportReport) -> None:
    """The first bad line of each kind, and how many more there are."""
    like = Counter((bad.file, bad.reason) for bad in report.bad)
    first = {(bad.file, bad.reason): bad for bad in reversed(report.bad)}
    shown = list(like)[:_SHOWN_BAD_LINES]
    for kind in shown:
        more = f" (and {like[kind] - 1} more lines like it)" if like[kind] > 1 else ""
        print(printable(f"foretune: {first[kind]}{more}"), file=sys.stderr)
    if rest := report.num_bad - sum(like[kind] for kind in shown):
        print(f"foretune: {rest} more bad lines", file=sys.stderr)


@app.command(rich_help_panel=_TRAIN)
def export(
    data: Annotated[Path, typer.Argument(help="Folder of a data set.")],
    out: Annotated[Path, typer.Option(help="Folder for MetaSchedule's two files.")],
    best: Annotated[int | None, typer.Option(help="Records of each task, the fastest first; all by default.")] = None,
    as_json: Json = False,
) -> None:
    """Write a data set's records as MetaSchedule's JSON database."""
    from foretune.compiler.metaschedule.export import export_database

    check_writable(out, is_folder=True)
    report = export_database(data, out, best)
    if as_json:
        print_json(report.to_json())
    else:
        print(
            f"{report.num_records} records of {report.num_workloads} workloads in {out}; left out:"
            f" {report.skipped or 'none'}"
        )


@app.command(rich_help_panel=_TRAIN)
def evaluate(
    data: Annotated[
        list[Path],
        typer.Option(help="Folder of a data set; may be repeated; by default the bundled one.", show_default=False),
    ] = [],  # noqa: B006 - typer copies it
    models: Annotated[
        str, typer.Option(help="Names, comma-separated; `all` rivals, `ablations`, or both: `all,ablations`.")
    ] = "all",
    weights: Annotated[
        list[str], typer.Option(help="NAME=FILE of weights that are trained already; may be repeated.")
    ] = [],  # noqa: B006 - typer copies it
    shares: Annotated[
        str, typer.Option(help="Shares of the training data for learning curves, such as 0.01,0.1,0.5,1.")
    ] = "1",
    unit: Annotated[str, typer.Option(help="What a share is of: tasks or records.")] = "tasks",
    seed: Annotated[int, typer.Option(help="Of every model.")] = 0,
    folds: Annotated[
        int,
        typer.Option(help="Test each workload once, in so many folds, with intervals; for small data sets.", min=0),
    ] = 0,
    calls: Annotated[
        Path | None,
        typer.Option(help="JSON file {workload hash: calls in one run of the network}: weights in the ratio of sums."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for results, trained models and plots; a run that was stopped goes on from it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train cost models and score them on workloads that none of them has seen."""
    if out is not None:
        check_writable(out, is_folder=True)
    from foretune.costmodel.evaluation import registry
    from foretune.costmodel.evaluation import runs as offline
    from foretune.costmodel.evaluation.evaluation import EvaluationConfig

    chosen: dict[str, None] = {}
    for name in (m.strip() for m in models.split(",")):
        rivals = [n for n in registry.names() if n not in registry.ablations()]
        chosen.update(dict.fromkeys({"all": rivals, "ablations": ["latent", *registry.ablations()]}.get(name, [name])))
    files = dict(_name_and_file(text) for text in weights)
    weighed = offline.read_calls(calls) if calls is not None else {}
    config = EvaluationConfig(tuple(chosen), seed, _numbers(shares, "shares"), unit, out, files, weighed)
    report = offline.run_evaluation(data, config, folds)
    if out is not None and not folds:
        from foretune.costmodel.evaluation.plots import draw_all

        draw_all(report, out)
    if as_json:
        print_json(report.to_json())
        return
    columns = (
        "top1_mean",
        "top1_sum",
        "top5_mean",
        "top5_sum",
        "pairwise",
        "spearman",
        "candidates_per_sec",
        "train_secs",
    )
    rows = ((name, *(_figure(figures.get(c)) for c in columns)) for name, figures in report.models.items())
    print_table(("model", *columns), rows, f"{report.data['num_ranked_test_tasks']} test tasks")
    if folds:
        ends = ((name, *(_interval(figures, c) for c in columns[:-2])) for name, figures in report.models.items())
        print_table(("model", *columns[:-2]), ends, "95 % intervals, by bootstrap over workloads")
    for name, reason in report.skipped.items():
        print(f"{name}: left out: {reason}")


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3f}"


def _interval(figures: dict[str, Any], name: str) -> str:
    low, high = figures["intervals"][name]
    return "-" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def _name_and_file(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise OptionError(f"weights must be given as NAME=FILE, but got {text!r}")
    return name, Path(path)


def _numbers(text: str, option: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"`--{option}` must be numbers separated by commas, but got {text!r}") from None


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


@app.command(rich_help_panel=_TUNE)
def tune(
    source: Annotated[
        str, typer.Argument(help="MODULE:FUNCTION that returns a model and its inputs, or an exported program (.pt2).")
    ],
    out: Annotated[
        Path | None, typer.Option(help="File for the program with its schedules; `foretune.load` runs it.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell regions, refusals and tasks; nothing is tuned or written.")
    ] = False,
    effort: Annotated[str, typer.Option(help="none (the model alone decides), quick (a minute a graph) or full.")] = "",
    trials: Annotated[
        int | None,
        typer.Option(help="Measurements for each tuning task, by default 64; 0 lets the model alone decide."),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="No measurements begin so long after the start; by default no limit.")
    ] = None,
    ops: Annotated[
        str, typer.Option(help="Measure only kernels with one of these words, comma-separated, in their name.")
    ] = "",
    database: Annotated[str, typer.Option(help="File of measured records; by default the user's own.")] = "",
    target: Annotated[str, typer.Option(help="TVM target in JSON; by default this machine.")] = "auto",
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    operators: Annotated[
        str, typer.Option(help="Namespaces of custom operators that the program may call, comma-separated.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Tune a model ahead of time."""
    if out is not None:
        check_writable(out)
    elif not dry_run:
        raise OptionError("`--out FILE` must say where the tuned program is written; `--dry-run` writes none")
    wanted = {"effort": effort or None, "trials": trials, "seconds": seconds}
    options = {
        **{name: value for name, value in wanted.items() if value is not None},
        **{"database": database, "target": target, "seed": seed, "ops": _words(ops)},
    }
    if out is None or dry_run:
        _tell_plan(source, options, _words(operators), as_json)
        return
    from foretune.compiler.pytorch import artifact
    from foretune.compiler.pytorch.options import BackendOptions

    report = artifact.tune(source, out, BackendOptions.from_dict(options), _words(operators))
    if as_json:
        print_json(report.to_json())
        return
    graph = report.graph
    times = ", ".join(f"{name} {ms:.4g} ms" for name, ms in sorted(graph.choice.ms.items(), key=lambda item: item[1]))
    print(f"{out}: run by {graph.choice.name}" + (f" ({times})" if times else ""))
    print(
        f"{graph.num_tasks} kernels, {graph.num_trials} measurements, {graph.num_reused} from the database,"
        f" {graph.secs:.0f} s"
    )


def _tell_plan(source: str, options: dict[str, Any], operators: tuple[str, ...], as_json: bool) -> None:
    """What tuning a program would do."""
    from foretune.compiler.dry_run import dry_run_of

    plan = dry_run_of(source, operators, **options)
    if as_json:
        print_json(plan.to_json())
    else:
        print(printable(str(plan)))


@app.command(rich_help_panel=_BACK)
def report(
    database: Annotated[Path, typer.Argument(help="File of tuned records.")],
    out: Annotated[Path, typer.Option(help="File of the page.")] = Path("report.html"),
    as_json: Json = False,
) -> None:
    """Write a page about a database: curves, choices, schedules and errors."""
    from foretune.compiler.metaschedule.html_report import write_report

    check_writable(out)
    written = write_report(database, out)
    if as_json:
        print_json(written)
    else:
        print(f"{out}: {written['tasks']} tasks, {written['records']} records, {written['failed']} of them failed")
