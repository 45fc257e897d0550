"""Pictures of `tuning.py`: speed against trials and against seconds, over all subgraphs and for each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter
from tuning_report import REFERENCE, Results, Run, mean_curve

from foretune.datasets.reports.plots import Panel, Plot
from foretune.support.files import write_atomically

_STYLES = {  # method -> label, colour of Okabe and Ito
    "foretune": ("Foretune", "#0072B2"),
    "foretune-0": ("Foretune, weights alone", "#0072B2"),
    "ms-xgb": ("MetaSchedule, XGBoost as shipped", "#D55E00"),
    "ms-xgb-warm": ("MetaSchedule, XGBoost warm early", "#E69F00"),
    "ms-mlp": ("MetaSchedule, MLP", "#CC79A7"),
    "ms-random": ("MetaSchedule, random", "#666666"),
}
_COLUMNS = 4


def write_plots(folder: Path, results: Results, reference_trials: int) -> None:
    """Writes `trials.png`, `seconds.png` and `tasks.png`."""
    reference = results.latency(REFERENCE, reference_trials)
    if not reference:
        return
    rows = -(-len(reference) // _COLUMNS)
    columns = min(_COLUMNS, len(reference))
    drawn = (
        Plot(
            "trials",
            "",
            "",
            (9, 5),
            lambda panel: _draw_mean(panel.subplots(), results, reference, reference_trials, "trials"),
        ),
        Plot(
            "seconds",
            "",
            "",
            (9, 5),
            lambda panel: _draw_mean(panel.subplots(), results, reference, reference_trials, "seconds"),
        ),
        Plot(
            "tasks",
            "",
            "",
            (max(8, 3.5 * columns), 1.4 + 2.6 * rows),
            lambda panel: _draw_tasks(panel, results, reference, reference_trials),
        ),
    )
    for plot in drawn:
        write_atomically(folder / f"{plot.name}.png", lambda path, plot=plot: path.write_bytes(plot.png()))


def _draw_mean(axes: Axes, results: Results, reference: Mapping[str, float], reference_trials: int, unit: str) -> None:
    seeds = len({run.row["seed"] for run in results.runs})
    axes.set_title(f"Speed of {len(reference)} held-out subgraphs against {unit} (geometric mean, seeds: {seeds})")
    for method in _STYLES:
        _draw_method(
            axes, method, [run for run in results.runs if run.method == method], reference, reference_trials, unit
        )
    axes.axhline(1, color="#000000", linewidth=0.8, linestyle=":")
    axes.set_ylabel(f"latency of MetaSchedule with {reference_trials} trials / latency")
    axes.set_xlabel(
        "measurements (log scale; the weights alone need none)" if unit == "trials" else "seconds of tuning (log scale)"
    )
    axes.legend(loc="lower right")


def _draw_tasks(panel: Panel, results: Results, reference: Mapping[str, float], reference_trials: int) -> None:
    columns = min(_COLUMNS, len(reference))
    grid = panel.subplots(-(-len(reference) // columns), columns, sharex=True, squeeze=False)
    for axes, task in zip(grid.flat, reference):
        for method in _STYLES:
            runs = [run for run in results.runs if run.method == method and run.task == task]
            _draw_method(axes, method, runs, reference, reference_trials, "trials")
        axes.axhline(1, color="#000000", linewidth=0.8, linestyle=":")
        axes.set_title(task, fontsize=10)
    for axes in grid.flat[len(reference) :]:
        axes.set_axis_off()
    handles, labels = grid.flat[0].get_legend_handles_labels()
    panel.legend(handles, labels, loc="outside upper center", ncols=3)
    panel.supxlabel("measurements (log scale)", fontsize=10)
    panel.supylabel(f"latency of MetaSchedule with {reference_trials} trials / latency", fontsize=10)


def _draw_method(
    axes: Axes, method: str, runs: list[Run], reference: Mapping[str, float], reference_trials: int, unit: str
) -> None:
    runs = [run for run in runs if run.task in reference and run.points]
    if not runs:
        return
    label, colour = _STYLES[method]
    axis = 0 if unit == "trials" else 1
    ends = [max(point[axis] for point in run.points) for run in runs]
    if method == "foretune-0":
        at = [max(ends)]
        place = 0.7 if unit == "trials" else at[0]
        axes.plot(
            [place], mean_curve(runs, reference, at, lambda p: p[axis]), "*", color=colour, markersize=13, label=label
        )
    else:
        at = sorted(
            {
                point[axis]
                for run in runs
                for point in run.points
                if point[axis] <= (reference_trials if axis == 0 else max(ends))
            }
        )
        curve = mean_curve(runs, reference, at, lambda p: p[axis])
        axes.step(
            np.array(at, float),
            curve,
            where="post",
            color=colour,
            linewidth=2 if method in ("foretune", REFERENCE) else 1.3,
            label=label,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
