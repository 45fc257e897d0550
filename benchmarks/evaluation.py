"""The latent model, its rivals and its ablations on the bundled test split: `python benchmarks/evaluation.py`.

All are trained from scratch on the same training tasks, stop early by the same validation tasks, and are scored in one
run. A control is trained on labels shuffled within each task. Learning curves are over shares of the training tasks.
The hardware's features say nothing where there is one target only: their ablation is on the bundled data of one and of
two threads together. What is known already is read from the folder, so a run that was stopped goes on; parts may run
side by side with `--parts`.
"""

from __future__ import annotations

import argparse
import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from results import FOLDER, write_results

from foretune.costmodel.evaluation import registry
from foretune.costmodel.evaluation.evaluation import EvaluationConfig, EvaluationReport, evaluate
from foretune.costmodel.evaluation.plots import draw_all
from foretune.costmodel.evaluation.runs import read_together
from foretune.datasets.records.store import BUNDLED, BUNDLED_SETS
from foretune.record import Trajectory

PARTS = ("control", "curves", "targets")
TARGETS = ("latent", "latent_no_hardware")
CURVES = ("latent", "lightgbm", "tenset_mlp")
SHARES = (0.01, 0.1, 0.5, 1.0)
COLUMNS = (
    "top1_mean",
    "top1_sum",
    "top5_mean",
    "top5_sum",
    "pairwise",
    "spearman",
    "regret1",
    "regret5",
    "regret10",
    "legality_auc",
    "candidates_per_sec",
    "train_secs",
)


def shuffled(trajectories: Sequence[Trajectory], tested: frozenset[str], seed: int = 0) -> list[Trajectory]:
    """The same trajectories with the run times of each task dealt out anew, except those of tested workloads."""
    rng = np.random.default_rng(seed)
    by_task: dict[tuple, list[int]] = defaultdict(list)
    for i, trajectory in enumerate(trajectories):
        if (
            trajectory.record.run_secs
            and len(trajectory.record.trace)
            and trajectory.record.candidate.task.workload.hash not in tested
        ):
            by_task[trajectory.record.candidate.task.key].append(i)
    out = list(trajectories)
    for members in by_task.values():
        for i, j in zip(members, rng.permutation(members)):
            out[i] = replace(
                trajectories[i], record=replace(trajectories[i].record, run_secs=trajectories[j].record.run_secs)
            )
    return out


def figures_of(report: EvaluationReport, control: EvaluationReport, targets: EvaluationReport) -> dict:
    """The numbers to quote."""
    rivals = {n: f for n, f in report.models.items() if n != "latent" and n not in registry.ablations()}
    ablations = {n: f for n, f in report.models.items() if n in registry.ablations() and n not in TARGETS}
    figures: dict = {}
    for k in ("top1_mean", "top1_sum", "top5_mean", "top5_sum", "pairwise"):
        figures[f"latent_{k}"] = report.models["latent"][k]
        figures[f"best_rival_{k}"] = max(f[k] for f in rivals.values())
        figures[f"best_ablation_{k}"] = max(f[k] for f in ablations.values())
        figures[f"shuffled_{k}"] = control.models["latent"][k]
        figures |= {f"two_targets_{name}_{k}": targets.models[name][k] for name in TARGETS}
    return figures


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FOLDER / "evaluation", help="folder of intermediate results")
    parser.add_argument(
        "--parts",
        default="",
        help=f"compute these alone and write no document: names of models, and {', '.join(PARTS)}",
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chosen = tuple(m for m in options.parts.split(",") if m) or (
        *(n for n in registry.names() if n not in TARGETS[1:]),
        *PARTS,
    )
    models = tuple(m for m in chosen if m not in PARTS)
    say = functools.partial(print, flush=True)
    control = report = curves = targets = None
    trajectories, split = read_together([BUNDLED])
    if models:
        report = evaluate(trajectories, split, EvaluationConfig(models, options.seed, out=options.out), say)
    if "control" in chosen:
        config = EvaluationConfig(("latent",), options.seed, out=options.out)
        control = evaluate(
            shuffled(trajectories, split.test), split, config, lambda line: say(f"shuffled labels: {line}")
        )
    if "curves" in chosen:
        curves = evaluate(trajectories, split, EvaluationConfig(CURVES, options.seed, SHARES, out=options.out), say)
    if "targets" in chosen:
        config = EvaluationConfig(TARGETS, options.seed, out=options.out)
        targets = evaluate(*read_together(BUNDLED_SETS), config, lambda line: say(f"one and two threads: {line}"))
    if options.parts:
        return
    report = replace(report, curves=curves.curves)
    options.out.mkdir(parents=True, exist_ok=True)
    draw_all(report, options.out)
    rows = [_row(name, figures) for name, figures in report.models.items()]
    rows += [_row("latent on shuffled labels", control.models["latent"])]
    rows += [_row(f"{name} on one and two threads", targets.models[name]) for name in TARGETS]
    for name, points in report.curves.items():
        rows += [
            {
                "model": name,
                "share": p["share"],
                **{c: p[c] for c in ("num_train_tasks", "top1_mean", "top5_mean", "pairwise")},
            }
            for p in points
        ]
    rows += [{"family": family, **figures} for family, figures in report.models["latent"]["families"].items()]
    write_results("evaluation", {**figures_of(report, control, targets), **report.data}, rows)


def _row(name: str, figures: dict) -> dict:
    return {"model": name, **{c: figures[c] for c in COLUMNS}, "calibration": figures["calibration"]}


if __name__ == "__main__":
    main()
