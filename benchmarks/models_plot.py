"""The picture of `models.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_plot(path: Path, rows: Sequence[dict[str, Any]], engines: Sequence[str]) -> None:
    """Speed of each engine on each model, relative to eager, as bars."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    rows = [row for row in rows if all("ms" in row["engines"].get(e, {}) for e in engines)]
    figure, axes = plt.subplots(figsize=(1.5 + 0.9 * len(rows), 4))
    others = [e for e in engines if e != "eager"]
    for i, engine in enumerate(others):
        speed = [row["engines"]["eager"]["ms"] / row["engines"][engine]["ms"] for row in rows]
        axes.bar(
            [x + (i - (len(others) - 1) / 2) * 0.8 / len(others) for x in range(len(rows))],
            speed,
            0.8 / len(others),
            label=engine,
        )
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(rows)), [row["model"] for row in rows], rotation=30, ha="right")
    axes.set_ylabel("speed relative to eager")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
