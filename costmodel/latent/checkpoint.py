"""Checkpoint: everything that a training needs to go on exactly where it was; safetensors with a JSON header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from foretune.errors import ModelError
from foretune.support.files import write_atomically

SCHEMA = "foretune-checkpoint-1"


class Checkpoint:
    """The state of a training.

    Args:
        network, optimizer, schedule, rng: what changes from step to step.
        identity: a hash of data and configuration; a file with another one is refused.

    Attributes:
        history: figures of each epoch so far.
        best_weights: of the epoch with the highest score.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        schedule: Any,
        rng: np.random.Generator,
        identity: str,
    ) -> None:
        self._network, self._optimizer, self._schedule, self._rng, self._identity = (
            network,
            optimizer,
            schedule,
            rng,
            identity,
        )
        self.history: list[dict[str, float]] = []
        self.best_weights = _copy(network.state_dict())
        self._best, self._best_epoch = float("-inf"), 0

    def add(self, figures: dict[str, float], score: float) -> None:
        """Notes an epoch's figures, and its weights if its score is the highest so far."""
        if score > self._best:
            self._best, self._best_epoch, self.best_weights = (
                score,
                len(self.history),
                _copy(self._network.state_dict()),
            )
        self.history.append(figures)

    def is_stale(self, patience: int) -> bool:
        """Whether the last `patience` epochs brought nothing."""
        return bool(self.history) and len(self.history) - 1 - self._best_epoch >= patience

    def save(self, path: Path) -> None:
        """Writes the state, whole or not at all."""
        from safetensors.torch import save_file

        tensors = {f"network.{k}": v for k, v in self._network.state_dict().items()}
        tensors.update({f"best.{k}": v for k, v in self.best_weights.items()})
        optimizer = self._optimizer.state_dict()
        for index, state in optimizer["state"].items():
            tensors.update({f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in state.items()})
        tensors["torch_rng"] = torch.get_rng_state()
        header = {
            "history": self.history,
            "best": self._best,
            "best_epoch": self._best_epoch,
            "rng": self._rng.bit_generator.state,
            "groups": optimizer["param_groups"],
            "schedule": {k: v for k, v in self._schedule.state_dict().items() if _is_plain(v)},
        }
        metadata = {"schema": SCHEMA, "identity": self._identity, "state": json.dumps(header)}
        contiguous = {k: v.clone().contiguous() for k, v in tensors.items()}
        write_atomically(path, lambda temporary: save_file(contiguous, temporary, metadata))

    def load(self, path: Path) -> None:
        """Takes the state of a file.

        Raises:
            ModelError: it is damaged, or of other data or another configuration.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118 - not a dict
            if metadata.get("schema") != SCHEMA:
                raise ModelError(f"{path} has schema {metadata.get('schema')!r}, but this release reads {SCHEMA!r}")
            if metadata["identity"] != self._identity:
                raise ModelError(
                    f"{path} is a checkpoint of other data or another configuration; delete it to begin anew"
                )
            header = json.loads(metadata["state"])
            self._network.load_state_dict(_part(tensors, "network."))
            self.best_weights = _part(tensors, "best.")
            states: dict[int, dict[str, torch.Tensor]] = {}
            for name, value in _part(tensors, "optimizer.").items():
                index, _, key = name.partition(".")
                states.setdefault(int(index), {})[key] = value
            self._optimizer.load_state_dict({"state": states, "param_groups": header["groups"]})
            self._schedule.load_state_dict({**self._schedule.state_dict(), **header["schedule"]})
            self._rng.bit_generator.state = header["rng"]
            torch.set_rng_state(tensors["torch_rng"])
            self.history, self._best, self._best_epoch = header["history"], header["best"], header["best_epoch"]
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise ModelError(f"{path} is damaged or does not fit: {error}") from error


def _copy(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in state.items()}


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, list)) or value is None
