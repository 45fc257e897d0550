"""What TVM's part of a compilation needs: TVM, the target, the model.

TVM and what compiles the cost model's loops take seconds to import, and hundreds of megabytes: a graph that goes to
Inductor alone does without them, and otherwise they are loaded in the thread that works beside Inductor.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foretune.costmodel.latent.model import LatentCostModel
    from foretune.target import Target


@dataclass(frozen=True)
class Loaded:
    """What was loaded.

    Attributes:
        target: where kernels run.
        model: ranks schedules; it knows no measurement.
    """

    target: Target
    model: LatentCostModel


class Loading:
    """Loads when it is first asked, by whichever thread needs it.

    Args:
        target: see `parse_target`.
        cost_model: file of model weights; None for the bundled ones.
    """

    def __init__(self, target: str, cost_model: Path | None) -> None:
        self._target, self._cost_model = target, cost_model
        self._loaded: Loaded | None = None
        self._lock = threading.Lock()

    def result(self) -> Loaded:
        """What is loaded.

        Raises:
            TargetError, ModelError: what the user gave cannot be used.
            ImportError: TVM is damaged.
        """
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> Loaded:
        from foretune.compiler.tir.target import parse_target
        from foretune.costmodel.latent.model import LatentCostModel

        path = self._cost_model
        return Loaded(
            parse_target(self._target), LatentCostModel.bundled() if path is None else LatentCostModel.load(path)
        )
