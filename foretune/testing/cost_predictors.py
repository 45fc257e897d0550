"""What every predictor of costs must do, whatever is inside. A subclass gives a predictor and programs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from foretune import ModelError
from foretune.costmodel.base import CostPredictor


class CostPredictorContract:
    """Every predictor of costs. Subclasses define `predictor` and `programs`."""

    def predictor(self) -> CostPredictor[Any]:
        """One that can predict."""
        raise NotImplementedError

    def programs(self) -> list[Any]:
        """Some that it knows; at least three, and not all alike."""
        raise NotImplementedError

    def test_a_cost_and_a_spread_for_each_label(self):
        predictor, programs = self.predictor(), self.programs()
        predictions = predictor.predict_costs(programs)
        assert len(predictions) == len(programs) and list(predictor.predict_costs([])) == []
        for prediction in predictions:
            assert tuple(prediction.costs) == tuple(prediction.spread) == tuple(predictor.labels)
            assert all(np.isfinite(cost) for cost in prediction.costs.values())
            assert all(0 <= spread < np.inf for spread in prediction.spread.values())
            for name, cost in prediction.costs.items():
                low, high = prediction.interval(name)
                assert low <= cost <= high or "share" in name
        first = predictor.labels[-1]
        assert len({prediction.costs[first] for prediction in predictions}) > 1

    def test_costs_do_not_depend_on_the_company(self):
        predictor, programs = self.predictor(), self.programs()
        for program, together in zip(programs, predictor.predict_costs(programs)):
            [alone] = predictor.predict_costs([program])
            assert alone.costs == pytest.approx(together.costs, rel=1e-4)

    def test_save_and_load(self, tmp_path):
        predictor, programs = self.predictor(), self.programs()
        predictor.save(tmp_path / "m")
        again = type(predictor).load(tmp_path / "m")
        assert list(again.predict_costs(programs)) == list(predictor.predict_costs(programs))

    def test_damaged_files_are_refused_by_name(self, tmp_path):
        predictor, path = self.predictor(), tmp_path / "some-model-file"
        with pytest.raises(ModelError, match=path.name):
            type(predictor).load(path)
        predictor.save(path)
        whole = path.read_bytes()
        flipped = bytes([whole[-3] ^ 1])
        for damaged in (b"", whole[:4], whole[:100], whole[:-1], whole[:-3] + flipped + whole[-2:], b"\xff" * 64):
            path.write_bytes(damaged)
            with pytest.raises(ModelError, match=path.name):
                type(predictor).load(path)
