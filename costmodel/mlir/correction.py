"""MlirCorrection: what the learned model of costs gets wrong on programs of other kinds, and how unsure it is of them.

The model was trained on programs of some families. A few small networks learn, from samples of further families, types
and processors as well as of those, by how much its predictions are off, given the predictions themselves and sums over
the program, and how large an error is left. On programs that the model knows they learn to change next to nothing.

Errors are taken as Laplace-distributed, because a few programs are off by much.

Dimension letters: P programs, S statements of a program, F features of a statement, L labels, X inputs, K members.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from foretune.costmodel.mlir.encoding import EncodedProgram
from foretune.costmodel.mlir.ensemble import EnsembleConfig, make_member, train_members
from foretune.costmodel.mlir.network import LABELS
from foretune.costmodel.mlir.target import MlirTarget
from foretune.costmodel.model_file import read_model, write_model
from foretune.costmodel.stored_network import network_of
from foretune.errors import ModelError

NAME = "mlir_correction"
WEIGHTS = Path(__file__).parents[1] / "weights" / "mlir_correction.safetensors"
_SECS, _CYCLES = LABELS.index("secs"), LABELS.index("mca_cycles")
_NARROW = 1.645 / math.log(10)  # nine of ten errors lie within log(10) scales of Laplace's, and 1.645 of Gauss's
_BOUND = 6.0  # deviations from the mean of an input


@dataclass(frozen=True)
class CorrectionConfig(EnsembleConfig):
    """Sizes and training."""

    members: int = 3
    width: int = 96
    epochs: int = 60
    batch: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 3e-2


@dataclass(frozen=True)
class Columns:
    """Places among the features of a statement.

    Attributes:
        runs: of `log_runs`.
        operations: of `operations`.
    """

    runs: int
    operations: int

    @classmethod
    def of(cls, names: Sequence[str]) -> Columns:
        """Those of the features' names, in order."""
        return cls(names.index("log_runs"), names.index("operations"))


def program_inputs(program: EncodedProgram, columns: Columns) -> np.ndarray:
    """Sums over a program's statements, plain and as often as they run, and the statement that works most; [4 F + 1]
    float32.
    """
    rows = program.statements.astype(np.float64)  # [S, F]
    times = np.exp2(rows[:, columns.runs])[:, None]
    positive = np.maximum(rows, 0)
    hot = int(np.argmax((1 + positive[:, columns.operations]) * times[:, 0]))
    return np.concatenate(
        [
            np.log1p(positive.sum(0)),
            np.log1p(np.minimum((positive * times).sum(0), 1e18)),
            rows.max(0),
            rows[hot],
            [np.log1p(len(rows))],
        ]
    ).astype(np.float32)


class MlirCorrection:
    """The trained networks.

    Args:
        networks: K of them, [X] -> [2 L].
        mean, scale: [X] of the inputs.
        factors: [L] by which held-out errors are larger than the stated ones.
        columns: of the features of a statement.
        base: identifies the weights whose predictions are corrected.
        config: how they were made.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        mean: np.ndarray,
        scale: np.ndarray,
        factors: np.ndarray,
        columns: Columns,
        base: str,
        config: CorrectionConfig = CorrectionConfig(),
    ) -> None:
        self.networks = nn.ModuleList(networks).eval()
        self.mean, self.scale, self.factors = mean, scale, factors
        self.columns, self.base, self.config = columns, base, config

    def correct(
        self, programs: Sequence[EncodedProgram], targets: Sequence[MlirTarget], predicted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(corrected predictions [P, L], their deviations [P, L]), on the scale of `labels.to_scale`.

        Seconds are corrected as llvm-mca's cycles are, because the further samples have no times.
        """
        with torch.inference_mode():
            x = _scaled(gather(programs, targets, predicted, self.columns), self.mean, self.scale)
            every = torch.stack([network(x) for network in self.networks]).double().numpy()  # [K, P, 2 L]
        shift, scale = every[..., : len(LABELS)], np.exp(every[..., len(LABELS) :])
        spread = np.hypot(scale.mean(0) / _NARROW, shift.std(0)) * self.factors  # [P, L]
        shift = shift.mean(0)
        shift[:, _SECS], spread[:, _SECS] = shift[:, _CYCLES], spread[:, _CYCLES]
        return predicted + shift, spread

    def save(self, path: Path) -> None:
        """Writes the weights as safetensors with a JSON header."""
        arrays = {
            f"{k}.{name}": value.detach().numpy().astype(np.float16 if value.ndim > 1 else np.float32)
            for k, network in enumerate(self.networks)
            for name, value in network.state_dict().items()
        }
        header = {
            "config": asdict(self.config),
            "factors": self.factors.tolist(),
            "columns": asdict(self.columns),
            "base": self.base,
            "labels": list(LABELS),
        }
        write_model(
            path, NAME, header, {**arrays, "mean": self.mean.astype(np.float32), "scale": self.scale.astype(np.float32)}
        )

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> Self:
        """Reads what `save` wrote.

        Raises:
            ModelError: the file is missing, damaged, or of another release.
        """
        header, arrays = read_model(path, NAME)
        try:
            if tuple(header["labels"]) != LABELS:
                raise ModelError(f"{path} corrects {header['labels']}, but this release predicts {list(LABELS)}")
            config, mean = CorrectionConfig(**header["config"]), arrays["mean"]
            factors = np.array(header["factors"], np.float64)
            if mean.ndim != 1 or arrays["scale"].shape != mean.shape or factors.shape != (len(LABELS),):
                raise ModelError(f"{path} is damaged: its numbers and its networks are of different sizes")
            networks = [
                network_of(
                    lambda: _network(len(mean), config),
                    {n.removeprefix(f"{k}."): array for n, array in arrays.items() if n.startswith(f"{k}.")},
                )
                for k in range(config.members)
            ]
            if not networks:
                raise ModelError(f"{path} is damaged: it has no network")
            columns = Columns(int(header["columns"]["runs"]), int(header["columns"]["operations"]))
            return cls(networks, mean, arrays["scale"], factors, columns, str(header["base"]), config)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{path} does not fit this release: {type(error).__name__}: {error}") from error


def gather(
    programs: Sequence[EncodedProgram],
    targets: Sequence[MlirTarget],
    predicted: np.ndarray,
    columns: Columns,
) -> np.ndarray:
    """What networks are given, as it is; [P, X]."""
    features = np.stack([program_inputs(program, columns) for program in programs])
    processors = np.stack([target.code_features for target in targets])
    return np.concatenate([features, processors, predicted], 1)


def _scaled(x: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.clip((x - mean) * scale, -_BOUND, _BOUND).astype(np.float32))


def _network(inputs: int, config: CorrectionConfig) -> nn.Sequential:
    """Corrects nothing at first."""
    network = make_member(inputs, 2 * len(LABELS), config)
    for parameter in network[-1].parameters():
        nn.init.zeros_(parameter)
    return network


def train_correction(
    inputs: np.ndarray,
    errors: np.ndarray,
    held_out: tuple[np.ndarray, np.ndarray],
    columns: Columns,
    base: str,
    config: CorrectionConfig = CorrectionConfig(),
    report: Callable[[dict[str, float]], None] = lambda figures: None,
) -> MlirCorrection:
    """Trains the networks.

    Args:
        inputs: [P, X], see `gather`.
        errors: [P, L] true labels minus predicted ones; NaN where unknown.
        held_out: the same of programs that the deviations are calibrated on.
        columns: of the features of a statement.
        base: identifies the weights whose predictions are corrected.
        config: how.
        report: called after each member.
    """
    mean, deviation = inputs.mean(0), inputs.std(0)
    scale = np.where(deviation > 1e-4, 1 / np.maximum(deviation, 5e-2), 0.0)
    x, wanted = _scaled(inputs, mean, scale), torch.from_numpy(errors.astype(np.float32))
    networks = []
    for k, network in enumerate(train_members(lambda: _network(x.shape[1], config), x, wanted, _loss, config, 5.0)):
        networks.append(network)
        report({"member": float(k)})
    model = MlirCorrection(networks, mean, scale, np.ones(len(LABELS)), columns, base, config)
    x, left = _scaled(held_out[0], mean, scale), held_out[1]
    with torch.inference_mode():
        every = torch.stack([network(x) for network in networks]).double().numpy()
    shift, stated = every[..., : len(LABELS)], np.exp(every[..., len(LABELS) :]).mean(0) / _NARROW
    stated = np.hypot(stated, shift.std(0))
    ratio = np.abs(left - shift.mean(0)) / np.maximum(stated, 1e-6) / 1.645  # [P, L]
    known = [column[np.isfinite(column)] for column in ratio.T]
    model.factors = np.array([np.quantile(k, 0.9) if len(k) else 1.0 for k in known]).clip(0.2, 5.0)
    return model


def _loss(out: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Laplace's, of the labels that are known."""
    shift, scale = out[:, : len(LABELS)], out[:, len(LABELS) :].clamp(-5, 4)
    known = ~wanted.isnan()
    error = (shift - wanted.nan_to_num()).abs()
    return ((error * (-scale).exp() + scale) * known).sum() / known.sum().clamp(min=1)
