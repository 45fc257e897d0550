"""An LLVM pass sequence for a small C program: searched, measured beside -O3, and explained. Needs LLVM 22 with clang
(`make llvm`).

python examples/tune_passes.py --budget 24
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from foretune.passes import PassMeasurer, PassMeasureSettings, PassTuneConfig, StrategyConfig, load_programs, tune

PROGRAM = r"""
#include <stdio.h>

enum { N = 120 };
static double a[N][N], b[N][N], c[N][N];

int main(void) {
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++)
      a[i][j] = (i * j + 1) % 7 / 7.0, b[i][j] = (i - j + N) % 5 / 5.0;
  for (int turn = 0; turn < 4; turn++)
    for (int i = 0; i < N; i++)
      for (int j = 0; j < N; j++)
        for (int k = 0; k < N; k++)
          c[i][j] += a[i][k] * b[k][j];
  double sum = 0;
  for (int i = 0; i < N; i++)
    for (int j = 0; j < N; j++)
      sum += c[i][j] * (i + 2 * j);
  printf("%.17g\n", sum);
  return 0;
}
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--budget", type=int, default=24, help="measurements")
    parser.add_argument("--search", default="latent", help="latent, genetic, random, greedy or bayesian")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, PassMeasurer(PassMeasureSettings()) as measurer:
        source = Path(folder) / "product.c"
        source.write_text(PROGRAM)
        [program] = load_programs(source, Path(folder))
        strategy = StrategyConfig(arguments.search)
        config = PassTuneConfig(arguments.budget)
        result = tune(program, measurer, lambda prepared: strategy.make(prepared, measurer, arguments.budget), config)
    print(f"{len(result.trials)} measurements: {result.statuses}")
    print(f"{result.gain:.3f} times as fast as -O3: opt {result.best}")


if __name__ == "__main__":
    main()
