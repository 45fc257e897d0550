"""The MLIR cost model on held-out programs, beside its rivals: `python benchmarks/mlir_costs.py [--data DIR] [--rival-secs 90]`.

The model is the bundled one. Rivals are trained here on the same training programs: an LSTM, a one-dimensional convolution and a
transformer over the module's text, LightGBM and ridge regression on counts. All are scored on the same programs, none of which,
nor any schedule of which, was trained on. Two stages: the module as it was given (linalg, affine, scf, vectors; some after a
schedule) and the same module lowered to the LLVM dialect. `rel_rmse` is the root of the mean of squared relative errors of
single programs; what papers divide by the mean or the range is in the rows beside it. The callback is timed on this machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results import FOLDER, write_results

from foretune.costmodel.mlir.labels import to_scale
from foretune.costmodel.mlir.model import MlirCostModel
from foretune.costmodel.rivals.mlir_text import COUNT_RIVALS, TEXT_RIVALS, CountRival, TextExample, TextRival
from foretune.passes.mlir.costs import training
from foretune.passes.mlir.costs.observe import BUNDLED, Observation, observe
from foretune.passes.mlir.programs.generator import FAMILIES, generate

SHOWN = ("instructions", "registers", "mca_cycles", "mca_throughput", "dynamic_instructions", "bytes_read", "bytes_written", "spills", "vector_share", "secs")


def text_examples(observed: list[Observation]) -> list[TextExample]:
    """What the rivals see of modules as they were given."""
    return [TextExample(o.text, t.features, to_scale(o.sample.labels)) for o, t in zip(observed, training.targets(observed))]


def row(name: str, stage: str, figures: dict[str, Any], secs: float | None = None) -> dict[str, Any]:
    """One line of the results."""
    return {"model": name, "stage": stage, "train_secs": secs, **{k: v for k, v in figures.items() if k in (*SHOWN, "programs")}}


def rivals(split: training.Split, budget_secs: float) -> list[dict[str, Any]]:
    """Trains and scores every rival."""
    given = {side: [o for o in getattr(split, side) if o.stage == "given"] for side in ("train", "validation", "test")}
    examples = {side: text_examples(observed) for side, observed in given.items()}
    rows = []
    for kind in (*COUNT_RIVALS, *TEXT_RIVALS):
        model = TextRival(kind, budget_secs=budget_secs) if kind in TEXT_RIVALS else CountRival(kind)
        start = time.monotonic()
        model.fit(examples["train"], examples["validation"])
        rows.append(row(kind, "given", training.score(model.predict(examples["test"]), given["test"]), round(time.monotonic() - start, 1)))
        print(json.dumps({kind: {name: rows[-1][name].get("rel_rmse") for name in SHOWN[:3]}, "spearman_time": rows[-1]["secs"]["spearman"]}), flush=True)
    return rows


def callback_ms(model: MlirCostModel) -> dict[str, float]:
    """Milliseconds of one prediction between passes, over a module of each family at both stages."""
    from foretune.passes.mlir.costs.callback import CostCallback
    from foretune.passes.mlir.costs.labelling import parse_quietly

    callback, taken = CostCallback(model), []
    for family in FAMILIES:
        module = parse_quietly(generate(family, 3).text)
        times = []
        for _ in range(5):
            callback.predict(module)
            times.append(callback.last_ms)
        taken.append(min(times))
    return {"median": statistics.median(taken), "largest": max(taken)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=BUNDLED)
    parser.add_argument("--rival-secs", type=float, default=90.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    observe(arguments.data)
    split, model = training.load_split(arguments.data), MlirCostModel.bundled()
    rows = []
    for stage in ("given", "llvm"):
        test = [o for o in split.test if o.stage == stage]
        rows.append(row("foretune", stage, training.score_model(model, test)))
        rows.append(row("foretune, plain lowering", stage, training.score_model(model, [o for o in test if not o.sample.schedule])))
    rows.append(row("foretune, schedules rolled out", "given", training.score_rollouts(model, split.test)))
    print(json.dumps({r["model"] + " " + r["stage"]: {name: {k: round(v, 3) for k, v in r[name].items()} for name in (*SHOWN[:3], "secs")} for r in rows}, indent=1), flush=True)
    rows += rivals(split, arguments.rival_secs)
    own, ms = rows[0], callback_ms(model)
    tuning = FOLDER / "mlir_tuning.json"
    matmul = json.loads(tuning.read_text())["figures"].get("matmul_vs_best_rival") if tuning.exists() else None
    others = [r for r in rows if r["model"] in (*TEXT_RIVALS, *COUNT_RIVALS)]
    figures = {
        **{f"rel_rmse_{name}": own[name]["rel_rmse"] for name in ("registers", "instructions", "mca_cycles")}, "spearman_time": own["secs"]["spearman"],
        "matmul_vs_best_rival": matmul,
        **{f"median_error_{name}": own[name]["median"] for name in ("registers", "instructions", "mca_cycles")},
        **{f"rmse_over_range_{name}": own[name]["rmse_over_range"] for name in ("registers", "instructions", "mca_cycles")},
        **{f"best_rival_rel_rmse_{name}": min(r[name]["rel_rmse"] for r in others) for name in ("registers", "instructions", "mca_cycles")},
        "best_rival_spearman_time": max(r["secs"]["spearman"] for r in others), "callback_ms_median": ms["median"], "callback_ms_largest": ms["largest"],
        "num_test_samples": own["programs"], "num_train_samples": int(np.sum([o.stage == "given" for o in split.train])),
    }  # fmt: skip
    write_results("mlir", figures, rows)


if __name__ == "__main__":
    main()
