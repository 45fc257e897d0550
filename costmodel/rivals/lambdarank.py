"""LambdaRank with LightGBM: labels and parameters that every model trained with it shares.

Source: Burges, From RankNet to LambdaRank to LambdaMART, 2010; Ke et al., LightGBM, 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from foretune.costmodel.rivals.groups import graded_relevance

MAX_GROUP = 10_000
"""LightGBM's limit on candidates of one task."""

_LEVELS = 31  # LambdaRank wants whole-numbered relevance


def relevance(throughput: np.ndarray) -> np.ndarray:
    """Whole-numbered relevance of throughput relative to the task's best; [N]."""
    return np.round(graded_relevance(throughput) * _LEVELS)


def parameters(num_rows: int, seed: int, num_threads: int, **others: Any) -> dict[str, Any]:
    """LightGBM's parameters for so many candidates, and what a model adds to them."""
    return {
        "objective": "lambdarank",
        "label_gain": [2.0 ** (5 * i / _LEVELS) - 1 for i in range(_LEVELS + 1)],
        "metric": "None",
        "num_leaves": 31,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
        "seed": seed,
        "num_threads": num_threads,
        "min_data_in_leaf": min(20, max(1, num_rows // 20)),
        **others,
    }
