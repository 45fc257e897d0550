"""The archive: one trace of each kind, the fastest."""

from __future__ import annotations

import numpy as np

from foretune import Candidate, DesignSpace, Domain, MeasureRecord, Status
from foretune.costmodel.planning.archive import Archive, cells
from foretune.testing.synthetic import SPACE, TASK, TEMPLATE, seconds, synthetic_trajectories


def record(trace, secs: float) -> MeasureRecord:
    return MeasureRecord(Candidate(TASK, trace), Status.OK, (secs,))


def point(rows: tuple[int, int], columns: tuple[int, int], unroll: int = 0) -> np.ndarray:
    return np.array([SPACE.domains[0].index[rows], SPACE.domains[1].index[columns], unroll])


def test_cells_tell_kinds_apart():
    points = np.stack(
        [
            point((16, 4), (4, 16)),
            point((16, 4), (4, 16), 2),
            point((16, 4), (8, 8)),
            point((2, 32), (4, 16)),
            point((64, 1), (4, 16)),
        ]
    )
    found = cells(SPACE, points)
    assert found.shape == (5, 3) and found.dtype == np.int64
    assert found[0].tolist() == [4, 3, 2]  # a vector of 2^4, inner tiles of 2^6, 2^6 outermost iterations
    assert (found[0] == found[1]).all() and len(np.unique(found, axis=0)) == 4


def test_spaces_without_tiles_are_one_cell():
    untiled = DesignSpace(TEMPLATE, (Domain(7, (0, 1, 2)),))
    assert not cells(untiled, untiled.sample(np.random.default_rng(0), 5)).any()
    assert cells(DesignSpace(TEMPLATE, ()), np.zeros((2, 0), np.int64)).shape == (2, 3)


def test_each_cell_keeps_its_fastest():
    records = [t.record for t in synthetic_trajectories(200, 0)]
    archive = Archive.of([SPACE], records)
    elites = archive.elites()
    assert len(elites) == len(archive) == len({tuple(cells(SPACE, SPACE.encode(t)[None])[0]) for t in elites}) > 8
    assert [seconds(t) for t in elites] == sorted(seconds(t) for t in elites)
    assert seconds(elites[0]) == min(r.best_secs for r in records)
    assert archive.elites(3) == elites[:3]
    before = len(archive)
    archive.add([record(elites[0], 1.0), record(elites[-1], 1e-9)])
    assert len(archive) == before and archive.elites(1) == [elites[-1]]


def test_failures_and_strangers_are_left_out():
    failed = MeasureRecord(Candidate(TASK, TEMPLATE), Status.RUN_ERROR, error="boom")
    outside = TEMPLATE.with_decisions([(2, (7, 7))])
    assert not Archive.of([SPACE], [failed, record(outside, 1.0)]).elites()
    assert not Archive.of([], [record(TEMPLATE, 1.0)]).elites()
