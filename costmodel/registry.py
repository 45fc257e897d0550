"""Cost models by name."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

from foretune.costmodel.base import CostModel
from foretune.errors import OptionError
from foretune.record import Trajectory

_RIVALS = "foretune.costmodel.rivals"
_CLASSES = {
    "latent": "foretune.costmodel.latent:LatentCostModel",
    "random": f"{_RIVALS}.baselines:RandomModel",
    "size": f"{_RIVALS}.baselines:SizeModel",
    "ridge": f"{_RIVALS}.pooled:RidgeModel",
    "forest": f"{_RIVALS}.pooled:ForestModel",
    "lightgbm": f"{_RIVALS}.lightgbm:LightGbmModel",
    "lightgbm_actions": f"{_RIVALS}.lightgbm:LightGbmActionsModel",
    "xgboost": f"{_RIVALS}.xgboost:XgboostModel",
    "tenset_mlp": f"{_RIVALS}.tenset_mlp:TensetMlpModel",
    "tlp": f"{_RIVALS}.tlp:TlpModel",
    "pacm": f"{_RIVALS}.pacm:PacmModel",
    "mamba": f"{_RIVALS}.mamba:MambaModel",
}


def names() -> tuple[str, ...]:
    """Names of all cost models, the latent model first."""
    return tuple(_CLASSES)


def model_class(name: str) -> type[CostModel]:
    """The class of a cost model.

    Raises:
        OptionError: there is no such model.
    """
    if name not in _CLASSES:
        raise OptionError(f"unknown cost model {name!r}; known are {', '.join(_CLASSES)}")
    module, _, found = _CLASSES[name].partition(":")
    return getattr(importlib.import_module(module), found)


def make(name: str, seed: int = 0) -> CostModel:
    """An untrained cost model.

    Args:
        name: one of `names()`.
        seed: of weights, order and everything else random.

    Raises:
        OptionError: there is no such model.
    """
    return _untrained_latent(seed) if name == "latent" else model_class(name)(seed=seed)


def load(name: str, path: Path) -> CostModel:
    """A trained cost model from its file.

    Raises:
        OptionError: there is no such model.
        ModelError: the file is damaged, of another schema or of another model.
        UnsupportedError: the model needs a package that is not installed.
    """
    return model_class(name).load(path)


def _untrained_latent(seed: int) -> CostModel:
    """Bridges to `train` until `LatentCostModel` itself takes a seed and validation tasks."""
    from foretune.costmodel.encoding import Vocabulary
    from foretune.costmodel.latent import LatentCostModel
    from foretune.costmodel.network import LatentNetwork
    from foretune.costmodel.training import TrainConfig, train

    class Untrained(LatentCostModel):
        def __init__(self, network: LatentNetwork | None = None, training_hash: str = "") -> None:
            super().__init__(network or LatentNetwork(Vocabulary((), (), ())), training_hash)

        def fit(self, trajectories: Sequence[Trajectory], validation: Sequence[Trajectory] = ()) -> None:
            trained = train(trajectories, TrainConfig(epochs=40, seed=seed))
            LatentCostModel.__init__(self, trained.network, trained.training_hash)

    return Untrained()
