"""The held-out subgraphs that `tuning.py` tunes: test workloads of the bundled data, one or more of each family that
has something to tune.
"""

from __future__ import annotations

import json
from functools import lru_cache

from foretune.compiler.tir.target import detect_target, parse_target
from foretune.datasets.records.store import BUNDLED, BUNDLED_SETS, RecordStore
from foretune.errors import DataError
from foretune.target import Target
from foretune.task import Task

HELD_OUT = {  # short name -> workload hash; the order is the order of tuning
    "conv2d_3x3": "ea07cd170fa4908a",  # 64 x 28 x 28 -> 64, add, relu
    "dense_gelu": "3cc95fbd727a3b80",  # 48 x 640 -> 320, add, gelu
    "softmax": "5003c4107694ec92",  # 96 x 1000
    "batch_matmul": "74bdf940f7b15683",  # 4 x 64 x 32 x 64
    "depthwise": "58c77830c3daba65",  # 96 x 28 x 28, 3x3, add, clip
    "matmul": "78cb9f0447d4f7e7",  # 384 x 384 x 384
    "group_norm": "b962715b2e9406fd",  # 64 x 32 x 32
    "conv2d_1x1": "f7ea6048fe26be8d",  # of ResNet, multiply, add
    "attention_scores": "1e2febb14cfe7b03",  # 2 heads, 200 x 48 x 200
    "reduction": "5bbca0f4c4faeaa3",  # sum over 16 x 8192
    "conv1d": "794ad3657dec1186",  # 32 x 400 -> 64, 9 wide, stride 2, add, relu
    "conv_transpose": "ab1b6322e74d695d",  # 24 x 20 x 20 -> 24, 3x3, add
    "group_conv2d": "1da3bd23481f7d2f",  # 32 x 28 x 28 -> 64 in 4 groups, add
    "conv2d_mobile": "1aa827d2ec037655",  # of MobileNet: first layer, multiply, add, clip
    "attention_softmax": "05191e42d516a7a6",  # 12 heads, softmax and broadcast
    "conv3d": "be933d1c04af6e9c",  # 16 x 6 x 10 x 10 -> 32, 3x3x3, add
}


def check_held_out() -> None:
    """Makes sure that no model with bundled weights has seen the subgraphs.

    Raises:
        DataError: one is in the training or validation split of a bundled set, or in none.
    """
    held_out = set(HELD_OUT.values())
    for folder in BUNDLED_SETS:
        with RecordStore(folder) as store:
            split = store.split()
        if wrong := sorted(held_out & (split.train | split.validation)):
            raise DataError(f"the tuned subgraphs must be held out, but {wrong} train or validate in {folder.name}")
        if missing := sorted(held_out - split.test):
            raise DataError(f"the tuned subgraphs must be in the test split of {folder.name}, but {missing} are not")


@lru_cache(maxsize=1)
def host_target(num_threads: int) -> Target:
    """This machine with so many threads; with one, what the bundled data `cpu` was measured for."""
    return parse_target(json.dumps({**detect_target().to_dict(), "num-cores": num_threads}))


def held_out_task(name: str, num_threads: int) -> Task:
    """A subgraph as a tuning task for this machine."""
    with RecordStore(BUNDLED) as store:
        return store.entries()[HELD_OUT[name]].task(host_target(num_threads))
