"""Does machine code tell what the symbolic state does not, and can it be foreseen? `python benchmarks/world_model.py`.

The pre-registered test of a world model of the compiler, on the bundled records whose machine code is known
(`foretune data code`; compiled, never run):

(a) oracle: trees on the symbolic state, with true counters of the machine code beside it, and with counters that were
    shuffled within the task; the bundled latent model alone, and with trees that saw the true counters.
(b) prediction: within-task R2 of the counters of whole kernels, on tasks that were not trained on, foreseen by trees on
    the symbolic state, by trees on a bag of actions, and by copying the start, which tells nothing apart.
(c) use: the first and the first four picks among the records of a task, over its fastest record: by the latent model
    alone, with foreseen counters beside it, with true counters of its first 8 and of its first 32.
(d) labels: pairs in order by trees that saw a part of the timed records, on the state alone and with true counters,
    which cost no run; `label_efficiency` is how many times fewer timed records do as well as all of them on the state.

With `--train FILE` it writes the weights that the middle rung of tuning uses. Three seeds; intervals are bootstraps
over tasks, differences are paired.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from results import write_results

from foretune.costmodel import metrics
from foretune.costmodel.latent.trees import TreeHead
from foretune.costmodel.machine_code.counters import NAMES
from foretune.costmodel.machine_code.ranker import CodeRanker
from foretune.costmodel.machine_code.training import CodeTask, code_tasks, train_ranker
from foretune.costmodel.rivals.action_bags import ActionBags
from foretune.costmodel.rivals.action_sequences import symbols_of
from foretune.datasets.records.code_table import table_beside
from foretune.datasets.records.store import BUNDLED_SETS, RecordStore
from foretune.errors import DataError
from foretune.support.optional import require

SEEDS = (0, 1, 2)
PARTS = ("validation", "test")
FIGURES = ("pairs", "top1", "top4", "top5")
FRACTIONS = (0.01, 0.03, 0.1, 0.3, 1.0)  # of the timed training records
_RESAMPLED = 2000
_FEWEST_TRAINING = 4  # candidates of a training task; evaluation needs more
_TREES = 300, 6  # and levels
_FORESEEN = [i for i, name in enumerate(NAMES) if not name.startswith("body")]
_FORESEEING = {"iterations": 100, "depth": 6, "learning_rate": 0.15, "border_count": 32}
say = partial(print, flush=True)


def read_tasks(folders: Sequence[Path]) -> dict[str, list[CodeTask]]:
    """The tasks of each part of the splits.

    Raises:
        DataError: a data set has no machine code beside it.
    """
    found: dict[str, list[CodeTask]] = {part: [] for part in ("train", *PARTS)}
    for folder in folders:
        table = table_beside(folder)
        if table is None:
            raise DataError(f"{folder} has no machine code: `foretune data code {folder}` collects it")
        with RecordStore(folder) as store:
            for part, members in found.items():
                fewest = _FEWEST_TRAINING if part == "train" else metrics.MIN_TIMED
                members += code_tasks(store.trajectories(getattr(store.split(), part)), table, fewest)
    return found


# -- (a) the oracle ----------------------------------------------------------------------------------


def ways(tasks: dict[str, list[CodeTask]], seed: int) -> dict[str, Callable[[CodeTask], np.ndarray]]:
    """Each way to score candidates, trained on the training tasks."""
    rng = np.random.default_rng(seed)

    def shuffled(task: CodeTask) -> CodeTask:
        return replace(task, counters=task.counters[rng.permutation(len(task.counters))])

    def grown(table: Callable[[CodeTask], np.ndarray]) -> Callable[[CodeTask], np.ndarray]:
        return grown_on(tasks["train"], table, seed)

    rung = train_ranker(tasks["train"], tasks["validation"], seed)
    say(f"seed {seed}: weight of the trees beside the latent model {rung.weight:g}")
    return {
        "state": grown(lambda t: t.states),
        "machine code": grown(lambda t: t.counters),
        "state and machine code": grown(both),
        "state and shuffled machine code": grown(lambda t: both(shuffled(t))),
        "latent": lambda t: t.latent,
        "latent and machine code": lambda t: rung.score(t.latent, [*t.counters]),
        "latent and machine code of its first 8": lambda t: of_first(t, rung),
    }


def both(task: CodeTask) -> np.ndarray:
    """State and true counters of each candidate."""
    return np.concatenate([task.states, task.counters], 1)


def grown_on(
    train: Sequence[CodeTask], table: Callable[[CodeTask], np.ndarray], seed: int
) -> Callable[[CodeTask], np.ndarray]:
    """Scores by trees on a table of features."""
    trees = TreeHead(*_TREES)
    trees.grow([table(t) for t in train], [t.relative for t in train], seed)
    return lambda t: trees(torch.from_numpy(table(t))).double().numpy()


def of_first(task: CodeTask, rung: CodeRanker, num: int = 8) -> np.ndarray:
    """Scores as tuning without measurements gives them: what ranks first is looked at, and stays before the rest."""
    first = set(metrics.ranking(task.latent)[:num].tolist())
    looked = rung.score(task.latent, [c if i in first else None for i, c in enumerate(task.counters)])
    behind = looked[np.isfinite(looked)].min() - 1 - (task.latent.max() - task.latent)
    return np.where(np.isfinite(looked), looked, behind)


def task_figures(task: CodeTask, scores: np.ndarray) -> tuple[float, ...]:
    """`FIGURES` of one ranking; higher is better."""
    return (
        metrics.pairwise_accuracy(scores, task.secs),
        *(metrics.top_k_score(scores, task.secs, k) for k in (1, 4, 5)),
    )


def interval(values: np.ndarray) -> list[float]:
    """Mean of the tasks' values, and the bounds of its 95 % bootstrap interval."""
    values = values[np.isfinite(values)]
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(_RESAMPLED, len(values)))].mean(1)
    return [float(values.mean()), *(float(q) for q in np.quantile(means, [0.025, 0.975]))]


def compared(values: np.ndarray, against: np.ndarray, base: str) -> dict:
    """Figures with intervals, and their paired differences to those of a base, if it has a name.

    Args:
        values, against: [tasks, figures].
        base: name of the latter.
    """
    row: dict = {"num_tasks": len(values)}
    for k, figure in enumerate(FIGURES):
        row[figure] = interval(values[:, k])
        if base:
            row[f"{figure}_over_{base}"] = interval(values[:, k] - against[:, k])
    return row


def oracle(tasks: dict[str, list[CodeTask]]) -> list[dict]:
    """A row for each way and part: figures with intervals, and their paired differences to what it is compared with."""
    per_seed = []
    for seed in SEEDS:
        made = ways(tasks, seed)
        per_seed.append(
            {
                (name, part): np.array([task_figures(t, score(t)) for t in tasks[part]])
                for name, score in made.items()
                for part in PARTS
            }
        )
    rows = []
    for name, part in per_seed[0]:
        values = np.mean([found[name, part] for found in per_seed], 0)  # [tasks, figures]
        base = "latent" if name.startswith("latent") else "state"
        against = np.mean([found[base, part] for found in per_seed], 0)
        row = {"stage": "a", "part": part, "way": name, **compared(values, against, "" if name == base else base)}
        rows.append(row)
        say(part, name, {f: [round(v, 4) for v in row[f]] for f in row if f.startswith(FIGURES)})
    return rows


# -- (b) foreseeing ----------------------------------------------------------------------------------


def within_task_r2(tasks: Sequence[CodeTask], foreseen: Sequence[np.ndarray]) -> np.ndarray:
    """[C] of each counter: 1 - squared errors / squared deviations, both within tasks; NaN where it never differs."""
    error, spread = np.zeros(len(_FORESEEN)), np.zeros(len(_FORESEEN))
    for task, guess in zip(tasks, foreseen):
        truth = task.counters[:, _FORESEEN]
        y, p = truth - truth.mean(0), guess - guess.mean(0)
        error += ((y - p) ** 2).sum(0)
        spread += (y**2).sum(0)
    return np.where(spread > 1e-6, 1 - error / np.maximum(spread, 1e-6), np.nan)


def foreseen(
    train: Sequence[CodeTask],
    test: Sequence[CodeTask],
    table: Callable[[CodeTask], np.ndarray],
    seed: int,
    columns: Sequence[int] = tuple(_FORESEEN),
) -> list[np.ndarray]:
    """Counters of the test tasks, foreseen from a table of features by trees."""
    catboost = require("catboost", "foreseeing machine code")
    y = np.concatenate([t.counters[:, columns] for t in train]).astype(np.float64)
    mean, scale = y.mean(0), np.maximum(y.std(0), 1e-6)
    model = catboost.CatBoostRegressor(
        loss_function="MultiRMSE", random_seed=seed, thread_count=torch.get_num_threads(), verbose=False,
        allow_writing_files=False, **_FORESEEING,
    )  # fmt: skip
    model.fit(np.concatenate([table(t) for t in train]), (y - mean) / scale)
    return [model.predict(table(t)) * scale + mean for t in test]


def prediction(tasks: dict[str, list[CodeTask]], seed: int) -> list[dict]:
    """A row for each way to foresee: the mean of the counters' R2, and those of each."""
    bags = ActionBags(symbols_of((t.task, t.candidates) for t in tasks["train"]))
    test = [task for part in PARTS for task in tasks[part]]
    guesses = {
        "trees on the symbolic state": foreseen(tasks["train"], test, lambda t: t.states, seed),
        "bag of actions": foreseen(tasks["train"], test, lambda t: bags.table(t.task, t.candidates), seed),
        "copying the start": [np.zeros((len(t.secs), len(_FORESEEN))) for t in test],
    }
    rows = []
    for name, guess in guesses.items():
        r2 = within_task_r2(test, guess)
        row = {"stage": "b", "way": name, "r2_mean": float(np.nanmean(r2)), "r2_median": float(np.nanmedian(r2))}
        rows.append({**row, "r2": {NAMES[i]: float(v) for i, v in zip(_FORESEEN, r2) if np.isfinite(v)}})
        say(row)
    return rows


# -- (c) use -----------------------------------------------------------------------------------------


def as_foreseen(tasks: dict[str, list[CodeTask]], seed: int) -> dict[str, list[CodeTask]]:
    """The tasks with foreseen counters in place of the true ones; those of training tasks are foreseen from the other
    half of them.
    """
    columns = range(len(NAMES))
    train = tasks["train"]
    halves = [train[::2], train[1::2]]
    pairs = [(halves[0], halves[1]), (halves[1], halves[0]), (train, [*tasks["validation"], *tasks["test"]])]
    guessed = [
        replace(task, counters=guess.astype(np.float32))
        for known, unknown in pairs
        for task, guess in zip(unknown, foreseen(known, unknown, lambda t: t.states, seed, columns))
    ]
    ends = np.cumsum([len(train), len(tasks["validation"])])
    return {"train": guessed[: ends[0]], "validation": guessed[ends[0] : ends[1]], "test": guessed[ends[1] :]}


def use(tasks: dict[str, list[CodeTask]], seed: int) -> list[dict]:
    """A row for each way to pick, of the test tasks: figures, and their paired differences to the latent model."""
    made = as_foreseen(tasks, seed)
    by_foreseen = train_ranker(made["train"], made["validation"], seed)
    by_true = train_ranker(tasks["train"], tasks["validation"], seed)
    say(f"weight of foreseen machine code {by_foreseen.weight:g}, of true one {by_true.weight:g}")
    scores = {
        "latent": [t.latent for t in tasks["test"]],
        "latent and foreseen machine code": [by_foreseen.score(t.latent, [*t.counters]) for t in made["test"]],
        **{
            f"latent and machine code of its first {k}": [of_first(t, by_true, k) for t in tasks["test"]]
            for k in (8, 32)
        },
    }
    values = {way: np.array([*map(task_figures, tasks["test"], found)]) for way, found in scores.items()}
    rows = []
    for way, found in values.items():
        base = "" if way == "latent" else "latent"
        row = {"stage": "c", "part": "test", "way": way, **compared(found, values["latent"], base)}
        rows.append(row)
        say(row)
    return rows


# -- (d) labels --------------------------------------------------------------------------------------


def labels(tasks: dict[str, list[CodeTask]]) -> list[dict]:
    """A row for each part of the timed records and way: pairs of the test tasks in order, the mean over seeds."""
    test = tasks["test"]
    tables: dict[str, Callable[[CodeTask], np.ndarray]] = {
        "state": lambda t: t.states,
        "state and machine code": both,
    }
    rows = []
    for fraction in FRACTIONS:
        for way, table in tables.items():
            pairs = []
            for seed in SEEDS:
                score = grown_on(part_of(tasks["train"], fraction, seed), table, seed)
                pairs.append([metrics.pairwise_accuracy(score(t), t.secs) for t in test])
            rows.append({"stage": "d", "fraction": fraction, "way": way, "pairs": interval(np.mean(pairs, 0))})
            say(rows[-1])
    return rows


def part_of(tasks: Sequence[CodeTask], fraction: float, seed: int) -> list[CodeTask]:
    """Tasks by chance that together have so large a part of the records; two at least."""
    order = np.random.default_rng(seed).permutation(len(tasks))
    counts = np.cumsum([len(tasks[i].secs) for i in order])
    num = int(np.searchsorted(counts, fraction * counts[-1])) + 1
    return [tasks[i] for i in order[: max(2, num)]]


def label_efficiency(rows: Sequence[dict]) -> float:
    """How many times fewer timed records with machine code order as many pairs as all of them on the state alone, from
    the line between neighbouring fractions; 1 if it never does.
    """
    target = next(r["pairs"][0] for r in rows if r["way"] == "state" and r["fraction"] == 1.0)
    points = [(np.log(r["fraction"]), r["pairs"][0]) for r in rows if r["way"] != "state"]
    for i, (x, y) in enumerate(points):
        if y < target:
            continue
        if i == 0:
            return float(np.exp(-x))
        before, low = points[i - 1]
        return float(np.exp(-(before + (x - before) * (target - low) / (y - low))))
    return 1.0


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=Path, help="write the weights of the middle rung, from all data, and end")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--without-prediction", action="store_true", help="stages (a) and (d) alone")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tasks = read_tasks(BUNDLED_SETS if options.train else BUNDLED_SETS[:1])
    counts = {f"num_{part}_records": sum(len(t.secs) for t in members) for part, members in tasks.items()}
    say(counts, {part: len(members) for part, members in tasks.items()})
    if options.train:
        ranker = train_ranker(tasks["train"], tasks["validation"], report=say)
        ranker.save(options.train)
        say(f"weight {ranker.weight:g}, written to {options.train}")
        return
    rows = oracle(tasks)
    figures: dict = {**counts}
    for row in rows:
        if row["way"] == "state and machine code":
            figures[f"oracle_pairs_gain_{row['part']}"] = row["pairs_over_state"]
        if row["way"] == "latent and machine code":
            figures[f"rung_pairs_gain_{row['part']}"] = row["pairs_over_latent"]
            figures[f"rung_top1_{row['part']}"] = row["top1"]
    figures["oracle_pairs_gain"] = figures["oracle_pairs_gain_test"][0]
    write_results("world_model", figures, rows)
    if not options.without_prediction:
        found = prediction(tasks, SEEDS[0])
        figures |= {"r2_trees": found[0]["r2_mean"], "r2_bag_of_actions": found[1]["r2_mean"]}
        rows += found
        used = use(tasks, SEEDS[0])
        by_way = {row["way"]: row for row in used}
        figures["predicted_pairs_gain"] = by_way["latent and foreseen machine code"]["pairs_over_latent"]
        for k in (1, 4):
            figures[f"picked_at_{k}"] = by_way["latent and machine code of its first 32"][f"top{k}"]
            figures[f"picked_at_{k}_without_looks"] = by_way["latent"][f"top{k}"]
        rows += used
        write_results("world_model", figures, rows)
    curve = labels(tasks)
    figures["label_efficiency"] = label_efficiency(curve)
    write_results("world_model", figures, [*rows, *curve])


if __name__ == "__main__":
    main()
