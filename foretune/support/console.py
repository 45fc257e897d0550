"""How the command line prints: one JSON document, or tables whose texts from data cannot style or move anything."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def print_json(document: Any) -> None:
    """Prints one JSON document on stdout."""
    print(json.dumps(document, indent=1, allow_nan=False))


def print_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], title: str = "", left: Sequence[str] = ()
) -> None:
    """Prints a table.

    Args:
        header: names of the columns.
        rows: a text for each column.
        title: above the table.
        left: names of columns with words in them; the others are numbers. The first is always on the left.
    """
    table = Table(
        title=Text(printable(title)) if title else None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for i, name in enumerate(header):
        words = i == 0 or name in left
        table.add_column(Text(name), justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def printable(text: str) -> str:
    """Text from data, with everything that would steer a terminal written as an escape."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def format_secs(secs: float | None) -> str:
    """Seconds with a fitting unit; a dash for None."""
    if secs is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if secs >= size:
            return f"{secs / size:.4g} {unit}"
    return f"{secs / 1e-9:.4g} ns"


def format_ratio(ratio: float | None) -> str:
    """A ratio of times; a dash for None."""
    return "-" if ratio is None else f"{ratio:,.1f}x" if ratio >= 100 else f"{ratio:.3g}x"


def format_percent(share: float | None) -> str:
    """A share in percent; a dash for None."""
    return "-" if share is None else f"{100 * share:.3g} %"
