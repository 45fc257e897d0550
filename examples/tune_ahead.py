"""A model tuned ahead of time into one file, and the file run: `foretune.tune` and `foretune.load`.

python examples/tune_ahead.py --out mlp.foretune
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

import foretune


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("mlp.foretune"), help="file to write")
    parser.add_argument(
        "--trials", type=int, default=16, help="measurements for each tuning task; 0 lets the model alone decide"
    )
    parser.add_argument("--database", default="", help="file of measured records; by default the user's own")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)).eval(), (torch.randn(8, 64),)
    report = foretune.tune(model, inputs, out=arguments.out, trials=arguments.trials, database=arguments.database)
    print(
        f"{report.out}: {report.graph.num_tasks} kernels, {report.graph.num_trials} measurements, run by"
        f" {report.graph.choice.name}"
    )
    run = foretune.load(arguments.out)  # builds the kernels, measures nothing
    with torch.no_grad():
        print(f"largest difference from eager: {(run(*inputs) - model(*inputs)).abs().max():.1e}")


if __name__ == "__main__":
    main()
