"""Cost models on logs of other tuners: the latent model beside its rivals, in folds over workloads.

    python benchmarks/imported_logs.py 8124M=bert-B1-float32.kernel.log T4=t4-bert.kernel.log [--folds 5] [--models ...]

Each argument is a name and a log, or a folder of logs; TLCBench, TopHub and mlc-llm publish such logs. A workload of
BERT-base counts as often as one run of the network calls it (`--calls` reads other numbers); elsewhere each counts
once. Rivals that look at finished programs are left out, since these logs hold none.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from results import write_results

from foretune.costmodel.evaluation.evaluation import EvaluationConfig, EvaluationReport
from foretune.costmodel.evaluation.runs import read_calls, run_evaluation
from foretune.datasets.importers import import_logs
from foretune.datasets.records.store import RecordStore

MODELS = ("latent", "lightgbm_actions", "tlp", "mamba", "size", "random")
_LAYERS = 12  # of BERT-base


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="+", help="NAME=FILE, or NAME=FOLDER")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--seeds", default="0", help="comma-separated; figures are means over them")
    parser.add_argument("--calls", type=Path, help="JSON file {workload hash: calls}")
    parser.add_argument("--keep", type=Path, help="folder of data sets and results; a run that was stopped goes on")
    options = parser.parse_args()
    models = tuple(name.strip() for name in options.models.split(",") if name.strip())
    seeds = [int(seed) for seed in options.seeds.split(",")]
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        keep = options.keep or Path(temporary)
        for text in options.logs:
            name, _, log = text.partition("=")
            data, imported = keep / name / "data", None
            with RecordStore(data, writable=True) as store:
                imported = import_logs([Path(log)], store)
                calls = read_calls(options.calls) if options.calls else bert_calls(store)
            for seed in seeds:
                config = EvaluationConfig(models, seed, out=keep / name / "rows", calls=calls)
                report = run_evaluation([data], config, options.folds)
                rows += _rows(name, seed, report)
            print(f"{name}: {imported.num_records} records imported, {imported.num_bad} bad lines", file=sys.stderr)
            figures |= _figures(name, [row for row in rows if row["log"] == name])
    write_results("imported_logs", figures, rows)


def bert_calls(store: RecordStore) -> dict[str, float]:
    """Calls in one run of BERT-base of each of its workloads: once in each layer, the pooler's dense layer once."""
    found = {}
    for workload in store.workloads().values():
        try:
            _, arguments, _ = json.loads(workload.program)
            rows = arguments[0][1][0]
        except (ValueError, TypeError, IndexError):
            continue
        found[workload.hash] = 1.0 if rows == 1 else float(_LAYERS)
    return found


def _rows(name: str, seed: int, report: EvaluationReport) -> list[dict[str, Any]]:
    kept = ("top1_mean", "top1_sum", "top5_mean", "top5_sum", "pairwise", "spearman", "intervals", "train_secs")
    common = {"log": name, "seed": seed, **{k: report.data[k] for k in ("num_records", "num_folds")}}
    common["num_tasks"] = report.data["num_ranked_test_tasks"]
    rows = [{**common, "model": model, **{k: f[k] for k in kept}} for model, f in report.models.items()]
    return rows + [{**common, "model": model, "skipped": reason} for model, reason in report.skipped.items()]


def _figures(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds: for each model top-1 over tasks, the ratio of sums, and pairs."""
    figures: dict[str, Any] = {}
    for model in dict.fromkeys(row["model"] for row in rows if "skipped" not in row):
        own = [row for row in rows if row["model"] == model]
        for figure in ("top1_mean", "top1_sum", "pairwise"):
            figures[f"{name}_{model}_{figure}"] = sum(row[figure] for row in own) / len(own)
    return figures


if __name__ == "__main__":
    main()
