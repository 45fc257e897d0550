"""Contract tests that a third party runs against cost models, search strategies and domains of its own; they need
pytest (`pip install 'foretune[testing]'`).

`RankerContract` and `CostModelContract` are of rankers, `CostPredictorContract` (`cost_predictors`) of predictors of
costs.

from foretune.testing.cost_models import CostModelContract

class TestMyModel(CostModelContract):
    def make(self, seed=0):
        return MyModel(seed=seed)
"""

import pytest

pytest.register_assert_rewrite(
    "foretune.testing.cost_models",
    "foretune.testing.cost_predictors",
    "foretune.testing.domains",
    "foretune.testing.search_strategies",
)
