"""What every cost model must do, whatever is inside. A subclass names the model; the made-up space is the data.

The made-up trajectories carry final-program features in MetaSchedule's layout, so that models that look at the finished
program can take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from foretune import Candidate, DataError, MeasureRecord, ModelError, Status, Trace, Trajectory
from foretune.costmodel.base import CostModel, Ranker, StaticCostModel
from foretune.costmodel.metrics import spearman
from foretune.testing.synthetic import TASK, decided, synthetic_trajectories


def final_features(trace: Trace) -> tuple[tuple[float, ...], ...]:
    """Features of a made-up final program with two stores: the extents and the unrolling are in some columns."""
    rows, columns, unroll = decided(trace)
    store = np.zeros(164)
    store[[0, 17, 28, 60, 61, 74, 162]] = (
        12.0,
        np.log2(columns),
        unroll,
        14.0,
        np.log2(rows * columns),
        np.log2(1 + rows),
        2.3,
    )
    return tuple(store), tuple(np.where(store > 4, 3.0, 0.0))


def with_finals(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """The same trajectories with the features of their final programs."""
    return [replace(t, final=final_features(t.record.trace)) for t in trajectories]


def featurize(task, candidates: Sequence[Candidate]) -> list[np.ndarray]:
    """The featurizer that belongs to `final_features`."""
    return [np.array(final_features(c.trace), np.float32) for c in candidates]


def measured(num: int, seed: int, shuffle: bool = False) -> list[Trajectory]:
    """Distinct measured points of the made-up space; `shuffle` gives each the time of another."""
    unique = {t.record.trace.key: t for t in synthetic_trajectories(4 * num, seed, shuffle)}
    return with_finals(list(unique.values())[:num])


def truth(trajectories: Sequence[Trajectory]) -> np.ndarray:
    """Minus the measured seconds: higher is better."""
    return np.array([-t.record.best_secs for t in trajectories])


def candidates_of(trajectories: Sequence[Trajectory]) -> list[Candidate]:
    return [t.record.candidate for t in trajectories]


class RankerContract:
    """Every ranker. Subclasses define `ranker` and `candidates`."""

    def ranker(self) -> Ranker:
        """One that can predict."""
        raise NotImplementedError

    def candidates(self) -> list[Candidate]:
        """Some of one task that the ranker knows; at least four."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def ranked(cls) -> tuple[Ranker, list[Candidate]]:
        """A ranker, which tests must not change, and candidates."""
        return cls().ranker(), cls().candidates()

    def test_one_score_a_candidate(self, ranked):
        ranker, candidates = ranked
        task = candidates[0].task
        scores = ranker.predict(task, candidates)
        assert scores.shape == (len(candidates),) and scores.dtype == np.float64 and np.isfinite(scores).all()
        assert ranker.predict(task, []).shape == (0,)

    def test_scores_do_not_depend_on_the_company(self, ranked):
        ranker, candidates = ranked
        task = candidates[0].task
        alone = np.concatenate([ranker.predict(task, [c]) for c in candidates[:4]])
        assert np.allclose(ranker.predict(task, candidates)[:4], alone, atol=1e-4)

    def test_measurements_of_all_kinds_are_taken(self):
        ranker, candidates = self.ranker(), self.candidates()
        failed = [MeasureRecord(c, status) for c, status in zip(candidates, (Status.ILLEGAL, Status.RUN_TIMEOUT))]
        ranker.update([])
        ranker.update(failed)
        ranker.update([MeasureRecord(c, Status.OK, (1e-3 * (i + 1),)) for i, c in enumerate(candidates[2:])])
        assert np.isfinite(ranker.predict(candidates[0].task, candidates)).all()


class CostModelContract(RankerContract):
    """Every cost model; it is a ranker once it is fitted.

    Subclasses define `make` and, where the model is limited by design, `learns` (a ranking of this space), `adapts`
    (to measurements) and `overfits` (rank correlation on sixteen records that it was trained on).
    """

    learns = True
    adapts = True
    overfits = 0.85

    def make(self, seed: int = 0) -> CostModel:
        """An untrained model."""
        raise NotImplementedError

    def fitted(self, trajectories: Sequence[Trajectory], seed: int = 0) -> CostModel:
        model = self.make(seed)
        model.fit(trajectories)
        self.bind(model)
        return model

    def ranker(self) -> Ranker:
        return self.fitted(measured(16, seed=3))

    def candidates(self) -> list[Candidate]:
        return candidates_of(measured(60, seed=0))

    @pytest.fixture(scope="class")
    @classmethod
    def ranked(cls, model, data) -> tuple[Ranker, list[Candidate]]:
        return model, candidates_of(data)

    def bind(self, model: CostModel) -> None:
        if isinstance(model, StaticCostModel):
            model.bind(featurize)

    @pytest.fixture(scope="class")
    @classmethod
    def data(cls) -> list[Trajectory]:
        return measured(60, seed=0)

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, data) -> CostModel:
        """Trained; tests must not change it."""
        return cls().fitted(data)

    def correlation(self, model: CostModel, trajectories: Sequence[Trajectory]) -> float:
        return spearman(model.predict(TASK, candidates_of(trajectories)), truth(trajectories))

    def test_overfits_sixteen_records(self):
        if not self.learns:
            pytest.skip("this model learns no ranking")
        few = measured(16, seed=3)
        assert self.correlation(self.fitted(few), few) > self.overfits

    def test_ranks_new_points_better_than_chance(self, model):
        if not self.learns:
            pytest.skip("this model learns no ranking")
        assert self.correlation(model, measured(150, seed=9)) > 0.5

    def test_shuffled_labels_teach_nothing(self):
        found = [
            self.correlation(self.fitted(measured(60, seed, shuffle=True)), measured(150, seed=9)) for seed in (0, 1)
        ]
        assert abs(np.mean(found)) < 0.45

    def test_same_seed_same_scores_and_default_schedules_are_left_out(self, model, data):
        default = replace(
            data[0], record=replace(data[0].record, candidate=Candidate(TASK, Trace(())), run_secs=(1e-9,))
        )
        candidates = candidates_of(data)
        again = self.fitted([*data, default]).predict(TASK, candidates)
        np.testing.assert_allclose(
            again, model.predict(TASK, candidates), rtol=1e-5, atol=1e-6
        )  # libraries round by where arrays lie in memory

    def test_save_and_load(self, model, data, tmp_path):
        model.save(tmp_path / "m")
        again = type(model).load(tmp_path / "m")
        self.bind(again)
        candidates = candidates_of(data)
        assert np.allclose(again.predict(TASK, candidates), model.predict(TASK, candidates), atol=1e-6)

    def test_damaged_files_are_refused_by_name(self, model, tmp_path):
        path = tmp_path / "some-model-file"
        with pytest.raises(ModelError, match=path.name):
            type(model).load(path)
        model.save(path)
        whole = path.read_bytes()
        for damaged in (b"", whole[:4], whole[:100], whole[:-1], b"\xff" * 64, b"\x80\x04\x95 not a pickle either"):
            path.write_bytes(damaged)
            with pytest.raises(ModelError, match=path.name):
                type(model).load(path)

    def test_nothing_to_learn_from(self):
        failed = [replace(t, record=MeasureRecord(t.record.candidate, Status.RUN_ERROR)) for t in measured(8, seed=0)]
        for useless in ([], measured(1, seed=0), failed):
            with pytest.raises(DataError):
                self.make().fit(useless)

    def test_validation_tasks_and_failed_candidates(self, data):
        model = self.make()
        model.fit(
            [Trajectory(MeasureRecord(data[0].record.candidate, Status.BUILD_ERROR)), *data[1:]], measured(20, seed=11)
        )
        self.bind(model)
        found = self.correlation(model, measured(150, seed=9))
        assert found > 0.4 if self.learns else np.isfinite(found)

    def test_update_takes_measurements(self, data):
        model = self.fitted(measured(10, seed=5, shuffle=True))
        before = self.correlation(model, measured(150, seed=9))
        model.update([t.record for t in data])
        after = self.correlation(model, measured(150, seed=9))
        assert after >= before + 0.1 if self.adapts and before < 0.5 else np.isfinite(after)
