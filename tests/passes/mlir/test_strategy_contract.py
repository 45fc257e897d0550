"""Search strategies over MLIR schedules fulfil the contract of all search strategies."""

from __future__ import annotations

import pytest

from foretune.passes.mlir.tuning.search import STRATEGIES, MlirSearch
from foretune.testing.search_strategies import SearchStrategyContract
from tests.passes.mlir.test_mlir_tuning import Forks


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
class TestStrategies(SearchStrategyContract):
    @pytest.fixture(autouse=True)
    def _class(self, strategy):
        self.strategy = strategy

    def make(self, seed: int = 0) -> MlirSearch:
        return self.strategy(Forks(), seed)
