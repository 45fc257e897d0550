"""Vector loops and unrolled bodies: by hand on a matrix product, and against the programs that TVM really made."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from foretune.costmodel.latent.encoding import observed_space
from foretune.costmodel.latent.labels import group_by_task
from foretune.costmodel.schedules import generated_code, loopnest
from foretune.costmodel.schedules.generated_code import Access, Limits
from foretune.costmodel.schedules.template_walk import loop_nest
from foretune.datasets.records.store import BUNDLED, RecordStore

ROW, COL, RED = 0, 1, 2
C = Access(4.0, (((ROW, 1.0),), ((COL, 1.0),)), (64.0, 1.0))
A = Access(4.0, (((ROW, 1.0),), ((RED, 1.0),)), (32.0, 1.0))
B = Access(4.0, (((RED, 1.0),), ((COL, 1.0),)), (64.0, 1.0))
B_TRANSPOSED = Access(4.0, (((COL, 1.0),), ((RED, 1.0),)), (32.0, 1.0))


def code(order, accesses=(C, A, B), unroll=0.0, limit=64.0, enough=32.0, is_alone=True):
    """Features of a nest given as [(loop, extent)], outermost first."""
    origins = [node for node, _ in order]
    sizes = np.array([[float(extent) for _, extent in order]])
    is_reduce = [node == RED for node in origins]
    return generated_code.features(
        origins, is_reduce, sizes, accesses, Limits(limit, enough, np.array([unroll])), is_alone
    )[0]


def vector(features) -> float:
    return 2 ** (4 * features[0])


def unrolled(features) -> float:
    return 2 ** (8 * features[5])


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([(ROW, 64), (RED, 32), (COL, 64)], 64),
        ([(ROW, 64), (COL, 4), (RED, 32), (COL, 16)], 16),
        ([(ROW, 16), (COL, 4), (RED, 32), (ROW, 4), (COL, 16)], 16),  # rows of C are not next to each other
        ([(ROW, 16), (COL, 1), (RED, 32), (ROW, 4), (COL, 64)], 64),  # 256 would be too many
        ([(ROW, 64), (COL, 64), (RED, 32)], 1),  # a reduction is innermost
    ],
)
def test_the_vector_loop(order, expected):
    assert vector(code(order)) == expected


def test_the_innermost_loop_is_vectorised_even_if_a_buffer_is_not_contiguous():
    assert vector(code([(ROW, 64), (COL, 4), (RED, 32), (COL, 16)], (C, A, B_TRANSPOSED))) == 16


def test_unrolling_goes_outwards_from_the_vector_loop():
    order = [(ROW, 16), (COL, 4), (RED, 8), (ROW, 4), (RED, 4), (COL, 16)]
    assert [unrolled(code(order, unroll=float(u))) for u in (0, 3, 16, 100, 512)] == [1, 1, 16, 16, 512]


def test_outer_loops_are_fused_until_there_are_enough_chunks():
    order = [(ROW, 4), (COL, 4), (ROW, 8), (RED, 32), (ROW, 2), (COL, 16)]
    assert [2 ** (8 * code(order, enough=float(n))[17]) for n in (1, 4, 15, 16, 1000)] == [4, 16, 16, 128, 128]


def test_accumulators_of_the_unrolled_body():
    body = code([(ROW, 16), (COL, 4), (RED, 8), (ROW, 4), (RED, 4), (COL, 16)], unroll=16.0)
    assert 2 ** (4 * body[8]) == 4  # four rows of one vector
    assert body[13] == pytest.approx(np.log2(8) / 8)  # and they stay over the reduction around


def test_no_number_is_lost_on_the_way():
    features = code([(ROW, 1), (COL, 1), (RED, 1)])
    assert features.shape == (generated_code.NUM_FEATURES,) and np.isfinite(features).all()


@pytest.mark.parametrize("family", ["dense", "batch_matmul", "conv2d", "depthwise_conv2d", "reduction", "pooling"])
def test_vector_loops_are_those_of_tvms_programs(family):
    """Column 17 of TVM's per-store features is log2(1 + extent of the vector loops around the store)."""
    with RecordStore(BUNDLED) as store:
        wanted = {key for key, workload in store.workloads().items() if workload.family == family}
        groups = list(group_by_task(store.trajectories(frozenset(sorted(wanted)[:4]))).values())
    agree = []
    for members in groups:
        spaces = defaultdict(list)
        for trajectory in members:
            if trajectory.final:
                spaces[trajectory.record.trace.space_id].append(trajectory)
        for same in spaces.values():
            space, points = observed_space([t.record.trace for t in same])
            nest = loop_nest(space, same[0].record.candidate.task.workload.graph)
            found = 2 ** (4 * nest.features(points)[:, loopnest.NUM_NEST_FEATURES])
            for trajectory, extent in zip(same, found):
                agree.append(any(abs(max(1.0, 2 ** row[17] - 1) - extent) < 0.5 for row in trajectory.final))
    assert len(agree) >= 20 and np.mean(agree) >= 0.95
