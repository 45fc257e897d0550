"""What fresh measurements are worth: `python benchmarks/adaptation.py`.

Online: on each held-out task the bundled model is updated with 64 random measured schedules, in batches of 16, and
ranks the rest of the task's schedules before and after. Transfer: a model trained on one thread's data is fine-tuned on
a tenth of the two-thread training tasks and ranks held-out tasks of two threads, beside one trained from scratch on the
same tenth, on all of them, and none.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from results import write_results

from foretune.costmodel import metrics
from foretune.costmodel.evaluation.evaluation import score_model
from foretune.costmodel.latent.model import LatentCostModel
from foretune.costmodel.latent.training import train
from foretune.costmodel.rivals.groups import Group, labelled_groups
from foretune.datasets.records.store import BUNDLED_SETS, RecordStore
from foretune.record import Trajectory

_BATCH, _NUM_UPDATED = 16, 64
_FINE_TUNING_EPOCHS = 10


def online(trajectories: Sequence[Trajectory], seed: int) -> tuple[dict[str, float], list[dict]]:
    """Pairwise accuracy, top-1 and top-5 scores before and after updates, and seconds of an update."""
    records = {t.record.candidate.key: t.record for t in trajectories}
    rng = np.random.default_rng(seed)
    rows = []
    for group in labelled_groups(trajectories, _NUM_UPDATED + 2 * metrics.MIN_TIMED):
        model = LatentCostModel.bundled()
        timed = rng.permutation(np.flatnonzero(group.throughput))
        seen, rest = timed[:_NUM_UPDATED], group.select(timed[_NUM_UPDATED:])
        row: dict = {"family": group.task.workload.family, **_ranked(model, rest, "before")}
        model.predict(group.task, [group.candidates[i] for i in seen])
        secs = []
        for start in range(0, _NUM_UPDATED, _BATCH):
            secs.append(_timed_update(model, [records[group.candidates[i].key] for i in seen[start : start + _BATCH]]))
        row |= {**_ranked(model, rest, "after"), "update_secs": max(secs)}
        fresh = LatentCostModel.bundled()
        row["update_64_secs"] = _timed_update(fresh, [records[group.candidates[i].key] for i in seen])
        rows.append(row)
    figures = {
        f"{name}_{when}": statistics.mean(r[f"{name}_{when}"] for r in rows)
        for name in ("top1", "top5", "pairwise")
        for when in ("before", "after")
    }
    return {
        **figures,
        "update_64_secs": statistics.median(r["update_64_secs"] for r in rows),
        "slowest_update_64_secs": max(r["update_64_secs"] for r in rows),
    }, rows


def _timed_update(model: LatentCostModel, records: list) -> float:
    start = time.perf_counter()
    model.update(records)
    return time.perf_counter() - start


def _ranked(model: LatentCostModel, group: Group, when: str) -> dict[str, float]:
    scores, secs = model.predict(group.task, group.candidates), 1.0 / group.throughput
    figures = {
        "top1": metrics.top_k_score(scores, secs, 1),
        "top5": metrics.top_k_score(scores, secs, 5),
        "pairwise": metrics.pairwise_accuracy(scores, secs),
    }
    return {f"{name}_{when}": value for name, value in figures.items()}


def transfer(seed: int) -> list[dict]:
    """Figures on held-out tasks of the second target for each way to train."""
    (first, first_held, _), (second, second_held, second_test) = (_parts(folder) for folder in BUNDLED_SETS)
    few, few_held = _tenth(second, seed), _tenth(second_held, seed)
    config = LatentCostModel.default_config(seed)
    base = train(first, config, validation=first_held)
    gentle = replace(config, epochs=_FINE_TUNING_EPOCHS, learning_rate=config.learning_rate / 4)
    ways = {
        "other target only": lambda: base,
        "scratch, a tenth": lambda: train(few, config, validation=few_held),
        "scratch, all": lambda: train(second, config, validation=second_held),
        "fine-tuned on a tenth": lambda: train(few, gentle, validation=few_held, start=base.network),
    }
    groups = labelled_groups(second_test, metrics.MIN_TIMED)
    rows = []
    for name, make in ways.items():
        start = time.perf_counter()
        trained = make()
        secs = time.perf_counter() - start
        figures = score_model(LatentCostModel(trained.network), groups, second_test)
        rows.append({"training": name, "secs": secs, **{k: figures[k] for k in ("top1_mean", "top5_mean", "pairwise")}})
        print(rows[-1], flush=True)
    return rows


def _parts(folder) -> tuple[list[Trajectory], list[Trajectory], list[Trajectory]]:
    with RecordStore(folder) as store:
        split = store.split()
        return tuple(list(store.trajectories(part)) for part in (split.train, split.validation, split.test))


def _tenth(trajectories: Sequence[Trajectory], seed: int) -> list[Trajectory]:
    """The trajectories of a tenth of the tasks."""
    keys = sorted({t.record.candidate.task.key for t in trajectories})
    kept = {keys[i] for i in np.random.default_rng(seed).permutation(len(keys))[: max(2, len(keys) // 10)]}
    return [t for t in trajectories if t.record.candidate.task.key in kept]


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-transfer", action="store_true", help="only the online part")
    options = parser.parse_args()
    torch.set_num_threads(2)
    tested = [t for folder in BUNDLED_SETS for t in _parts(folder)[2]]
    figures, rows = online(tested, options.seed)
    print(figures, flush=True)
    if not options.no_transfer:
        ways = transfer(options.seed)
        figures |= {
            f"transfer_{name.replace(', ', '_').replace(' ', '_')}_pairwise": row["pairwise"]
            for row in ways
            for name in [row["training"]]
        }
        rows += ways
    write_results("adaptation", figures, rows)


if __name__ == "__main__":
    main()
