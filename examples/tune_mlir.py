"""An MLIR matrix product: its costs predicted before it is lowered, then a schedule searched and measured. Needs `pip
install 'foretune[mlir]'`.

python examples/tune_mlir.py --budget 24
"""

from __future__ import annotations

import argparse

from foretune.passes.mlir import MlirMeasurer, MlirProgram, MlirSession, MlirStrategyConfig, MlirTuneConfig, tune
from foretune.passes.mlir.costs.predict import predict

MODULE = """
func.func @main(%A: tensor<128x96xf32>, %B: tensor<96x160xf32>) -> tensor<128x160xf32> {
  %zero = arith.constant 0.0 : f32
  %empty = tensor.empty() : tensor<128x160xf32>
  %init = linalg.fill ins(%zero : f32) outs(%empty : tensor<128x160xf32>) -> tensor<128x160xf32>
  %C = linalg.matmul ins(%A, %B : tensor<128x96xf32>, tensor<96x160xf32>) outs(%init : tensor<128x160xf32>) -> tensor<128x160xf32>
  return %C : tensor<128x160xf32>
}
"""  # noqa: E501


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--budget", type=int, default=24, help="measurements")
    arguments = parser.parse_args()
    with MlirSession() as session:
        predicted = predict(session, MODULE).costs
        print(
            f"predicted for the default lowering: {predicted['secs'] * 1e6:.0f} microseconds,"
            f" {predicted['instructions']:.0f} instructions"
        )
        program = MlirProgram.of(session, "product", MODULE)
        result = tune(
            program, MlirMeasurer(session), MlirStrategyConfig("genetic").make, MlirTuneConfig(arguments.budget)
        )
    print(f"{result.gain:.2f} times as fast as the default lowering, by {len(result.trials)} measurements")
    print("; ".join(result.best.to_json()) or "the default lowering stays")


if __name__ == "__main__":
    main()
