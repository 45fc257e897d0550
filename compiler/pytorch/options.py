"""Options of the torch.compile backend."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from foretune.compiler.metaschedule.tuner_config import TunerConfig
from foretune.compiler.pytorch.precision import PRECISIONS
from foretune.datasets.records.database import default_path
from foretune.errors import OptionError
from foretune.tuning.callback import Callback, check_callbacks

EFFORTS: dict[str, dict[str, Any]] = {
    "none": {"trials": 0},
    "quick": {"trials": 8, "seconds": 60.0},
    "full": {"trials": 128},
}
"""Word for how long one is willing to wait -> options; what is given beside the word counts more."""


@dataclass(frozen=True)
class BackendOptions:
    """What `torch.compile(model, backend="foretune", options={...})` takes.

    Attributes:
        trials: measurements for each tuning task; 0 lets the model alone pick the schedules.
        database: file of measured records.
        target: `auto` for this machine, or a TVM target.
        seed: of the search.
        progress: show one line of progress while a graph is compiled.
        tolerance: largest error accepted, relative to the largest magnitude of the reference output.
        cost_model: file of model weights; None for the bundled ones.
        guard: run what TVM makes of a graph only where it is faster than PyTorch's own kernels and Inductor's.
        seconds: no measurements begin so long after the tuning of a graph did; what has none by then is left to the
            model.
        ops: words such as `conv2d`, `matmul` or `softmax`; only kernels with one of them in their name are measured, by
            default all.
        background: start with the model's picks at once, tune while the program runs, and swap the faster kernels in.
        freeze: a promise that weights change only as PyTorch notices (not through `.data`, NumPy or another process),
            so that what is prepared from them ahead of time is not checked against them in each call, and Inductor
            takes part with frozen weights.
        looks: schedules of each kernel whose machine code is looked at before the model alone picks one; 0 to go by the
            model.
        look_seconds: that a graph waits at most for these looks.
        precision: `bf16` or `fp16` has the graph computed in 16 bits where PyTorch's autocast would do so, and answers
            compared with autocast's; None leaves all types as they are.
        sizes: of a graph with dynamic shapes, how many sizes at most have kernels of their own, those that are seen
            most; each prepares its own weights. 0 for none.
        callbacks: follow the measurements; see `foretune.tuning.callback`.
    """

    trials: int = 64
    database: str | Path = ""
    target: str = "auto"
    seed: int = 0
    progress: bool = True
    tolerance: float = 1e-3
    cost_model: str | Path | None = None
    guard: bool = True
    seconds: float = math.inf
    ops: tuple[str, ...] = ()
    background: bool = False
    freeze: bool = False
    looks: int = 8
    look_seconds: float = 4.0
    precision: str | None = None
    sizes: int = 4
    callbacks: tuple[Callback, ...] = ()

    def __post_init__(self) -> None:
        for name in ("trials", "seed", "looks", "sizes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise OptionError(f"`{name} >= 0` must hold and be an integer, but got {name}={value!r}")
        if (
            isinstance(self.look_seconds, bool)
            or not isinstance(self.look_seconds, (int, float))
            or not self.look_seconds >= 0
        ):
            raise OptionError(f"`look_seconds >= 0` must hold, but got look_seconds={self.look_seconds!r}")
        if isinstance(self.seconds, bool) or not isinstance(self.seconds, (int, float)) or not self.seconds > 0:
            raise OptionError(f"`seconds > 0` must hold, but got seconds={self.seconds!r}")
        if not isinstance(self.ops, (list, tuple, set, frozenset)) or not all(
            isinstance(op, str) and op for op in self.ops
        ):
            raise OptionError(f"ops must be a list of words such as ['conv2d', 'matmul'], but got {self.ops!r}")
        object.__setattr__(self, "ops", tuple(self.ops))
        for name in ("progress", "guard", "background", "freeze"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name} must be True or False, but got {getattr(self, name)!r}")
        if isinstance(self.tolerance, bool) or not isinstance(self.tolerance, (int, float)) or not self.tolerance > 0:
            raise OptionError(f"`tolerance > 0` must hold, but got tolerance={self.tolerance!r}")
        if self.precision is not None and self.precision not in PRECISIONS:
            raise OptionError(f"precision must be one of {[*PRECISIONS]} or None, but got {self.precision!r}")
        if not isinstance(self.target, str):
            raise OptionError(
                f"target must be text such as 'auto' or '{{\"kind\": \"llvm\"}}', but got {self.target!r}"
            )
        if not isinstance(self.database, (str, Path)):
            raise OptionError(f"database must be a path, but got {self.database!r}")
        if not isinstance(self.cost_model, (str, Path, type(None))):
            raise OptionError(f"cost_model must be a path or None, but got {self.cost_model!r}")
        check_callbacks(self.callbacks)
        object.__setattr__(self, "callbacks", tuple(self.callbacks))
        object.__setattr__(self, "database", Path(self.database).expanduser() if str(self.database) else default_path())

    @classmethod
    def from_dict(cls, options: dict[str, Any] | None) -> BackendOptions:
        """Checks the options of a user.

        Args:
            options: by name; `effort`, one of `EFFORTS`, stands for some of them.

        Raises:
            OptionError: a name is unknown (the known ones are listed), or a value is out of its domain.
        """
        known = [f.name for f in fields(cls)]
        if not isinstance(options, (dict, type(None))):
            raise OptionError(f"options of backend 'foretune' must be a dictionary, but got {options!r}")
        given = dict(options or {})
        effort = given.pop("effort", None)
        unknown = sorted(map(str, set(given) - set(known)))
        if unknown:
            raise OptionError(f"unknown options {unknown} of backend 'foretune'; known are {['effort', *known]}")
        if effort is not None and effort not in EFFORTS:
            raise OptionError(f"effort must be one of {[*EFFORTS]}, but got {effort!r}")
        return cls(**{**EFFORTS.get(effort or "", {}), **given})

    def to_json(self) -> dict[str, Any]:
        """The options as JSON data, without callbacks."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "callbacks"}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    def tuner(self) -> TunerConfig:
        """How the tuner shall use its budget."""
        return TunerConfig(
            self.trials,
            tolerance=self.tolerance,
            seed=self.seed,
            secs=self.seconds,
            ops=self.ops,
            looks=self.looks,
            look_secs=self.look_seconds,
        )
