"""Pictures of an evaluation: scores of all models, learning curves, and scores by operator family.

Colours are those of Okabe and Ito, which people with any kind of colour blindness can tell apart.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from foretune.costmodel.evaluation.evaluation import EvaluationReport
from foretune.support.files import write_atomically

_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000", "#F0E442", "#666666")
_MARKERS = "os^Dv<>P*Xph"
_DPI = 130


def draw_all(report: EvaluationReport, folder: Path) -> list[Path]:
    """Writes every picture that the report has data for as PNG.

    Returns:
        The files written.
    """
    pictures: dict[str, Callable[[EvaluationReport], Figure]] = {"scores": draw_scores, "families": draw_families}
    if report.curves:
        pictures["learning_curves"] = draw_learning_curves
    written = []
    for name, draw in pictures.items() if report.models else ():
        path = folder / f"{name}.png"
        content = _png(draw(report))
        write_atomically(path, lambda temporary, content=content: temporary.write_bytes(content))
        written.append(path)
    return written


def draw_scores(report: EvaluationReport) -> Figure:
    """A bar for the top-1 and the top-5 score of each model, the best model on top."""
    names = sorted(report.models, key=lambda name: report.models[name]["top1_mean"])
    figure = Figure(figsize=(7, 1.2 + 0.42 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    at = np.arange(len(names))
    for offset, key, label, colour in (
        (0.2, "top1_mean", "top-1", _COLOURS[0]),
        (-0.2, "top5_mean", "top-5", _COLOURS[4]),
    ):
        values = [report.models[name][key] for name in names]
        bars = axes.barh(at + offset, values, 0.38, color=colour, label=label)
        axes.bar_label(bars, [f"{v:.3f}" for v in values], padding=3, fontsize=8)
    axes.set_yticks(at, names)
    axes.set_xlim(0, 1.08)
    axes.set_xlabel("best time / best time among the k ranked highest (1 is perfect)")
    axes.set_title(f"{report.data['num_ranked_test_tasks']} unseen workloads", loc="left", fontweight="bold")
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0.75, 1.0), ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_learning_curves(report: EvaluationReport) -> Figure:
    """Top-1 score and pairwise accuracy over the number of training records, a line for each model."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, key, title in zip(panels, ("top1_mean", "pairwise"), ("top-1 score", "pairwise accuracy")):
        for i, (name, rows) in enumerate(report.curves.items()):
            style = {
                "color": _COLOURS[i % len(_COLOURS)],
                "marker": _MARKERS[i % len(_MARKERS)],
                "linestyle": "-" if i < len(_COLOURS) else "--",
            }
            axes.plot(
                [row["num_train_records"] for row in rows],
                [row[key] for row in rows],
                label=name,
                linewidth=1.5,
                markersize=5,
                **style,
            )
        axes.set_xscale("log")
        counts = sorted({row["num_train_records"] for rows in report.curves.values() for row in rows})
        axes.set_xticks(counts, [f"{count:,}" for count in counts])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("training records")
        axes.set_title(title, loc="left", fontweight="bold")
        axes.grid(color="#e3e3e3", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def draw_families(report: EvaluationReport) -> Figure:
    """Top-1 score of each model on each operator family, as a table in colours."""
    names = sorted(report.models, key=lambda name: -report.models[name]["top1_mean"])
    counts = {family: row["num_tasks"] for family, row in report.models[names[0]]["families"].items()}
    families = sorted(counts, key=lambda family: (-counts[family], family))
    values = np.array([[report.models[name]["families"][family]["top1"] for name in names] for family in families])
    figure = Figure(figsize=(2.6 + 0.7 * len(names), 1.6 + 0.34 * len(families)), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(families)), [f"{family} ({counts[family]})" for family in families])
    for row, column in np.ndindex(values.shape):
        axes.text(
            column,
            row,
            f"{values[row, column]:.2f}",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if values[row, column] < 0.6 else "black",
        )
    axes.set_title("top-1 score by family (test tasks)", loc="left", fontweight="bold")
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def _png(figure: Figure) -> bytes:
    """The PNG file of a figure; a bare `Figure` always draws with Agg, without a display."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    return buffer.getvalue()
