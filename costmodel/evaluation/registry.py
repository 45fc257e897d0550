"""Cost models by name: rankers, and predictors of costs. Rankers of other packages are found by their entry points,
`foretune.cost_models`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from foretune.costmodel.base import CostModel, CostPredictor
from foretune.errors import OptionError
from foretune.support.plugins import COST_MODELS, load_plugin, plugin_names

_RIVALS = "foretune.costmodel.rivals"
_CLASSES = {
    "latent": "foretune.costmodel.latent.model:LatentCostModel",
    "latent_no_dynamics": "foretune.costmodel.evaluation.ablations:NoDynamics",
    "latent_no_transition": "foretune.costmodel.evaluation.ablations:NoTransition",
    "latent_no_symbols": "foretune.costmodel.evaluation.ablations:NoSymbols",
    "latent_no_program": "foretune.costmodel.evaluation.ablations:NoProgram",
    "latent_no_consistency": "foretune.costmodel.evaluation.ablations:NoConsistency",
    "latent_no_hardware": "foretune.costmodel.evaluation.ablations:NoHardware",
    "latent_no_trees": "foretune.costmodel.evaluation.ablations:NoTrees",
    "latent_snapshot": "foretune.costmodel.evaluation.ablations:Snapshot",
    "random": f"{_RIVALS}.baselines:RandomModel",
    "size": f"{_RIVALS}.baselines:SizeModel",
    "ridge": f"{_RIVALS}.pooled:RidgeModel",
    "forest": f"{_RIVALS}.pooled:ForestModel",
    "lightgbm": f"{_RIVALS}.lightgbm:LightGbmModel",
    "lightgbm_actions": f"{_RIVALS}.lightgbm:LightGbmActionsModel",
    "catboost": f"{_RIVALS}.catboost:CatBoostModel",
    "xgboost": f"{_RIVALS}.xgboost:XgboostModel",
    "tenset_mlp": f"{_RIVALS}.tenset_mlp:TensetMlpModel",
    "tlp": f"{_RIVALS}.tlp:TlpModel",
    "pacm": f"{_RIVALS}.pacm:PacmModel",
    "mamba": f"{_RIVALS}.mamba:MambaModel",
}
_OF_PASSES = {"passes": "foretune.costmodel.passes.model:PassCostModel"}
_PREDICTORS = {
    "mlir_latent": "foretune.costmodel.mlir.model:MlirCostModel",
    "mlir_time": "foretune.costmodel.mlir.time_model:MlirTimeModel",
}


def names() -> tuple[str, ...]:
    """Names of all cost models of schedules: the latent model, its ablations, the rivals, which serve passes as well,
    then plug-ins.
    """
    return tuple(dict.fromkeys((*_CLASSES, *plugin_names(COST_MODELS))))


def ablations() -> tuple[str, ...]:
    """Names of the latent model's ablations."""
    return tuple(name for name in _CLASSES if name.startswith("latent_"))


def model_class(name: str) -> type[CostModel]:
    """The class of a cost model.

    Raises:
        OptionError: there is no such model, or a plug-in is none.
        UnsupportedError: the package of a plug-in cannot be imported.
    """
    classes = _CLASSES | _OF_PASSES
    if name not in classes:
        if name in (plugins := plugin_names(COST_MODELS)):
            return load_plugin(COST_MODELS, name, CostModel)
        raise OptionError(f"unknown cost model {name!r}; known are {', '.join((*classes, *plugins))}")
    return _imported(classes[name])


def make(name: str, seed: int = 0) -> CostModel:
    """An untrained cost model.

    Args:
        name: one of `names()`.
        seed: of weights, order and everything else random.

    Raises:
        OptionError: there is no such model.
    """
    make_one = cast("Callable[..., CostModel]", model_class(name))  # the role says nothing of constructors
    return make_one(seed=seed)


def load(name: str, path: Path) -> CostModel:
    """A trained cost model from its file.

    Raises:
        OptionError: there is no such model.
        ModelError: the file is damaged, of another schema or of another model.
        UnsupportedError: the model needs a package that is not installed.
    """
    return model_class(name).load(path)


def predictor_names() -> tuple[str, ...]:
    """Names of all predictors of costs."""
    return tuple(_PREDICTORS)


def load_predictor(name: str, path: Path) -> CostPredictor[Any]:
    """A trained predictor of costs from its file.

    Raises:
        OptionError: there is no such predictor.
        ModelError: the file is damaged, of another schema or of another model.
    """
    if name not in _PREDICTORS:
        raise OptionError(f"unknown predictor of costs {name!r}; known are {', '.join(_PREDICTORS)}")
    return _imported(_PREDICTORS[name]).load(path)


def _imported(place: str) -> Any:
    module, _, found = place.partition(":")
    return getattr(importlib.import_module(module), found)
