"""What every domain must do, so that the loop and the searches of every domain can tune its programs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from foretune.record import Status
from foretune.tuning.domain import Built, Domain
from foretune.tuning.domains import tune_domain
from foretune.tuning.loop import TuneConfig, TuneResult
from foretune.tuning.search import STRATEGIES, Moves, RandomSearch


class DomainContract:
    """Every domain. Subclasses define `make`, and `noise` where times are not always the same."""

    budget = 16
    noise = 0.0

    def make(self) -> Domain[Any]:
        """A domain of one program, not prepared yet."""
        raise NotImplementedError

    def tuned(self, search: Any = RandomSearch, seed: int = 0, **config: Any) -> TuneResult[Any]:
        return tune_domain(self.make(), "program", search, seed, TuneConfig(**{"budget": self.budget, **config}))

    def drawn(self, domain: Domain[Any], num: int = 12) -> list[Any]:
        """Candidates by chance, each of them once."""
        moves = domain.moves(np.random.default_rng(0))
        candidates = [moves.decode(moves.random()) for _ in range(4 * num)]
        return list(dict.fromkeys(c for c in candidates if c is not None))[:num]

    @pytest.fixture
    def domain(self) -> Domain[Any]:
        domain = self.make()
        domain.prepare()
        return domain

    @pytest.fixture
    def moves(self, domain) -> Moves[Any]:
        return domain.moves(np.random.default_rng(0))

    def built(self, domain: Domain[Any]) -> list[Built[Any]]:
        return [built for built in map(domain.build, self.drawn(domain)) if built.status is Status.OK]

    def test_a_program_is_always_the_same(self):
        one, other = self.make().prepare(), self.make().prepare()
        assert one.task.key == other.task.key and one.task.workload.hash and one.code_hash == other.code_hash != ""

    def test_the_baseline_costs_one(self, domain, moves):
        built = domain.build(moves.base)
        measured = domain.time(built)
        assert built.status is Status.OK is measured.status and built.code_hash == domain.prepare().code_hash
        assert measured.cost == pytest.approx(1.0, rel=1e-6 + self.noise)

    def test_equal_candidates_give_equal_code(self, domain):
        for candidate in self.drawn(domain, 4):
            one, other = domain.build(candidate), domain.build(candidate)
            assert (one.candidate, one.status, one.code_hash) == (candidate, other.status, other.code_hash)
            assert (one.code_hash != "") == (one.status is Status.OK)

    def test_known_code_is_told_by_its_hash(self, domain):
        for built in self.built(domain)[:4]:
            assert domain.build(built.candidate, {built.code_hash}).code_hash == built.code_hash

    def test_failures_are_statuses(self, domain):
        for candidate in self.drawn(domain):
            built = domain.build(candidate)
            measured = domain.time(built)
            assert np.isfinite(measured.cost) == (measured.status is Status.OK) and measured.cost > 0
            assert measured.status is Status.OK or measured.error
            domain.discard(built)

    def test_what_is_stored_is_read_back(self, domain):
        if not domain.is_timed:
            pytest.skip("costs that are counted are not gone on from")
        for built in self.built(domain):
            measured = domain.time(built)
            assert measured.trajectory is not None, "a run that was stopped could not go on"
            record = measured.trajectory.record
            assert domain.read(record.trace) == built.candidate and record.status is measured.status
            assert record.program_hash == built.code_hash
            assert domain.stored_cost(record) == pytest.approx(measured.cost, rel=1e-6 + self.noise)

    def test_finalists_are_compared_in_order(self, domain):
        if not domain.is_timed:
            pytest.skip("costs that are counted need no second round")
        built = self.built(domain)[:2]
        compared = domain.compare(built, 3)
        assert len(compared) == len(built)
        for one, found in zip(built, compared):
            assert found.cost == pytest.approx(domain.time(one).cost, rel=1e-6 + 2 * self.noise)
            assert (found.comparison.gain > 0) == (found.comparison.status is Status.OK)

    def test_moves_lead_to_candidates(self, domain, moves):
        points = [moves.random() for _ in range(8)]
        points += [moves.mutate(point)[0] for point in points]
        points += [moves.cross(one, other) for one, other in pairwise(points)]
        candidates = {candidate for candidate in map(moves.decode, points) if candidate is not None}
        assert len(candidates) > 4, "moves that lead nowhere cannot be searched"
        assert all(moves.encode(candidate) is not None for candidate in candidates)

    @pytest.mark.parametrize("search", STRATEGIES.values(), ids=STRATEGIES)
    def test_a_run_keeps_to_its_budget(self, search):
        result = self.tuned(search)
        assert 0 < len(result.trials) <= self.budget and result.gain >= 1 and result.hash
        if not self.noise:
            again = self.tuned(search)
            assert [t.candidate for t in result.trials] == [t.candidate for t in again.trials]

    def test_a_run_goes_on(self, tmp_path):
        first = self.tuned(budget=self.budget // 2, store=tmp_path / "store")
        again = self.tuned(store=tmp_path / "store", seed=1)
        if self.make().is_timed:
            assert again.num_reused > 0
            measured = {t.candidate for t in again.trials[: again.num_reused]}
            assert measured <= {t.candidate for t in first.trials}
        assert len(again.trials) <= self.budget
