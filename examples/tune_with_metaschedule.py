"""TVM's MetaSchedule with Foretune's cost model, search strategy, builder and runner: `tune_tir` on a matrix product
with a ReLU.

python examples/tune_with_metaschedule.py --trials 32
"""

from __future__ import annotations

import argparse
import tempfile

from foretune.compiler import ForetuneCostModel, LatentSearchStrategy, Measurer, builder_and_runner, detect_target


def matmul(n: int):
    """relu(A @ B) of n x n float32 matrices, as a TVM module."""
    import tvm
    from tvm import te

    a, b = te.placeholder((n, n), name="A"), te.placeholder((n, n), name="B")
    k = te.reduce_axis((0, n), "k")
    c = te.compute((n, n), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="C")
    d = te.compute((n, n), lambda i, j: tvm.tirx.max(c[i, j], 0.0), name="D")
    return tvm.IRModule({"main": te.create_prim_func([a, b, d])})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--size", type=int, default=256, help="rows and columns of the matrices")
    arguments = parser.parse_args()
    from foretune.compiler.tir._tvm import meta_schedule as ms
    from foretune.compiler.tir.target import tvm_target

    target = tvm_target(detect_target())
    with Measurer() as measurer, tempfile.TemporaryDirectory() as folder:
        database = ms.tune_tir(
            matmul(arguments.size), target, folder, max_trials_global=arguments.trials,
            cost_model=ForetuneCostModel(), strategy=LatentSearchStrategy(), **builder_and_runner(measurer),
        )  # fmt: skip
        best = database.query(matmul(arguments.size), target, kind="record")
    print(
        f"{len(database.get_all_tuning_records())} schedules measured; the best takes"
        f" {1e6 * min(float(s) for s in best.run_secs):.1f} microseconds"
    )


if __name__ == "__main__":
    main()
