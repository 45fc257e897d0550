"""Pictures of a data set: how fast tasks got faster, how much there is to rank, how noisy the clock is, what failed.

Colours are those of Okabe and Ito, which people with any kind of colour blindness can tell apart.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import EngFormatter, Formatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from foretune.datasets.reports.measurements import TaskKey
from foretune.datasets.reports.progress import Progress
from foretune.datasets.reports.summary import Summary, TaskFigures
from foretune.record import Status

_BLUE, _ORANGE, _GREEN, _RED, _SKY, _PINK, _YELLOW = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#F0E442",
)
_GREY = "#666666"
_STATUS_COLOURS = dict(zip((s.value for s in Status), (_BLUE, _GREY, _ORANGE, _YELLOW, _RED, _PINK, "#000000")))
_STYLE = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "savefig.dpi": 130,
}
_MAX_FAMILIES, _FAMILY_COLUMNS = 24, 4
_MAX_LINES = 400
_TIMES = FuncFormatter(lambda value, _: f"{value:,g}x")
_COUNTS = EngFormatter(sep="")
_PERCENT = FuncFormatter(lambda value, _: f"{value:g} %")

Panel = Figure | SubFigure


@dataclass(frozen=True)
class Plot:
    """One picture.

    Attributes:
        name: of its file, without ending.
        title: one line.
        caption: what is to be seen.
        size: width and height in inches.
        draw: draws it into an empty figure or part of one.
    """

    name: str
    title: str
    caption: str
    size: tuple[float, float]
    draw: Callable[[Panel], None]

    def png(self) -> bytes:
        """The picture as a PNG file."""
        with rc_context(cast("Any", _STYLE)):
            figure = Figure(figsize=self.size, layout="constrained")
            self.draw(figure)
            return _png(figure)


def plots(summary: Summary, progress: Mapping[TaskKey, Progress]) -> list[Plot]:
    """The pictures of a data set."""
    rows = max(1, -(-min(len(summary.families), _MAX_FAMILIES) // _FAMILY_COLUMNS))
    return [
        Plot(
            "progress",
            "Best time so far",
            "The best time of each task after so many measurements, compared with the best of all its measurements. A"
            " task keeps its last value.",
            (9, 5),
            lambda panel: _draw_progress(panel, progress),
        ),
        Plot(
            "families",
            "Best time so far, by family",
            "The same for the tasks of each family: median and quartiles.",
            (12, 0.6 + 2.3 * rows),
            lambda panel: _draw_families(panel, summary, progress),
        ),
        Plot(
            "spread",
            "Spread of the times of each task",
            "Each column is a task. What is far above 1x is slow; the distance is what a cost model can win by"
            " ranking.",
            (14, 6),
            lambda panel: _draw_spread(panel, summary),
        ),
        Plot(
            "noise",
            "Noise of the clock",
            "Coefficient of variation (standard deviation over mean) of the repeated run times of a record. Differences"
            " below it cannot be ranked.",
            (12, 4.5),
            lambda panel: _draw_noise(panel, summary),
        ),
        Plot(
            "statuses",
            "How measurements ended",
            "Counts of all statuses, and the share of failed measurements in each family.",
            (12, 1.8 + 0.26 * max(7, min(len(summary.families), _MAX_FAMILIES))),
            lambda panel: _draw_statuses(panel, summary),
        ),
    ]


def overview_png(drawn: Sequence[Plot], title: str) -> bytes:
    """All pictures on one sheet, as a PNG file."""
    width = max(plot.size[0] for plot in drawn)
    heights = [plot.size[1] * (0.8 + 0.2 * width / plot.size[0]) for plot in drawn]
    with rc_context(cast("Any", _STYLE)):
        figure = Figure(figsize=(width, sum(heights) + 0.5), layout="constrained")
        figure.suptitle(_plain(title), fontsize=14, fontweight="bold")
        for panel, plot in zip(
            np.atleast_1d(cast("Any", figure.subfigures(len(drawn), 1, height_ratios=heights))), drawn
        ):
            plot.draw(panel)
        return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


# -- the pictures ------------------------------------------------------------------------------------


def _draw_progress(panel: Panel, progress: Mapping[TaskKey, Progress]) -> None:
    axes = panel.subplots()
    axes.set_title(f"Best time so far, {len(progress):,} tasks")
    if not _any_ok(progress):
        return _say_empty(axes, "no measurement succeeded")
    at = _grid(max(p.num_records for p in progress.values()))
    curves = _curves([*progress.values()], at)
    shown = curves[np.linspace(0, len(curves) - 1, min(len(curves), _MAX_LINES)).astype(int)]
    stairs = [np.stack([np.repeat(at, 2)[1:], np.repeat(c, 2)[:-1]], 1) for c in shown]
    axes.add_collection(
        LineCollection(
            stairs, colors=_GREY, alpha=float(np.clip(25 / len(shown), 0.05, 0.3)), linewidths=0.6, label="one task"
        )
    )
    _draw_band(axes, at, curves)
    _label_progress(axes, at)
    handles, labels = axes.get_legend_handles_labels()
    for handle in filter(None, axes.legend(handles, labels, loc="lower right").legend_handles):
        handle.set_alpha(max(handle.get_alpha() or 1, 0.4))


def _draw_families(panel: Panel, summary: Summary, progress: Mapping[TaskKey, Progress]) -> None:
    names = sorted(sorted(summary.families, key=lambda f: -len(summary.families[f]))[:_MAX_FAMILIES])
    found = {
        name: [progress[k] for t in summary.families[name] if (k := (t.workload, t.target)) in progress]
        for name in names
    }
    grid = panel.subplots(
        max(1, -(-len(names) // _FAMILY_COLUMNS)), _FAMILY_COLUMNS, sharex=True, sharey=True, squeeze=False
    )
    if not _any_ok(progress):
        for axes in grid.flat[1:]:
            axes.set_axis_off()
        return _say_empty(grid.flat[0], "no measurement succeeded")
    at = _grid(max(p.num_records for curves in found.values() for p in curves))
    for axes, name in zip(grid.flat, names):
        _draw_band(axes, at, _curves(found[name], at))
        _label_progress(axes, at)
        axes.set_title(_plain(f"{_short(name, 22)} ({len(found[name])})"), fontsize=10)
        axes.set_xlabel("")
        axes.set_ylabel("")
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for column in range(min(_FAMILY_COLUMNS, len(names))):
        last = (len(names) - 1 - column) // _FAMILY_COLUMNS
        grid[last, column].tick_params(labelbottom=True)
        grid[last, column].set_xlabel("measurements of the task")
    panel.suptitle(
        "Best time so far by family (number of tasks): median task, and half of the tasks",
        fontsize=11,
        fontweight="bold",
    )
    panel.supylabel("best time of all / best time so far", fontsize=10)


def _draw_spread(panel: Panel, summary: Summary) -> None:
    axes = panel.subplots()
    axes.set_title("Spread: times of each task over its best time (log scale; lower is better)")
    families = {name: _by_spread(tasks) for name, tasks in summary.families.items()}
    families = {name: tasks for name, tasks in families.items() if tasks}
    tasks = [task for members in families.values() for task in members]
    if not tasks:
        return _say_empty(axes, "no task has two measurements that succeeded")
    x = np.arange(len(tasks))
    spreads = [cast("float", t.spread) for t in tasks]
    medians = [cast("float", t.median_secs) / cast("float", t.best_secs) for t in tasks]
    size = float(np.clip(2600 / len(tasks), 2, 22))
    axes.vlines(x, 1, spreads, color="#cccccc", linewidth=float(np.clip(600 / len(tasks), 0.3, 2)), zorder=1)
    axes.scatter(x, spreads, s=size, color=_RED, marker="v", label="worst", zorder=2)
    axes.scatter(x, medians, s=size, color=_BLUE, marker="o", label="median", zorder=3)
    default = [(i, t.speedup) for i, t in enumerate(tasks) if t.speedup is not None]
    if default:
        axes.scatter(
            *zip(*default),
            s=1.3 * size,
            facecolors="none",
            edgecolors="#000000",
            linewidths=0.8,
            marker="D",
            label="default (untouched program)",
            zorder=4,
        )
    axes.axhline(1, color=_GREEN, linewidth=1.5, label="best")
    axes.set_yscale("log")
    _log_axis(axes.yaxis, _TIMES)
    axes.set_ylabel("time / best time of the task")
    _label_families(axes, {name: len(members) for name, members in families.items()})
    panel.legend(loc="outside upper right", ncols=4)


def _draw_noise(panel: Panel, summary: Summary) -> None:
    left, right = panel.subplots(1, 2)
    left.set_title("Noise: variation of repeated run times")
    right.set_title("Noise against run time")
    if not len(summary.noise):
        _say_empty(left, "no record was timed twice")
        return _say_empty(right, "no record was timed twice")
    secs, percent = summary.noise[:, 0], np.clip(summary.noise[:, 1] * 100, 1e-3, None)
    low, high = min(percent.min() / 1.2, 0.1), max(percent.max() * 1.2, 10)
    left.hist(percent, np.geomspace(low, high, 50), color=_SKY, edgecolor="white", linewidth=0.4)
    for q, colour, style, name in ((0.5, _BLUE, "-", "median"), (0.95, _RED, "--", "95 % of records are below")):
        value = cast("float", summary.noise_quantile(q)) * 100
        left.axvline(
            max(value, percent.min()), color=colour, linestyle=style, linewidth=1.8, label=f"{name}: {value:.2g} %"
        )
    left.set_xscale("log")
    _log_axis(left.xaxis, _PERCENT)
    left.set_xlabel("coefficient of variation (log scale)")
    left.set_ylabel("records")
    left.yaxis.set_major_locator(MaxNLocator(integer=True))
    left.yaxis.set_major_formatter(_COUNTS)
    left.legend(loc="upper left")
    left.margins(y=0.18)
    extent = np.log10([secs.min() / 2, secs.max() * 2, low, high])
    cells = right.hexbin(
        secs,
        percent,
        xscale="log",
        yscale="log",
        gridsize=40,
        extent=extent,
        mincnt=1,
        bins="log",
        cmap="viridis",
        linewidths=0.1,
    )
    _log_axis(right.xaxis, EngFormatter("s"))
    _log_axis(right.yaxis, _PERCENT)
    right.set_xlabel("run time (log scale)")
    right.set_ylabel("coefficient of variation (log scale)")
    panel.colorbar(cells, ax=right, label="records", format=_COUNTS).ax.yaxis.set_minor_formatter(NullFormatter())


def _draw_statuses(panel: Panel, summary: Summary) -> None:
    left, right = panel.subplots(1, 2)
    left.set_title(f"Statuses of {summary.num_records:,} records")
    right.set_title("Failed measurements by family")
    if not summary.num_records:
        _say_empty(left, "no records")
        return _say_empty(right, "no records")
    names, counts = list(summary.statuses), list(summary.statuses.values())
    left.barh(range(len(names)), counts, height=0.6, color=[_STATUS_COLOURS.get(n, _GREY) for n in names])
    left.set_yticks(range(len(names)), [_plain(_short(n)) for n in names])
    left.set_ylim(max(len(names), len(Status)) - 0.5, -0.5)
    left.set_xscale("log")
    left.set_xlim(0.7, max(counts) * 12)
    _log_axis(left.xaxis, _COUNTS)
    left.set_xlabel("records (log scale)")
    left.grid(axis="y", visible=False)
    for row, count in enumerate(counts):
        left.text(count * 1.15, row, f"{count:,} ({100 * count / summary.num_records:.3g} %)", va="center", fontsize=9)
    _draw_failures(right, summary)


def _draw_failures(axes: Axes, summary: Summary) -> None:
    families = sorted(sorted(summary.families, key=lambda f: -len(summary.families[f]))[:_MAX_FAMILIES])
    failed = [name for name in summary.statuses if name != Status.OK.value]
    if not failed:
        return _say_empty(axes, "no measurement failed")
    records = np.array([sum(t.num_records for t in summary.families[f]) for f in families])
    left = np.zeros(len(families))
    for name in failed:
        share = np.array([sum(t.statuses.get(name, 0) for t in summary.families[f]) for f in families]) / records * 100
        axes.barh(
            range(len(families)),
            share,
            left=left,
            color=_STATUS_COLOURS.get(name, _GREY),
            edgecolor="white",
            linewidth=0.4,
            label=_plain(_short(name)),
        )
        left += share
    axes.set_yticks(range(len(families)), [_plain(_short(f)) for f in families])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of the family's measurements")
    axes.xaxis.set_major_formatter(_PERCENT)
    axes.set_xlim(0, max(left.max() * 1.05, 1e-6))
    axes.legend(loc="best")


# -- parts of pictures -------------------------------------------------------------------------------


def _any_ok(progress: Mapping[TaskKey, Progress]) -> bool:
    return any(len(p.secs) for p in progress.values())


def _grid(last: int) -> np.ndarray:
    return np.unique(np.geomspace(1, last, 200).astype(np.int64)) if last > 200 else np.arange(1, last + 1)


def _curves(progress: Sequence[Progress], at: np.ndarray) -> np.ndarray:
    return np.array([p.quality(at) for p in progress]).reshape(-1, len(at))  # [tasks, G]


def _draw_band(axes: Axes, at: np.ndarray, curves: np.ndarray) -> None:
    if not len(curves):
        return
    low, middle, high = np.quantile(curves, [0.25, 0.5, 0.75], axis=0)
    axes.fill_between(at, low, high, step="post", color=_SKY, alpha=0.4, linewidth=0, label="half of the tasks")
    axes.step(at, middle, where="post", color=_BLUE, linewidth=2, label="median task")


def _label_progress(axes: Axes, at: np.ndarray) -> None:
    axes.set_ylim(0, 1.03)
    axes.set_xlim(1, max(at[-1], 2))
    axes.set_xlabel("measurements of the task, failed ones too")
    axes.set_ylabel("best time of all / best time so far")
    if at[-1] > 200:
        axes.set_xscale("log")
        _log_axis(axes.xaxis, _COUNTS)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _by_spread(tasks: Sequence[TaskFigures]) -> list[TaskFigures]:
    return sorted((t for t in tasks if t.spread is not None), key=lambda t: cast("float", t.spread))


def _label_families(axes: Axes, sizes: Mapping[str, int]) -> None:
    total, start, ticks, labels = sum(sizes.values()), 0, [], []
    for i, (name, size) in enumerate(sizes.items()):
        if i % 2:
            axes.axvspan(start - 0.5, start + size - 0.5, color="#f2f2f2", linewidth=0, zorder=0)
        if size >= 0.011 * total:  # narrower than a line of text
            ticks.append(start + (size - 1) / 2)
            labels.append(_plain(f"{_short(name)} ({size})"))
        start += size
    axes.set_xticks(ticks, labels, rotation=90 if len(sizes) > 6 else 0, fontsize=9)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
    axes.set_xlim(-1, total)
    axes.set_xlabel("tasks by family (number of tasks), in each by spread")


def _log_axis(axis: Axis, formatter: Formatter) -> None:
    low, high = axis.axes.get_xlim() if cast("Any", axis).axis_name == "x" else axis.axes.get_ylim()
    if high < 300 * low:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(formatter)
    axis.set_minor_formatter(NullFormatter())


def _say_empty(axes: Axes, text: str) -> None:
    axes.set_axis_off()
    axes.text(0.5, 0.5, text, ha="center", va="center", color=_GREY, transform=axes.transAxes)


def _short(text: str, length: int = 28) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _plain(text: str) -> str:
    """Text from the data, so that it is not read as a formula."""
    return text.replace("\\", "\\\\").replace("$", r"\$") if "$" in text else text
