"""Cost models on recorded schedules: how well the bundled latent model and a ridge regression rank what hardware
measured.

python examples/rank_schedules.py --tasks 12
"""

from __future__ import annotations

import argparse
from itertools import groupby

import numpy as np

from foretune.costmodel import LatentCostModel
from foretune.costmodel.metrics import pairwise_accuracy, top_k_score
from foretune.datasets import BUNDLED, RecordStore


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=12, help="tasks of the test split to look at")
    arguments = parser.parse_args()
    store, model, rng = RecordStore(BUNDLED), LatentCostModel.bundled(), np.random.default_rng(0)
    split = store.split()
    assert split is not None  # the bundled data has one
    measured = sorted(
        (t.record for t in store.trajectories(split.test) if t.record.run_secs and len(t.record.trace)),
        key=lambda r: r.candidate.task.key,
    )
    groups = [
        records
        for _, group in groupby(measured, key=lambda r: r.candidate.task.key)
        if len(records := list(group)) >= 16
    ]
    print(f"{'task':<40} {'records':>7} {'top-1':>6} {'pairs':>6} {'random top-1':>13}")
    for records in groups[: arguments.tasks]:
        task, secs = records[0].candidate.task, np.array([r.best_secs for r in records])
        scores = model.predict(task, [r.candidate for r in records])  # [N], higher is better; nothing is compiled
        chance = top_k_score(rng.random(len(secs)), secs, 1)
        print(
            f"{task.workload.name[:40]:<40} {len(records):>7} {top_k_score(scores, secs, 1):>6.3f}"
            f" {pairwise_accuracy(scores, secs):>6.3f} {chance:>13.3f}"
        )


if __name__ == "__main__":
    main()
