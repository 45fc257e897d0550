"""Costs between the passes of an MLIR compiler, in its own process.

The compiler has the module in memory and trusts it, so that the fast tier needs no worker: the graph is read off the
module through the same bindings, and the model runs here, on one thread. Modules of ordinary size take less than 5 ms.
The exact tier prints the module and has workers compile it. The module itself is never changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from foretune.costmodel.mlir.model import MlirCostModel, MlirPrediction
from foretune.costmodel.mlir.target import MlirTarget, known_target
from foretune.errors import OptionError

_MODES = ("fast", "exact")


class CostCallback:
    """Tells the costs of modules in memory; closes as a context.

    Args:
        model: the bundled one by default.
        target: processor; this machine's by default.
        observer: called with (name of the pass that ran last, prediction) after each pass.
        member: index of the one network that is asked, which is faster than the whole ensemble; None for all.
        mode: `fast`, the learned model, or `exact`, counts by compiling in workers.

    Attributes:
        predictions: (name of the pass, prediction), in order.
        last_ms: milliseconds that the last prediction took.
    """

    def __init__(
        self,
        model: MlirCostModel | None = None,
        target: MlirTarget | None = None,
        observer: Callable[[str, MlirPrediction], None] = lambda name, prediction: None,
        member: int | None = 0,
        mode: str = "fast",
    ) -> None:
        if mode not in _MODES:
            raise OptionError(f"the mode must be one of {list(_MODES)}, but got {mode!r}")
        model = model or MlirCostModel.bundled()
        if member is not None:
            model = MlirCostModel(
                [model.members[member]],
                model.feature_names,
                model.actions,
                model.calibration,
                model.training_hash,
                model.correction,
            )
        self._model, self._target, self._observer, self._mode = model, target or known_target(), observer, mode
        self._session: Any = None
        self.predictions: list[tuple[str, MlirPrediction]] = []
        self.last_ms = 0.0

    def __enter__(self) -> CostCallback:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the workers of the exact tier; a later prediction starts others."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def predict(self, module: Any) -> MlirPrediction:
        """The costs of a module as it stands.

        Args:
            module: an `mlir.ir.Module`, or an `mlir.ir.Operation` that is one or is in one, as passes are given.

        Raises:
            UnsupportedError: it has operations of dialects that the model does not know.
            ModelError: it has no function with a body.
            DataError: the exact tier cannot compile it.
        """
        start = time.perf_counter()
        prediction = self._exact(_whole(module)) if self._mode == "exact" else self._fast(_whole(module))
        self.last_ms = (time.perf_counter() - start) * 1e3
        return prediction

    def _fast(self, module: Any) -> MlirPrediction:
        from foretune.passes.mlir.costs.learned import learned_of_graph
        from foretune.passes.mlir.environment.lowering import without_aggregates
        from foretune.passes.mlir.graph.graph import read_module

        made = read_module(without_aggregates(module))
        return learned_of_graph(made.graph, made.facts, self._target, self._model)

    def _exact(self, module: Any) -> MlirPrediction:
        from foretune.passes.mlir.costs.exact import ExactSession
        from foretune.passes.mlir.costs.tiers import exact

        if self._session is None:
            self._session = ExactSession()
        return exact(self._session, str(module), self._target, model=self._model)

    def as_pass(self, name: str) -> Callable[[Any, Any], None]:
        """A pass for `PassManager.add`, which notes the costs under a name and changes nothing.

        It belongs into a pass manager of `builtin.module`: a function alone does not tell what it calls.
        """

        def note_costs(operation: Any, _: Any = None) -> None:
            self.predictions.append((name, self.predict(operation)))
            self._observer(*self.predictions[-1])

        note_costs.__name__ = name
        return note_costs

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


def _whole(module: Any) -> Any:
    """The module of an operation.

    Raises:
        OptionError: it is in none.
    """
    from mlir import ir

    if isinstance(module, ir.Module):
        return module
    operation = getattr(module, "operation", module)
    while isinstance(operation, ir.Operation):
        if operation.name == "builtin.module":
            return operation.opview
        operation = getattr(operation.parent, "operation", operation.parent)
    raise OptionError(f"an mlir.ir.Module, or an operation in one, is needed, but got {type(module).__name__}")
