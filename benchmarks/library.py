"""Tuned operators against the framework's library (oneDNN): `python benchmarks/library.py [--threads 2] [--trials 64]`.

Dense layers, batched products and convolutions over a spread of shapes, each with what usually follows it, so that
there is something to fuse; and each alone. Foretune's kernels and PyTorch's eager operators are measured in turns, in
rounds, after tuning; medians over rounds. Eager time has the call of the operator in it, some microseconds, which is
why no shape is tiny. Records are kept in `runs/library_THREADS.db`, so that the command goes on where it was stopped.
Needs a quiet machine.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from results import write_results
from torch import nn
from tuning_report import geomean
from tuning_workloads import host_target

from foretune.compiler.measure.measurer import Measurer
from foretune.compiler.metaschedule.tuner import Tuner
from foretune.compiler.metaschedule.tuner_config import TunerConfig
from foretune.compiler.pytorch import importer
from foretune.costmodel.latent.model import LatentCostModel
from foretune.datasets.records.database import Database
from foretune.record import MeasureSettings, Status
from foretune.task import Candidate

ROUNDS = 7
_MIN_SECS = 0.02


class Product(nn.Module):
    """A batched matrix product."""

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """[B, M, K] @ [B, K, N]."""
        return a @ b


def _conv(
    channels: int, size: int, out: int, kernel: int, stride: int = 1, fused: bool = True
) -> tuple[nn.Module, tuple]:
    layer = nn.Conv2d(channels, out, kernel, stride, kernel // 2)
    return (nn.Sequential(layer, nn.ReLU()) if fused else layer), (torch.randn(1, channels, size, size),)


def _dense(rows: int, inputs: int, outputs: int, fused: bool = True) -> tuple[nn.Module, tuple]:
    layer = nn.Linear(inputs, outputs)
    return (nn.Sequential(layer, nn.GELU()) if fused else layer), (torch.randn(rows, inputs),)


def _product(batch: int, m: int, k: int, n: int) -> tuple[nn.Module, tuple]:
    return Product(), (torch.randn(batch, m, k), torch.randn(batch, k, n))


CASES: dict[str, Callable[[], tuple[nn.Module, tuple]]] = {
    "conv 64x56x56 3x3 relu": lambda: _conv(64, 56, 64, 3),
    "conv 128x28x28 3x3 relu": lambda: _conv(128, 28, 128, 3),
    "conv 256x14x14 3x3 relu": lambda: _conv(256, 14, 256, 3),
    "conv 512x7x7 3x3 relu": lambda: _conv(512, 7, 512, 3),
    "conv 256x14x14 1x1 relu": lambda: _conv(256, 14, 256, 1),
    "conv 64x56x56 1x1": lambda: _conv(64, 56, 128, 1, fused=False),
    "conv 128x28x28 3x3 stride 2": lambda: _conv(128, 28, 128, 3, 2, fused=False),
    "conv 3x112x112 7x7 stride 2 relu": lambda: _conv(3, 112, 64, 7, 2),
    "dense 512x512x512": lambda: _dense(512, 512, 512, fused=False),
    "dense 128x768x768 gelu": lambda: _dense(128, 768, 768),
    "dense 16x512x512": lambda: _dense(16, 512, 512, fused=False),
    "dense 1x1024x1024": lambda: _dense(1, 1024, 1024, fused=False),
    "product 8x128x64x128": lambda: _product(8, 128, 64, 128),
    "product 12x197x197x64": lambda: _product(12, 197, 197, 64),
    "product 1x384x384x384": lambda: _product(1, 384, 384, 384),
}


def eager_secs(module: nn.Module, inputs: tuple) -> float:
    """Seconds of one call, the fastest of a few repeats."""
    with torch.inference_mode():
        count = 1
        while True:
            start = time.perf_counter()
            for _ in range(count):
                module(*inputs)
            secs = time.perf_counter() - start
            if secs > _MIN_SECS:
                break
            count *= 2
        best = secs / count
        for _ in range(2):
            start = time.perf_counter()
            for _ in range(count):
                module(*inputs)
            best = min(best, (time.perf_counter() - start) / count)
    return best


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--only", default="", help="cases whose names contain this")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    target = host_target(options.threads)
    path = Path(__file__).parent.parent / "runs" / f"library_{options.threads}.db"
    path.parent.mkdir(exist_ok=True)
    model, rows = LatentCostModel.bundled(), []
    settings = MeasureSettings(repeat=3, min_repeat_ms=20.0)
    with (
        Database(path) as database,
        Measurer(num_threads=options.threads) as tuning,
        Measurer(settings, options.threads, num_workers=1) as comparing,
    ):
        for name, make in CASES.items():
            if options.only not in name:
                continue
            module, inputs = make()
            module = module.eval()
            tasks = [t.task for t in importer.module_tasks(module, inputs, target)]
            report = Tuner(model, database, TunerConfig(trials=options.trials), tuning).tune(tasks)
            candidates = [Candidate(task, report.chosen[task.workload.hash]) for task in tasks]
            ours, theirs = [], []
            for _ in range(ROUNDS):
                records = comparing.measure(candidates)
                if all(r.status is Status.OK for r in records):
                    ours.append(sum(r.best_secs * t.weight for r, t in zip(records, tasks)))
                theirs.append(eager_secs(module, inputs))
            rewritten = any(t.workload.rewrite_of(c.trace) is not None for t, c in zip(tasks, candidates))
            row = {
                "case": name,
                "threads": options.threads,
                "trials": report.num_trials + report.num_reused,
                "packed": rewritten,
            }
            row |= {"foretune_secs": statistics.median(ours), "eager_secs": statistics.median(theirs)}
            rows.append(row | {"speedup": row["eager_secs"] / row["foretune_secs"]})
            print(
                f"{name}: {rows[-1]['speedup']:.2f} ({row['foretune_secs'] * 1e6:.0f} us, eager"
                f" {row['eager_secs'] * 1e6:.0f})",
                file=sys.stderr,
                flush=True,
            )
    kinds = {kind: [r["speedup"] for r in rows if r["case"].startswith(kind)] for kind in ("conv", "dense", "product")}
    figures = {f"{kind}_speedup": geomean(values) for kind, values in kinds.items() if values}
    figures |= {
        "speedup": geomean([r["speedup"] for r in rows]),
        "share_at_95_percent": statistics.fmean(r["speedup"] >= 0.95 for r in rows),
    }
    if not options.only:
        write_results("library" if options.threads == 2 else f"library_{options.threads}", figures, rows)


if __name__ == "__main__":
    main()
