"""Predictions between the passes of an MLIR compiler, in its own process.

The compiler has the module in memory and trusts it, so that nothing is parsed and no worker is needed: the graph is read off the
module through the same bindings, and the model runs here. Modules of ordinary size take less than 5 ms.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from foretune.costmodel.mlir.encoding import encode
from foretune.costmodel.mlir.model import MlirCostModel, MlirPrediction
from foretune.costmodel.mlir.target import MlirTarget, known_target


class CostCallback:
    """Asks the cost model for predictions of modules in memory.

    Args:
        model: the bundled one by default.
        target: processor; this machine's by default.
        observer: called with (name of the pass that ran last, prediction) after each pass of `run`.
        member: index of the one network that is asked, which is faster than the whole ensemble; None for all.

    Attributes:
        predictions: (name of the pass, prediction), in order.
    """

    def __init__(self, model: MlirCostModel | None = None, target: MlirTarget | None = None, observer: Callable[[str, MlirPrediction], None] = lambda name, prediction: None, member: int | None = 0) -> None:
        from foretune.passes.mlir.graph.graph import program_graph

        model = model or MlirCostModel.bundled()
        if member is not None:
            model = MlirCostModel([model.networks[member]], model.feature_names, model.actions, model.calibration, model.training_hash)
        self._model, self._target, self._observer, self._graph = model, target or known_target(), observer, program_graph
        self.predictions: list[tuple[str, MlirPrediction]] = []
        self.last_ms = 0.0

    def predict(self, module: Any) -> MlirPrediction:
        """The costs of an `mlir.ir.Module` as it stands.

        Raises:
            UnsupportedError: it has operations of dialects that the model does not know.
            ModelError: it has no function with operations.
        """
        start = time.perf_counter()
        prediction = self._model.predict([encode(self._graph(module))], self._target)[0]
        self.last_ms = (time.perf_counter() - start) * 1e3
        return prediction

    def run(self, module: Any, pipelines: Sequence[str]) -> list[tuple[str, MlirPrediction]]:
        """Runs passes one after another, with a prediction before the first and after each.

        Args:
            module: an `mlir.ir.Module`; it is changed in place.
            pipelines: texts for the pass manager, such as `canonicalize` or `func.func(convert-linalg-to-loops)`.

        Returns:
            (name, prediction) for the module as it was, under the empty name, and after each pass.
        """
        from mlir.passmanager import PassManager

        found = [("", self.predict(module))]
        for pipeline in pipelines:
            PassManager.parse(f"builtin.module({pipeline})", module.context).run(module.operation)
            found.append((pipeline, self.predict(module)))
            self._observer(*found[-1])
        self.predictions += found
        return found
