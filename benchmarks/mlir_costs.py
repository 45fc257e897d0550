"""The costs of MLIR modules on held-out programs, both tiers: `python benchmarks/mlir_costs.py [--data DIR]
[--rival-secs 90] [--foreign DIR]`.

The exact tier compiles `--exact-samples` of the test programs for the processor that they were labelled for, and runs
them here; its time is predicted from the labels' counts of all of them. `--foreign` names a folder of `.mlir` files
that nobody here wrote (fetched for the run): there the fast tier is compared with the exact one's counts, and
`fast_coverage_90` is the share of them inside of the stated interval. A factor is how many times too large or too small
a number is; of both tiers and both lists of modules the rows have its median, its 90th percentile and the worst, and
milliseconds of a module (`exact`: one module a request, llvm-mca included; `fast`: in the worker and in the model).

The learned model, which is the fast tier, is the bundled one. Rivals are trained here on the same training programs: an
LSTM, a one-dimensional convolution and a transformer over the module's text, LightGBM and ridge regression on counts.
All are scored on the same programs, none of which, nor any schedule of which, was trained on. Two stages: the module as
it was given (linalg, affine, scf, vectors; some after a schedule) and the same module lowered to the LLVM dialect.
`rel_rmse` is the root of the mean of squared relative errors of single programs; what papers divide by the mean or the
range is in the rows beside it. The callback is timed on this machine.
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
from foretune.costmodel.mlir.model import COUNTED, MlirCostModel, MlirPrediction
from foretune.costmodel.mlir.network import LABELS
from foretune.costmodel.mlir.target import MlirTarget, similar_target
from foretune.costmodel.mlir.time_model import MlirTimeModel
from foretune.costmodel.rivals.mlir_text import COUNT_RIVALS, TEXT_RIVALS, CountRival, TextExample, TextRival
from foretune.errors import ForetuneError
from foretune.passes.mlir.costs import training
from foretune.passes.mlir.costs.exact import ExactSession
from foretune.passes.mlir.costs.observe import BUNDLED, Observation, observe
from foretune.passes.mlir.costs.tiers import TierSettings, predict_costs
from foretune.passes.mlir.costs.time_training import score_time
from foretune.passes.mlir.environment.session import SessionSettings
from foretune.passes.mlir.grammar.actions import Schedule
from foretune.passes.mlir.programs.generator import FAMILIES, generate

EXACT_SHOWN = ("registers", "instructions", "mca_cycles", "dynamic_instructions", "bytes_read", "bytes_written")
SHOWN = (
    "instructions",
    "registers",
    "mca_cycles",
    "mca_throughput",
    "dynamic_instructions",
    "bytes_read",
    "bytes_written",
    "spills",
    "vector_share",
    "secs",
)


def text_examples(observed: list[Observation]) -> list[TextExample]:
    """What the rivals see of modules as they were given."""
    return [
        TextExample(o.text, t.features, to_scale(o.sample.labels)) for o, t in zip(observed, training.targets(observed))
    ]


def row(name: str, stage: str, figures: dict[str, Any], secs: float | None = None) -> dict[str, Any]:
    """One line of the results."""
    return {
        "model": name,
        "stage": stage,
        "train_secs": secs,
        **{k: v for k, v in figures.items() if k in (*SHOWN, "programs")},
    }


def rivals(split: training.Split, budget_secs: float) -> list[dict[str, Any]]:
    """Trains and scores every rival."""
    given = {side: [o for o in getattr(split, side) if o.stage == "given"] for side in ("train", "validation", "test")}
    examples = {side: text_examples(observed) for side, observed in given.items()}
    rows = []
    for kind in (*COUNT_RIVALS, *TEXT_RIVALS):
        model = TextRival(kind, budget_secs=budget_secs) if kind in TEXT_RIVALS else CountRival(kind)
        start = time.monotonic()
        model.fit(examples["train"], examples["validation"])
        rows.append(
            row(
                kind,
                "given",
                training.score(model.predict(examples["test"]), given["test"]),
                round(time.monotonic() - start, 1),
            )
        )
        print(
            json.dumps(
                {
                    kind: {name: rows[-1][name].get("rel_rmse") for name in SHOWN[:3]},
                    "spearman_time": rows[-1]["secs"]["spearman"],
                }
            ),
            flush=True,
        )
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
    return {"median": statistics.median(taken), "p90": _quantile(taken, 0.9), "largest": max(taken)}


def exact_tier(split: training.Split, samples: int, rocketlake: str = "rocketlake") -> tuple[dict[str, Any], list]:
    """Errors and milliseconds of the exact tier on some test programs, and its row; samples without a processor were
    labelled on one that LLVM calls rocketlake.
    """
    given = [o for o in split.test if o.stage == "given"]
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in EXACT_SHOWN}
    ms, core_ms, refused = [], [], 0
    with ExactSession() as session:
        for o in given[:: max(1, len(given) // samples)]:
            lowering = Schedule.of(
                *(a for a in o.sample.schedule if a.startswith("lower{"))
            )  # the text is that after the other actions
            start = time.perf_counter()
            [counts] = session.count_all([o.text], o.sample.cpu or rocketlake, lowering)
            ms.append((time.perf_counter() - start) * 1e3)
            if isinstance(counts, Exception) or counts.stopped:
                refused += 1
                continue
            core_ms.append(counts.ms["core"])
            for name, found in pairs.items():
                if o.sample.labels.get(name):
                    found.append((counts.labels[name], o.sample.labels[name]))
    figures: dict[str, Any] = {"exact_samples": len(ms), "exact_not_run": refused}
    for name, found in pairs.items():
        got, wanted = np.array(found).T
        figures[f"rel_rmse_{name}"] = float(np.sqrt(np.mean(np.square(got / wanted - 1))))
        figures[f"median_error_{name}"] = float(np.median(np.abs(got / wanted - 1)))
        figures[f"rmse_over_range_{name}"] = float(np.sqrt(np.mean(np.square(got - wanted))) / np.ptp(wanted))
    figures |= {
        "exact_ms_median": statistics.median(ms),
        "exact_ms_p90": _quantile(ms, 0.9),
        "exact_core_ms_median": statistics.median(core_ms),
    }
    return figures, [tier_row("exact", "test split", {name: _factors(found) for name, found in pairs.items()}, ms)]


def fast_on_test(model: MlirCostModel, split: training.Split) -> list[dict[str, Any]]:
    """The row of the fast tier on the test programs as they were given."""
    test = [o for o in split.test if o.stage == "given"]
    mean, _ = model.predict_corrected([o.program for o in test], training.targets(test))
    truth = np.stack([to_scale(o.labels) for o in test])
    factors = {}
    for i, name in enumerate(LABELS):
        if "share" not in name:
            known = np.isfinite(truth[:, i])
            factors[name] = np.exp(np.abs(mean[known, i] - truth[known, i])).tolist()
    return [tier_row("fast", "test split", factors, [])]


def foreign_modules(folder: Path, limit: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Both tiers on modules from elsewhere: figures, and a row for each tier."""
    parts = [
        part
        for path in sorted(folder.rglob("*.mlir"))
        for part in path.read_text(errors="replace").split("// -----")
        if part.strip()
    ]
    target, settings = similar_target(), SessionSettings(build_timeout_secs=20)
    factors: dict[str, list[float]] = {name: [] for name in (*EXACT_SHOWN, "secs")}
    ms: dict[str, list[float]] = {"exact": [], "fast": []}
    inside, counted, refused = [], 0, 0
    with ExactSession(settings) as session:
        for text in parts[:: max(1, len(parts) // limit)]:
            try:
                exact, fast = (_timed(session, text, target, tier, ms[tier]) for tier in ("exact", "fast"))
            except ForetuneError:
                refused += 1
                continue
            counted += exact.sources.get("dynamic_instructions") == COUNTED
            for name, found in factors.items():
                if name == "secs" and name in exact.costs and exact.sources.get("dynamic_instructions") == COUNTED:
                    found += _factors([(fast.costs[name], exact.costs[name])], least=1e-9)
                elif exact.sources.get(name) == COUNTED:
                    low, high = fast.interval(name)
                    inside.append(low - 0.5 <= exact.costs[name] <= high + 0.5)
                    found += _factors([(fast.costs[name], exact.costs[name])])
    every = [f for name in EXACT_SHOWN for f in factors[name]]
    figures = {
        "fast_median_factor_foreign": statistics.median(every),
        "fast_p90_factor_foreign": _quantile(every, 0.9),
        "fast_worst_factor_foreign": max(every),
        "fast_coverage_90": statistics.mean(inside),
        "foreign_counted": counted,
        "foreign_refused": refused,
    }
    return figures, [tier_row("exact", "foreign", {}, ms["exact"]), tier_row("fast", "foreign", factors, ms["fast"])]


def _timed(session: ExactSession, text: str, target: MlirTarget, tier: str, ms: list[float]) -> MlirPrediction:
    start = time.perf_counter()
    made = predict_costs(session, text, target, settings=TierSettings(tier))
    ms.append((time.perf_counter() - start) * 1e3)
    return made


def _factors(pairs: list[tuple[float, float]], least: float = 0.5) -> list[float]:
    """How many times too large or too small predicted numbers are."""
    return [max(p, t) / min(p, t) for p, t in ((max(p, least), max(t, least)) for p, t in pairs)]


def tier_row(tier: str, modules: str, factors: dict[str, list[float]], ms: list[float]) -> dict[str, Any]:
    """A line of the results: p50, p90 and the worst of a tier's factors, for each cost, and of its milliseconds."""
    told: dict[str, Any] = {"tier": tier, "modules": modules}
    for name, values in {**factors, "ms": ms}.items():
        if values:
            told[name] = {
                "number": len(values),
                "p50": _quantile(values, 0.5),
                "p90": _quantile(values, 0.9),
                "worst": max(values),
            }
    return told


def _quantile(values: list[float], share: float) -> float:
    return float(np.quantile(values, share))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=BUNDLED)
    parser.add_argument("--rival-secs", type=float, default=90.0)
    parser.add_argument("--exact-samples", type=int, default=300)
    parser.add_argument("--foreign", type=Path, default=None)
    parser.add_argument("--foreign-modules", type=int, default=300)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    observe(arguments.data)
    split, model = training.load_split(arguments.data), MlirCostModel.bundled()
    rows = []
    for stage in ("given", "llvm"):
        test = [o for o in split.test if o.stage == stage]
        rows.append(row("foretune", stage, training.score_model(model, test)))
        rows.append(
            row(
                "foretune, plain lowering",
                stage,
                training.score_model(model, [o for o in test if not o.sample.schedule]),
            )
        )
    rows.append(row("foretune, schedules rolled out", "given", training.score_rollouts(model, split.test)))
    print(
        json.dumps(
            {
                r["model"] + " " + r["stage"]: {
                    name: {k: round(v, 3) for k, v in r[name].items()} for name in (*SHOWN[:3], "secs")
                }
                for r in rows
            },
            indent=1,
        ),
        flush=True,
    )
    exact, tiers = exact_tier(split, arguments.exact_samples)
    tiers += fast_on_test(model, split)
    timed, foreign = score_time(MlirTimeModel.load(), split), {}
    if arguments.foreign is not None:
        foreign, more = foreign_modules(arguments.foreign, arguments.foreign_modules)
        tiers += more
    print(json.dumps({**exact, **timed, **foreign}), flush=True)
    rows += rivals(split, arguments.rival_secs)
    own, ms = rows[0], callback_ms(model)
    tuning = FOLDER / "mlir_tuning.json"
    matmul = json.loads(tuning.read_text())["figures"].get("matmul_vs_best_rival") if tuning.exists() else None
    others = [r for r in rows if r["model"] in (*TEXT_RIVALS, *COUNT_RIVALS)]
    figures = {
        **exact,
        "spearman_time": timed["spearman"],
        "rel_rmse_secs": timed["rel_rmse"],
        "secs_coverage_90": timed["within_90"],
        "matmul_vs_best_rival": matmul,
        **{
            f"fast_rel_rmse_{name}": own[name]["rel_rmse"]
            for name in ("registers", "instructions", "mca_cycles", "secs")
        },
        "fast_spearman_time": own["secs"]["spearman"],
        **{f"fast_median_error_{name}": own[name]["median"] for name in ("registers", "instructions", "mca_cycles")},
        **{
            f"fast_rmse_over_range_{name}": own[name]["rmse_over_range"]
            for name in ("registers", "instructions", "mca_cycles")
        },
        **foreign,
        "fast_ms_p90": ms["p90"],
        **{
            f"best_rival_rel_rmse_{name}": min(r[name]["rel_rmse"] for r in others)
            for name in ("registers", "instructions", "mca_cycles")
        },
        "best_rival_spearman_time": max(r["secs"]["spearman"] for r in others),
        "fast_ms_median": ms["median"],
        "fast_ms_largest": ms["largest"],
        "num_test_samples": own["programs"],
        "num_train_samples": int(np.sum([o.stage == "given" for o in split.train])),
    }
    write_results("mlir", figures, rows + tiers)


if __name__ == "__main__":
    main()
