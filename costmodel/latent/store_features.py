"""Reading MetaSchedule's per-store features: 164 columns for each store of the final program.

Layout as of TVM's `per_store_feature.cc`, with up to 5 buffers: 57 of arithmetic and loops, 18 for each buffer, 10 of
arithmetic intensity, 4 of the written buffer's size, 3 of the loops around. All but flags are log2(1 + x) already.

Dimension letters: N candidates, S stores, F features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NUM_COLUMNS = 164
FLOAT_OPERATIONS = slice(0, 7)
NUM_BUFFERS, BUFFER_COLUMNS, _BUFFERS_START = 5, 18, 57
BUFFER_BYTES, BUFFER_UNIQUE_BYTES = 3, 4  # columns of one buffer
WRITTEN_BYTES = 157
NUM_LOOPS = 162

_LARGEST = 3


def largest_first(final: np.ndarray) -> np.ndarray:
    """The stores of a program [S, F], those with the most arithmetic first; as they come where the layout is
    unknown.
    """
    if final.shape[1] != NUM_COLUMNS:
        return final
    return final[np.argsort(-final[:, FLOAT_OPERATIONS].max(1), kind="stable")]


def pool_stores(finals: Sequence[np.ndarray]) -> np.ndarray:
    """Programs as vectors of one length: the largest three stores, the sum over all stores, and their number.

    Of the poolings tried (first, largest, sum, maximum, mean and combinations), this had the best validation score.

    Args:
        finals: [S, F] each, at least one store.

    Returns:
        [N, 4 * F + 1] float32.
    """
    width = finals[0].shape[1]
    out = np.zeros((len(finals), (_LARGEST + 1) * width + 1), np.float32)
    for row, final in zip(out, finals):
        largest = largest_first(final)[:_LARGEST]
        row[: largest.size] = largest.reshape(-1)
        row[_LARGEST * width : -1] = final.sum(0)
        row[-1] = len(final)
    return out


def buffer_rows(final: np.ndarray) -> np.ndarray:
    """The buffer accesses of a program in program order, without padding; [number of accesses, BUFFER_COLUMNS + 1].

    The last column is log2(1 + position of the store). No rows where the layout is unknown.
    """
    if final.shape[1] != NUM_COLUMNS:
        return np.zeros((0, BUFFER_COLUMNS + 1), np.float32)
    stop = _BUFFERS_START + NUM_BUFFERS * BUFFER_COLUMNS
    rows = final[:, _BUFFERS_START:stop].reshape(-1, BUFFER_COLUMNS)
    position = np.repeat(np.log2(1.0 + np.arange(len(final))), NUM_BUFFERS)[:, None]
    return np.concatenate([rows, position], 1)[rows[:, BUFFER_BYTES] > 0].astype(np.float32)
