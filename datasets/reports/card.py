"""The data card: what a data set is, how it was collected, and what it is not good for, as Markdown.

All numbers come from the data. The form follows "Datasheets for Datasets" (Gebru et al., 2021), shortened.
"""

from __future__ import annotations

import html
import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from foretune.datasets.records import schema
from foretune.datasets.reports.summary import Summary, TaskFigures, median_speedup, median_spread
from foretune.support.console import printable

_SOURCES = {
    "foretune": (
        "Measured by `foretune collect`. It visits the tasks in turn. Of each it measures the untouched program first,"
        " then random points of the design spaces that TVM's MetaSchedule generates, and mutations of the best points"
        " found so far. Each candidate is built and run in a worker process with limits of time and memory."
    ),
    "passes": (
        "Measured by `foretune passes`: sequences of LLVM's passes and flags, a few of each program in turn. Each"
        " candidate is compiled and run in a worker process with limits of time and memory, in turns with `-O3`, and"
        " its output is compared with the unoptimised program's."
    ),
    "metaschedule": "Imported from databases of TVM's MetaSchedule, which its own search has filled.",
    "ansor": (
        "Imported from logs of TVM's auto-scheduler (Ansor, the format of TenSet), which its own search has filled."
    ),
    "autotvm": "Imported from logs of AutoTVM, which its own search has filled.",
}
_RECORD_FIELDS = {
    "workload": "hash of the program; the program is in the workload table",
    "target": "JSON: the target as the tool writes it, and measured features of the hardware",
    "space_id": "hash of the trace without its decisions: the design space",
    "trace_key": "hash of the trace",
    "trace": "JSON rows `[op, inputs, attrs, outputs, decision]`; empty for the untouched program (the default)",
    "status": "how the measurement ended",
    "run_secs": "seconds of one run, a mean for each repeat; empty if it failed",
    "error": "the tool's own words, if it failed",
    "program_hash": "structural hash of the final program",
    "environment": "JSON: versions of tools, and the machine",
    "settings": "JSON: repeats and limits; empty where unknown",
    "timestamp": "seconds since the epoch, at the end of the measurement",
    "source": "where the record came from",
    "num_stores": "rows of `store_features`",
    "store_features": "static features of the final program, a row for each store statement",
}
_WORKLOAD_FIELDS = {
    "hash": "structural hash of the program",
    "name": "for people; not unique",
    "family": "operator family",
    "weight": "calls in one run of the model that it came from",
    "networks": "JSON rows `[network, calls in one run]`",
    "program": "the program in the tool's own serialised form",
    "graph": "JSON: nodes and edges of the program's structure",
    "num_stores": "rows of `store_features`",
    "store_features": "static features of the untouched program, a row for each store statement",
}
NOTES = "NOTES.md"
_FEW_RECORDS = 8
_SHORT_SECS = 1e-6


def data_card(summary: Summary) -> str:
    """The card as text."""
    name = Path(summary.path).resolve().name
    sections = [
        f"# Data card: {_cell(name)}\n",
        (
            f"{summary.num_records:,} measurements of how fast compiled programs run: {len(summary.tasks):,} tasks of"
            f" {len(summary.families):,} {'family' if len(summary.families) == 1 else 'families'}, each with what was"
            " tried, how long it took, and what failed.\n"
        ),
        "Licence: the same as Foretune's."
        + (
            " What the imported logs' own publishers state holds for the imported records.\n"
            if summary.imported
            else "\n"
        ),
        _at_a_glance(summary),
        "## How it was collected\n",
        _collected(summary),
        _notes(Path(summary.path)),
        "## Families\n",
        _families(summary),
        "## Statuses\n",
        _table(
            ("status", "records", "share"),
            ((s, f"{n:,}", f"{100 * n / summary.num_records:.3g} %") for s, n in summary.statuses.items()),
        )
        or "None.\n",
        "## Noise\n",
        _noise(summary),
        "## Spread\n",
        _spread(summary),
        "## Split\n",
        _split(summary),
        "## Fields\n",
        "Parquet files `shard-*.parquet` and `batch-*.parquet`, a row for each record:\n",
        _fields(schema.RECORDS, _RECORD_FIELDS),
        "Parquet files `workloads-*.parquet`, a row for each program:\n",
        _fields(schema.WORKLOADS, _WORKLOAD_FIELDS),
        "## Known limits\n",
        "\n".join(f"- {limit}" for limit in _limits(summary)) + "\n",
        "## Reading it\n",
        (
            "```python\nfrom foretune.datasets.records.store import RecordStore\n\nwith RecordStore(FOLDER) as store:\n"
            "    for trajectory in store.trajectories():\n        record = trajectory.record\n       "
            " print(record.candidate.task.workload.name, record.status.value, record.run_secs)\n```\n"
        ),
    ]
    return "\n".join(sections)


def _notes(folder: Path) -> str:
    """What the collectors wrote in `NOTES.md` beside the data."""
    path = folder / NOTES
    return printable(path.read_text(errors="replace").strip()) + "\n" if path.is_file() else ""


def _at_a_glance(summary: Summary) -> str:
    return _table(
        ("figure", "value"),
        [
            ("records", f"{summary.num_records:,}"),
            ("of them ok", f"{summary.num_ok:,}"),
            ("tasks (workload and target)", f"{len(summary.tasks):,}"),
            ("families", f"{len(summary.families):,}"),
            ("size", f"{summary.bytes / 1e6:,.2f} MB"),
            ("schema version", str(schema.SCHEMA_VERSION)),
            ("content hash (SHA-256)", summary.content_hash),
        ],
    )


def _collected(summary: Summary) -> str:
    parts = [
        f"- `{_cell(s)}`, {n:,} records. {_SOURCES.get(s, 'The data does not say how these were measured.')}"
        for s, n in summary.sources.items()
    ]
    parts += [
        "- imported log:"
        f" {_cell(', '.join(f'{key} {value}' for key, value in log.items() if isinstance(value, (str, int))))}"
        for log in summary.imported
    ]
    if summary.first_timestamp and summary.last_timestamp:
        first, last = (_date(t) for t in (summary.first_timestamp, summary.last_timestamp))
        parts.append(f"- Measured between {first} and {last}.")
    return "\n".join(
        [
            *parts,
            "",
            _table(("target", "records"), ((target, f"{count:,}") for target, count in summary.targets.items())),
            _table(("tool", "versions"), ((tool, ", ".join(versions)) for tool, versions in summary.tools.items())),
            _table(
                ("measure settings", "records"),
                (
                    (
                        (
                            ", ".join(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in s.items())
                            if s
                            else "unknown"
                        ),
                        f"{n:,}",
                    )
                    for s, n in summary.settings
                ),
            ),
        ]
    )


def _date(timestamp: float) -> str:
    try:
        return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return f"an impossible time ({timestamp:g} s)"


def _families(summary: Summary) -> str:
    rows = (
        (
            family,
            f"{len(tasks):,}",
            f"{sum(t.num_records for t in tasks):,}",
            f"{sum(t.num_ok for t in tasks):,}",
            _times(median_spread(tasks)),
            _times(median_speedup(tasks)),
        )
        for family, tasks in summary.families.items()
    )
    return _table(("family", "tasks", "records", "ok", "median worst / best", "median default / best"), rows)


def _noise(summary: Summary) -> str:
    if not summary.num_repeated:
        return "No record has more than one run time, so the noise is unknown.\n"
    quantiles = ((q, summary.noise_quantile(q)) for q in (0.25, 0.5, 0.75, 0.95))
    rows = (
        (f"{100 * q:g} % of records are below", f"{100 * value:.2g} %") for q, value in quantiles if value is not None
    )
    return (
        "Coefficient of variation (standard deviation over mean) of the run times of a record;"
        f" {summary.num_repeated:,} ok records have two or more.\n\n"
        + _table(("share", "coefficient of variation"), rows)
    )


def _spread(summary: Summary) -> str:
    spreads = sorted(t.spread for t in summary.tasks if t.spread is not None)
    if not spreads:
        return "No task has two ok records, so the spread is unknown.\n"
    speedups = [t.speedup for t in summary.tasks if t.speedup is not None]
    lines = [
        f"The worst ok record of a task takes {_number(statistics.median(spreads))} times as long as the best in the"
        f" median task, {_number(spreads[0])} times in the task with the least spread and {_number(spreads[-1])} times"
        " in the one with the most."
    ]
    if speedups:
        lines.append(
            f"The untouched program was measured for {len(speedups):,} tasks; it takes"
            f" {_number(statistics.median(speedups))} times as long as the best in the median task, and is itself the"
            f" best in {sum(s == 1 for s in speedups):,}."
        )
    return "\n".join(lines) + "\n"


def _split(summary: Summary) -> str:
    if summary.split_counts is None:
        return "There is no `split.json`. Split by workload, never by record: records of one task are much alike.\n"
    rows = ((part, f"{counts['tasks']:,}", f"{counts['records']:,}") for part, counts in summary.split_counts.items())
    return "`split.json` places each workload in one part; `none` is what it does not place.\n\n" + _table(
        ("part", "tasks", "records"), rows
    )


def _limits(summary: Summary) -> list[str]:
    tasks, few = summary.tasks, [t for t in summary.tasks if t.num_records < _FEW_RECORDS]
    limits = [
        f"Times hold for {_count(len(summary.targets), 'target')} and the machines it was measured on; they do not"
        " carry over to others."
    ]
    if few:
        limits.append(
            f"{_share(few, tasks)} have fewer than {_FEW_RECORDS} records, some because their design space has no more."
        )
    if without := [t for t in tasks if t.default_secs is None]:
        limits.append(f"{_share(without, tasks)} have no time of the untouched program, so no speed-up over it.")
    if short := [t for t in tasks if t.best_secs is not None and t.best_secs < _SHORT_SECS]:
        limits.append(
            f"{_share(short, tasks)} run in less than a microsecond; what is measured there is mostly the cost of the"
            " call."
        )
    if summary.num_ok > summary.num_repeated:
        limits.append(
            f"{summary.num_ok - summary.num_repeated:,} ok records have one run time only, so their noise is unknown."
        )
    if (p95 := summary.noise_quantile(0.95)) is not None:
        limits.append(
            f"Differences smaller than the noise cannot be ranked; for one record in twenty that is {100 * p95:.2g} %"
            " or more."
        )
    if failed := summary.num_records - summary.num_ok:
        limits.append(
            f"{failed:,} records failed. They have no run time; what a limit cut off may have been slow rather than"
            " wrong."
        )
    limits.append(
        "Candidates were sampled, and more of them near good ones; they are no even sample of the design spaces."
    )
    if summary.split is None:
        limits.append("There is no fixed split, so figures of different models may come from different tests.")
    return limits + [f"Not everything could be read: {_cell(message)}" for message in summary.damaged]


def _fields(fields: pa.Schema, meanings: dict[str, str]) -> str:
    return _table(
        ("field", "type", "meaning"), ((f.name, str(f.type), meanings.get(f.name, "")) for f in fields), code=meanings
    )


def _share(part: Sequence[TaskFigures], tasks: Sequence[TaskFigures]) -> str:
    return f"{len(part):,} of {len(tasks):,} tasks"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _times(value: float | None) -> str:
    return "unknown" if value is None else f"{_number(value)}x"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], code: Iterable[str] = ()) -> str:
    names, rows = set(code), list(rows)
    if not rows:
        return ""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += [
        "| "
        + " | ".join([f"`{row[0]}`" if row[0] in names else _cell(row[0]), *map(_meaning if names else _cell, row[1:])])
        + " |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def _meaning(text: str) -> str:
    return text.replace("|", "\\|")


def _cell(text: str) -> str:
    """Text from the data, so that it is read as text in a table."""
    plain = html.escape(printable(" ".join(text.split())), quote=False)
    return "".join("\\" + c if c in "\\|`*_[]#" else c for c in plain)
