"""How well models rank pass sequences of programs that they have not seen: `python benchmarks/pass_ranking.py [--data
DIR …] [--weights FILE]`.

The latent model sees the unoptimised program and the sequence alone; `lightgbm` and `ridge` see counts of the module
that the sequence made, for which each candidate must be compiled first. All are trained on the training programs, in
one run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from results import write_results

from foretune.costmodel.evaluation.evaluation import EvaluationConfig, evaluate
from foretune.costmodel.passes.model import PassCostModel
from foretune.passes.llvm.tuning.training import BUNDLED, read_data

RIVALS = ("lightgbm", "lightgbm_actions", "ridge", "random")
SHOWN = ("top1", "top5", "pairwise", "regret1", "regret5")


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", type=Path, default=[BUNDLED])
    parser.add_argument("--weights", type=Path, default=PassCostModel.bundled_path())
    options = parser.parse_args()
    data = read_data(options.data)
    config = EvaluationConfig(("passes", *RIVALS), weights={"passes": options.weights}, ties=True)
    report = evaluate(
        [*data.train, *data.validation, *data.test], data.split, config, lambda line: print(line, file=sys.stderr)
    )
    means = {
        name: {"top1": row["top1_mean"], "top5": row["top5_mean"], **{k: row[k] for k in SHOWN[2:]}}
        for name, row in report.models.items()
    }
    write_results(
        "pass_ranking",
        {f"{name}_{key}": value for name, row in means.items() for key, value in row.items()},
        [{"model": name, **row} for name, row in report.models.items()],
    )
    print(json.dumps(means, indent=1))


if __name__ == "__main__":
    main()
