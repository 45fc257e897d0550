"""`foretune data`: look at a data set."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foretune.errors import DataError, OptionError
from foretune.support.console import Json, format_percent, format_ratio, format_secs, print_json, print_table, printable
from foretune.support.files import check_writable, write_atomically

if TYPE_CHECKING:
    from foretune.datasets.records.store import RecordStore
    from foretune.datasets.reports.browse import RecordLine, RecordView
    from foretune.datasets.reports.summary import Summary, TaskFigures

app = typer.Typer(no_args_is_help=True, help="Look at a data set: figures, trajectories, pictures, a data card.")

Folder = Annotated[
    Path | None,
    typer.Argument(metavar="DIR", help="Folder of the data set; by default the bundled one.", show_default=False),
]
_ROWS = 50


@app.command()
def info(folder: Folder = None, as_json: Json = False) -> None:
    """Counts, noise, spread and split of a data set."""
    from foretune.datasets.reports.summary import summarize

    summary = summarize(_open(folder))
    if as_json:
        print_json(summary.to_json())
    else:
        _print_summary(summary)
    _refuse_damage(summary.damaged)


@app.command()
def show(
    folder: Folder = None,
    task: Annotated[str, typer.Option(help="Name of a task, or the first digits of its hash.")] = "",
    record: Annotated[str, typer.Option(help="First digits of a record's key.")] = "",
    best: Annotated[bool, typer.Option("--best", help="The fastest record of the task.")] = False,
    limit: Annotated[int, typer.Option(help=f"Rows at most; 0: {_ROWS}, and all with --json.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """The tasks of a data set, the records of a task, or all of one record."""
    from foretune.datasets.reports import browse
    from foretune.datasets.reports.summary import summarize

    if best and (record or not task):
        raise OptionError("`--best` goes with `--task` and without `--record`; choose the task by name or hash")
    store = _open(folder)
    rows = limit or (None if as_json else _ROWS)
    if record and not task:
        _print_records(browse.read_records(store, *browse.find_record(store, record)), as_json)
    else:
        tasks = summarize(store).tasks
        if not task:
            _print_tasks(tasks, rows, as_json)
        else:
            workload = browse.find_workload(tasks, task)
            chosen = [t for t in tasks if t.workload == workload]
            if record:
                _print_records(browse.read_records(store, *browse.find_record(store, record, workload)), as_json)
            elif best:
                line = browse.list_records(store, workload)[0]
                if line.best_secs is None:
                    raise DataError(
                        f"no record of task {workload} has a run time; `foretune data show --task {workload}` lists"
                        " them"
                    )
                _print_records(browse.read_records(store, workload, line.trace_key), as_json)
            else:
                _print_task(chosen, browse.list_records(store, workload), rows, as_json)
    _refuse_damage(store.damaged)


@app.command()
def plot(
    folder: Folder = None,
    out: Annotated[Path, typer.Option(help="FILE.png, FILE.html, or a folder for one PNG for each picture.")] = Path(
        "data.html"
    ),
    as_json: Json = False,
) -> None:
    """Pictures: best time so far, spread, noise, statuses."""
    kind = (
        "folder"
        if out.is_dir()
        else {".png": "png", ".html": "html", ".htm": "html", "": "folder"}.get(out.suffix.lower())
    )
    if kind is None:
        raise OptionError(f"`--out` must end in .png or .html, or name a folder, but got {out.name!r}")
    check_writable(out / "picture.png" if kind == "folder" else out)
    store = _open(folder)
    from foretune.datasets.reports.page import html_page
    from foretune.datasets.reports.plots import overview_png, plots
    from foretune.datasets.reports.progress import read_progress
    from foretune.datasets.reports.summary import summarize

    summary = summarize(store)
    drawn = plots(summary, read_progress(store))
    if kind == "html":
        files = {out: html_page(summary, drawn).encode()}
    elif kind == "png":
        files = {
            out: overview_png(
                drawn,
                f"Data set {store.path.resolve().name}: {summary.num_records:,} records of {len(summary.tasks):,}"
                " tasks",
            )
        }
    else:
        files = {out / f"{picture.name}.png": picture.png() for picture in drawn}
    for path, content in files.items():
        _write(path, content)
    if as_json:
        print_json(
            {
                "files": [str(path) for path in files],
                "num_records": summary.num_records,
                "num_tasks": len(summary.tasks),
                "damaged": list(summary.damaged),
            }
        )
    else:
        print("\n".join(str(path) for path in files))
    _refuse_damage(summary.damaged)


@app.command()
def card(
    folder: Folder = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The file; by default DATA_CARD.md in the folder of the data set.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a data card: what the data is, how it was collected, and its limits."""
    from foretune.datasets.records.store import BUNDLED
    from foretune.datasets.reports.card import data_card
    from foretune.datasets.reports.summary import summarize

    path = out or (folder or BUNDLED) / "DATA_CARD.md"
    check_writable(path)
    store = _open(folder)
    summary = summarize(store)
    _write(path, data_card(summary).encode())
    if as_json:
        print_json(
            {
                "file": str(path),
                "num_records": summary.num_records,
                "content_hash": summary.content_hash,
                "damaged": list(summary.damaged),
            }
        )
    else:
        print(path)
    _refuse_damage(summary.damaged)


@app.command()
def split(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the data set.")],
    test: Annotated[float, typer.Option(help="Share of each family's workloads that test.")] = 0.2,
    validation: Annotated[float, typer.Option(help="Share of them that chooses the epoch.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the choice.")] = 0,
    as_json: Json = False,
) -> None:
    """Split the workloads into train, validation and test; workloads of an earlier split stay where they are."""
    from foretune.datasets.records.split import make_split
    from foretune.datasets.records.store import RecordStore

    with RecordStore(folder) as store:
        made = make_split(
            {key: w.family for key, w in store.workloads().items()}, validation, test, seed, store.split()
        )
    made.save(folder)
    counts = {"train": len(made.train), "validation": len(made.validation), "test": len(made.test)}
    if as_json:
        print_json(counts)
    else:
        print(", ".join(f"{count} workloads {part}" for part, count in counts.items()))


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Folders of data sets.")],
    out: Annotated[Path, typer.Option(help="Folder of the whole; a new one.")],
    as_json: Json = False,
) -> None:
    """Merge data sets that were collected apart."""
    from foretune.datasets.records.merge import merge as merge_folders

    number = merge_folders(folders, out)
    if as_json:
        print_json({"out": str(out), "num_records": number})
    else:
        print(f"{number:,} records in {out}")


@app.command()
def repair(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the data set.")], as_json: Json = False
) -> None:
    """Move damaged files to the subfolder `damaged`, and list the whole ones anew."""
    from foretune.datasets.records.store import RecordStore

    if not folder.is_dir():
        raise DataError(f"there is no data folder {folder}")
    with RecordStore(folder, writable=True, skip_damaged=True) as store:
        moved = store.repair()
        if as_json:
            print_json({"moved": moved, "num_records": store.manifest.num_records})
        else:
            print(
                f"{len(moved)} files moved to {folder / 'damaged'}; {store.manifest.num_records:,} records can be read"
            )


@app.command()
def code(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the data set.")],
    records: Annotated[int | None, typer.Option(help="Records that shall be known in the end; all by default.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; one for each core by default.", min=1)] = None,
    minutes: Annotated[float, typer.Option(help="End after so long.")] = float("inf"),
    parts: Annotated[Path | None, typer.Option(help="Folder of what is known so far; by default in DIR.")] = None,
    as_json: Json = False,
) -> None:
    """Compile recorded schedules, run none, and keep counters of their machine code beside the data."""
    from foretune.compiler.workloads.code_collection import CodeCollectionConfig, collect_code, pack_code
    from foretune.support.progress import progress_bar

    config = CodeCollectionConfig(
        folder, parts or folder / "machine_code", records, num_workers=workers, secs=60 * minutes
    )
    with progress_bar("compiling", not as_json) as show:
        collect_code(config, lambda done, total: show(done, total, ""))
    packed = pack_code(config)
    if as_json:
        print_json(packed)
    else:
        counts = ", ".join(f"{count:,} {status}" for status, count in packed["statuses"].items() if count)
        print(f"machine code of {packed['num_records']:,} records is known ({counts})")


def _open(folder: Path | None) -> RecordStore:
    from foretune.datasets.records.store import BUNDLED, RecordStore

    return RecordStore(folder or BUNDLED, skip_damaged=True)


def _refuse_damage(damaged: list[str] | tuple[str, ...]) -> None:
    if damaged:
        raise DataError("not everything could be read:\n" + "\n".join(f"  {message}" for message in damaged))


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}; choose another `--out`") from error


# -- tables ------------------------------------------------------------------------------------------


def _print_summary(summary: Summary) -> None:
    figures = summary.to_json()
    rows = [
        ("folder", summary.path),
        ("records", f"{summary.num_records:,}"),
        ("of them ok", f"{summary.num_ok:,}"),
        ("tasks", f"{len(summary.tasks):,}"),
        ("families", f"{len(summary.families):,}"),
        ("size", f"{summary.bytes / 1e6:,.2f} MB"),
        (
            "noise: median and 95 % of run times' variation",
            f"{format_percent(figures['median_noise_cv'])}, {format_percent(figures['p95_noise_cv'])}",
        ),
        ("spread: worst / best time, median task", format_ratio(figures["median_spread"])),
        ("speed-up: default / best time, median task", format_ratio(figures["median_speedup"])),
        *(("target", f"{target} ({count:,} records)") for target, count in summary.targets.items()),
        *((f"tool {tool}", ", ".join(versions)) for tool, versions in summary.tools.items()),
        *((f"source {source or 'unknown'}", f"{count:,} records") for source, count in summary.sources.items()),
        ("schema version", str(figures["schema"])),
        ("content hash", summary.content_hash),
    ]
    print_table(("figure", "value"), rows, "Data set", left=("value",))
    families = (
        (
            name,
            f"{f['tasks']:,}",
            f"{f['records']:,}",
            f"{f['ok']:,}",
            format_ratio(f["median_spread"]),
            format_ratio(f["median_speedup"]),
        )
        for name, f in figures["families"].items()
    )
    if not summary.num_records:
        return
    print_table(
        ("family", "tasks", "records", "ok", "worst / best", "default / best"),
        families,
        "Families (medians over tasks)",
    )
    print_table(
        ("status", "records", "share"),
        ((s, f"{n:,}", format_percent(n / summary.num_records)) for s, n in summary.statuses.items()),
        "Statuses",
    )
    if summary.split_counts is not None:
        print_table(
            ("part", "tasks", "records"),
            ((part, f"{c['tasks']:,}", f"{c['records']:,}") for part, c in summary.split_counts.items()),
            "Split",
        )


def _print_tasks(tasks: tuple[TaskFigures, ...], limit: int | None, as_json: bool) -> None:
    shown = tasks[:limit]
    if as_json:
        return print_json({"num_tasks": len(tasks), "tasks": [task.to_json() for task in shown]})
    several = len({task.target for task in tasks}) > 1
    rows = (
        (
            t.workload,
            t.family,
            t.name,
            *((t.target,) if several else ()),
            f"{t.num_records:,}",
            f"{t.num_ok:,}",
            format_secs(t.best_secs),
            format_secs(t.default_secs),
            format_ratio(t.speedup),
            format_ratio(t.spread),
        )
        for t in shown
    )
    header = (
        "hash",
        "family",
        "name",
        *(("target",) if several else ()),
        "records",
        "ok",
        "best",
        "default",
        "default / best",
        "worst / best",
    )
    print_table(header, rows, f"{len(tasks):,} tasks", left=("family", "name", "target"))
    _print_rest(len(tasks) - len(shown))


def _print_task(tasks: list[TaskFigures], lines: list[RecordLine], limit: int | None, as_json: bool) -> None:
    shown = lines[:limit]
    if as_json:
        return print_json(
            {
                "tasks": [t.to_json() for t in tasks],
                "num_records": len(lines),
                "records": [line.to_json() for line in shown],
            }
        )
    best = {task.target: task.best_secs for task in tasks}

    def slower(line: Any) -> float | None:
        fastest = best.get(line.target)
        return line.best_secs / fastest if line.best_secs and fastest else None

    rows = (
        (
            line.trace_key + (" (default)" if line.is_default else ""),
            line.status,
            format_secs(line.best_secs),
            format_ratio(slower(line)),
            format_percent(line.variation),
            line.space_id,
            *((line.target,) if len(tasks) > 1 else ()),
            _date(line.timestamp),
        )
        for line in shown
    )
    header = (
        "record",
        "status",
        "time",
        "time / best",
        "noise",
        "design space",
        *(("target",) if len(tasks) > 1 else ()),
        "measured",
    )
    title = f"Task {tasks[0].workload}, {tasks[0].family}, {tasks[0].name}: {len(lines):,} records, fastest first"
    print_table(header, rows, title, left=("status", "design space", "target"))
    _print_rest(len(lines) - len(shown))


def _print_rest(num_left: int) -> None:
    if num_left > 0:
        print(f"… and {num_left:,} more; see `--limit`")


def _print_records(views: list[RecordView], as_json: bool) -> None:
    if as_json:
        return print_json({"records": [view.to_json() for view in views]})
    for view in views:
        document = view.to_json()
        record = view.trajectory.record
        rows = [
            ("task", f"{document['workload']}, {document['family']}, {document['name']}"),
            ("target", str(record.candidate.task.target)),
            ("status", record.status.value),
            ("run times", ", ".join(map(format_secs, record.run_secs)) or "none"),
            ("noise", format_percent(record.variation if len(record.run_secs) > 1 else None)),
            ("measured", _date(record.timestamp)),
            ("source", view.source or "unknown"),
            ("program hash", record.program_hash or "unknown"),
            ("design space", record.trace.space_id),
            ("environment", _pairs(document["environment"])),
            ("settings", _pairs(document["settings"])),
        ]
        print_table(("field", "value"), rows, f"Record {record.trace.key}", left=("value",))
        if record.error:
            print(f"Error\n\n{printable(record.error)}\n")
        print(
            f"Trace, {len(record.trace)}"
            f" actions\n\n{printable(str(record.trace)) or 'none: the untouched program (the default)'}\n"
        )
        for title, name, features in (
            ("Initial program", "initial", view.trajectory.initial),
            ("Final program", "final", view.trajectory.final),
        ):
            _print_features(title, document[name], len(features))


def _print_features(title: str, stores: list[dict[str, float]], num_rows: int) -> None:
    if not stores:
        print(
            f"{title}: "
            + (f"{num_rows} rows of static features of another layout" if num_rows else "no static features")
        )
        return
    rows = ((str(i), *(f"{value:,.0f}" for value in store.values())) for i, store in enumerate(stores))
    print_table(
        ("store", *(name.replace("_", " ") for name in stores[0])), rows, f"{title}: what each store does in one run"
    )


def _pairs(data: dict[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in data.items()) if data else "unknown"


def _date(timestamp: float) -> str:
    try:
        return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%S") if timestamp > 0 else "unknown"
    except (ValueError, OverflowError, OSError):
        return "unknown"
