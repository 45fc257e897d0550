"""A made-up tuning problem with a known cost: no compiler, no clock."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from foretune import (
    Action,
    Candidate,
    DesignSpace,
    Domain,
    Edge,
    HardwareFeatures,
    MeasureRecord,
    Node,
    ProgramGraph,
    Status,
    Target,
    Task,
    Trace,
    Trajectory,
    Workload,
)
from foretune.space import factorizations

N = 64
GRAPH = ProgramGraph(
    (
        Node("root", "root", ()),
        Node("block", "C", (0.0, 2.0, 0.0, 12.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 4.0, 1.0)),
        Node("loop", "C/0", (6.0, 0.0, 0.0, 1.0, 6.0, 0.0)),
        Node("loop", "C/1", (6.0, 0.0, 1.0, 0.0, 6.0, 0.0)),
        Node("buffer", "C", (14.0, 12.0, 2.0, 4.0, 0.0, 1.0, 1.0)),
    ),
    (
        Edge(2, 1, "in"), Edge(3, 1, "in"), Edge(2, 3, "nest"), Edge(1, 4, "write"),
        Edge(2, 4, "access", (1.0, 1.0, 0.0, 1.0, 64.0, 1.0)), Edge(3, 4, "access", (1.0, 1.0, 1.0, 1.0, 1.0, 1.0)),
    ),
)  # fmt: skip
TASK = Task(Workload("synthetic", "", GRAPH, "synthetic", "elementwise"), Target("llvm", (), HardwareFeatures(cores=2)))
TEMPLATE = Trace(
    (
        Action("GetSBlock", (), ("C", "main"), ("b0",)),
        Action("GetLoops", ("b0",), (), ("l1", "l2")),
        Action("SamplePerfectTile", ("l1",), (2, 64), ("v3", "v4"), (8, 8)),
        Action("Split", ("l1", "v3", "v4"), (True, False), ("l5", "l6")),
        Action("SamplePerfectTile", ("l2",), (2, 64), ("v7", "v8"), (8, 8)),
        Action("Split", ("l2", "v7", "v8"), (True, False), ("l9", "l10")),
        Action("Reorder", ("l5", "l9", "l6", "l10")),
        Action("SampleCategorical", (), ((0, 16, 64), (0.3, 0.3, 0.4)), ("v11",), 0),
    )
)
SPACE = DesignSpace(
    TEMPLATE, (Domain(2, factorizations(N, 2, 64)), Domain(4, factorizations(N, 2, 64)), Domain(7, (0, 1, 2)))
)


def decided(trace: Trace) -> tuple[int, int, int]:
    """What a trace of the space decides: rows and columns of the inner tile, and how far to unroll."""
    rows, columns = (cast("tuple[int, int]", trace.actions[i].decision) for i in (2, 4))
    return rows[1], columns[1], cast(int, trace.actions[7].decision)


def seconds(trace: Trace) -> float:
    """Fastest with an inner tile of 4 x 16 and much unrolling."""
    rows, columns, unroll = decided(trace)
    return 1e-4 * math.exp(0.5 * abs(math.log2(rows) - 2) + 0.8 * abs(math.log2(columns) - 4) + 0.3 * (2 - unroll))


def synthetic_trajectories(num: int, seed: int, shuffle: bool = False) -> list[Trajectory]:
    """Measured points of the made-up space; `shuffle` gives each the time of another."""
    rng = np.random.default_rng(seed)
    traces = [SPACE.decode(p) for p in SPACE.sample(rng, num)]
    secs = np.array([seconds(t) for t in traces])
    if shuffle:
        rng.shuffle(secs)
    return [Trajectory(MeasureRecord(Candidate(TASK, t), Status.OK, (float(s),))) for t, s in zip(traces, secs)]
