"""One self-contained HTML page of a data set: figures and pictures, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from foretune.datasets.reports.plots import Plot
from foretune.datasets.reports.summary import Summary, median_speedup, median_spread

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1180px; margin: 2em auto;
  padding: 0 1em; }
h1 { font-size: 1.6em; } h2 { font-size: 1.2em; margin-top: 2em; }
table { border-collapse: collapse; }
th, td { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: right; overflow-wrap: anywhere; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; height: auto; } .damaged { color: #a33; } .caption { color: #555; max-width: 75ch; }
"""


def html_page(summary: Summary, drawn: Sequence[Plot]) -> str:
    """The page as text."""
    name = escape(Path(summary.path).resolve().name)
    parts = [
        (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Foretune data:'
            f" {name}</title><style>{_STYLE}</style></head><body>"
        ),
        f"<h1>Data set {name}</h1>",
        _damaged(summary),
        _table(("figure", "value"), _figures(summary)),
    ]
    for plot in drawn:
        image = base64.b64encode(plot.png()).decode()
        parts.append(f'<h2>{escape(plot.title)}</h2><p class="caption">{escape(plot.caption)}</p>')
        parts.append(f'<img alt="{escape(plot.title)}" src="data:image/png;base64,{image}">')
    families = [
        (
            family,
            f"{len(tasks):,}",
            f"{sum(t.num_records for t in tasks):,}",
            f"{sum(t.num_ok for t in tasks):,}",
            _times(median_spread(tasks)),
            _times(median_speedup(tasks)),
        )
        for family, tasks in summary.families.items()
    ]
    parts.append(
        "<h2>Families</h2>"
        + _table(("family", "tasks", "records", "ok", "median worst / best", "median default / best"), families)
    )
    return "\n".join([*parts, "</body></html>\n"])


def _figures(summary: Summary) -> list[tuple[str, str]]:
    noise = summary.noise_quantile(0.5)
    return [
        ("records", f"{summary.num_records:,}"),
        ("of them ok", f"{summary.num_ok:,}"),
        ("tasks", f"{len(summary.tasks):,}"),
        ("families", f"{len(summary.families):,}"),
        ("median noise (coefficient of variation)", "unknown" if noise is None else f"{100 * noise:.2g} %"),
        ("median worst / best time of a task", _times(median_spread(summary.tasks))),
        ("median default / best time of a task", _times(median_speedup(summary.tasks))),
        *((f"target {target}", f"{count:,} records") for target, count in summary.targets.items()),
        *((f"tool {tool}", ", ".join(versions)) for tool, versions in summary.tools.items()),
        ("content hash", summary.content_hash),
    ]


def _times(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}x"


def _damaged(summary: Summary) -> str:
    items = "".join(f"<li>{escape(message)}</li>" for message in summary.damaged)
    return f'<div class="damaged"><p>Not everything could be read:</p><ul>{items}</ul></div>' if items else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
