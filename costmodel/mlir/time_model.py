"""MlirTimeModel: how long a program runs, from the counts of its machine code.

Counts are exact, time is not: caches, the front end and the C library stand between them. A few small networks learn
the logarithm of what a cycle of llvm-mca takes, from the counts themselves, sums over the program's structure and the
processor.

Dimension letters: P programs, F features, K members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import nn

from foretune.costmodel.base import CostPrediction, CostPredictor
from foretune.costmodel.mlir.ensemble import EnsembleConfig, make_member, train_members
from foretune.costmodel.mlir.structure import STRUCTURE_FEATURES
from foretune.costmodel.mlir.target import NUM_TARGET_FEATURES, MlirTarget
from foretune.costmodel.model_file import read_model, write_model
from foretune.costmodel.stored_network import network_of
from foretune.datasets.programs.mlir_samples import LABELS
from foretune.errors import ModelError

NAME = "mlir_time"
WEIGHTS = Path(__file__).parents[1] / "weights" / "mlir_time.safetensors"
COUNTS = tuple(name for name in LABELS if name not in ("registers", "secs"))
NEEDED = ("dynamic_instructions", "bytes_read", "bytes_written", "mca_cycles", "mca_throughput")
"""Without these there is no time."""
_CYCLE_SECS = 3e-10
_NUM_FEATURES = len(COUNTS) + 3 + NUM_TARGET_FEATURES + len(STRUCTURE_FEATURES)


@dataclass(frozen=True)
class TimeConfig(EnsembleConfig):
    """Sizes and training."""

    members: int = 4
    width: int = 64
    epochs: int = 120
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3


@dataclass(frozen=True)
class CountedProgram:
    """What time is predicted from.

    Attributes:
        counts: label -> exact value.
        structure: [len(STRUCTURE_FEATURES)] float32.
        target: processor.
    """

    counts: Mapping[str, float]
    structure: np.ndarray
    target: MlirTarget

    def features(self) -> np.ndarray:
        """[F] float32."""
        counts = [self.counts[name] if "share" in name else np.log1p(self.counts[name]) for name in COUNTS]
        cycles, instructions = max(self.counts["mca_cycles"], 1e-3), max(self.counts["dynamic_instructions"], 1.0)
        ratios = [
            np.log(cycles / instructions),
            np.log(max(self.counts["mca_throughput"], 1e-3) / cycles),
            np.log1p(self.counts["bytes_read"]) - np.log(instructions),
        ]
        return np.array([*counts, *ratios, *self.target.features, *self.structure], np.float32)

    @property
    def base(self) -> float:
        """Logarithm of the seconds that its cycles would take alone."""
        return float(np.log(max(self.counts["mca_cycles"], 1e-3) * _CYCLE_SECS))


class MlirTimeModel(CostPredictor[CountedProgram]):
    """The trained networks.

    Args:
        networks: K of them.
        mean, scale: [F] of the features.
        deviation: of held-out errors of the logarithm.
        training_hash: identifies the data.
        config: how they were made.
    """

    name = NAME
    labels = ("secs",)

    def __init__(
        self,
        networks: Sequence[nn.Module],
        mean: np.ndarray,
        scale: np.ndarray,
        deviation: float = 0.0,
        training_hash: str = "",
        config: TimeConfig = TimeConfig(),
    ) -> None:
        self.networks = nn.ModuleList(networks).eval()
        self.mean, self.scale, self.deviation, self.training_hash, self.config = (
            mean,
            scale,
            deviation,
            training_hash,
            config,
        )

    def predict(self, programs: Sequence[CountedProgram]) -> tuple[np.ndarray, np.ndarray]:
        """(logarithm of seconds [P], its standard deviation [P]); float64."""
        features = np.stack([p.features() for p in programs])  # [P, F]
        x = torch.from_numpy(np.clip((features - self.mean) * self.scale, -6, 6).astype(np.float32))
        with torch.inference_mode():
            every = torch.stack([network(x)[:, 0] for network in self.networks]).double().numpy()  # [K, P]
        base = np.array([p.base for p in programs])
        return every.mean(0) + base, np.sqrt(np.square(self.deviation) + every.var(0))

    def predict_costs(self, programs: Sequence[CountedProgram]) -> list[CostPrediction]:
        """Predicts the seconds of some programs."""
        if not programs:
            return []
        mean, deviation = self.predict(programs)
        return [CostPrediction({"secs": float(np.exp(m))}, {"secs": float(d)}) for m, d in zip(mean, deviation)]

    def save(self, path: Path) -> None:
        """Writes the weights as safetensors with a JSON header."""
        arrays = {
            f"{k}.{name}": value.detach().numpy()
            for k, network in enumerate(self.networks)
            for name, value in network.state_dict().items()
        }
        header = {
            "config": asdict(self.config),
            "deviation": self.deviation,
            "counts": list(COUNTS),
            "structure": list(STRUCTURE_FEATURES),
            "training_hash": self.training_hash,
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
            if (tuple(header["counts"]), tuple(header["structure"])) != (COUNTS, STRUCTURE_FEATURES):
                raise ModelError(f"{path} reads other numbers than this release gives it; train it again")
            config = TimeConfig(**header["config"])
            networks = [
                network_of(
                    lambda: _network(config),
                    {n.removeprefix(f"{k}."): array for n, array in arrays.items() if n.startswith(f"{k}.")},
                )
                for k in range(config.members)
            ]
            if not networks or not arrays["mean"].shape == arrays["scale"].shape == (_NUM_FEATURES,):
                raise ModelError(f"{path} is damaged: it has no network, or scales of another number of features")
            return cls(
                networks,
                arrays["mean"],
                arrays["scale"],
                float(header["deviation"]),
                str(header["training_hash"]),
                config,
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{path} does not fit this release: {type(error).__name__}: {error}") from error


def _network(config: TimeConfig) -> nn.Sequential:
    return make_member(_NUM_FEATURES, 1, config)


def train_time(
    programs: Sequence[CountedProgram],
    secs: np.ndarray,
    held_out: Sequence[CountedProgram],
    held_secs: np.ndarray,
    config: TimeConfig = TimeConfig(),
    training_hash: str = "",
) -> MlirTimeModel:
    """Trains the networks.

    Args:
        programs, secs: what to learn from; [P] seconds.
        held_out, held_secs: programs that the deviation is calibrated on.
        config: how.
        training_hash: identifies the data.
    """
    features = np.stack([p.features() for p in programs]).astype(np.float64)
    mean, deviation = features.mean(0), features.std(0)
    scale = np.where(deviation > 1e-4, 1 / np.maximum(deviation, 1e-2), 0.0)
    x = torch.from_numpy(np.clip((features - mean) * scale, -6, 6).astype(np.float32))
    wanted = torch.from_numpy((np.log(secs) - [p.base for p in programs]).astype(np.float32))

    def loss_of(out: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        return nn.functional.smooth_l1_loss(out[:, 0], true, beta=0.2)

    networks = [*train_members(lambda: _network(config), x, wanted, loss_of, config)]
    model = MlirTimeModel(networks, mean, scale, 0.0, training_hash, config)
    if len(held_out):
        error = np.abs(model.predict(held_out)[0] - np.log(held_secs))
        model.deviation = float(np.quantile(error, 0.6827))
    return model
