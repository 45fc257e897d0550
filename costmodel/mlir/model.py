"""MlirCostModel: what a program will cost, from its MLIR module alone, before it is lowered.

An ensemble of networks over program graphs (`mlir_network`) predicts instruction counts, registers, spills, memory
traffic, llvm-mca's cycles and run time for the code that the default lowering and LLVM's -O3 make. The parts that
single statements add explain it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import nn

from foretune.costmodel.base import CostPrediction, CostPredictor
from foretune.costmodel.mlir.actions import encode_traces
from foretune.costmodel.mlir.correction import MlirCorrection
from foretune.costmodel.mlir.encoding import EncodedProgram
from foretune.costmodel.mlir.labels import from_scale
from foretune.costmodel.mlir.network import LABELS, MlirNetwork, MlirNetworkConfig
from foretune.costmodel.mlir.target import MlirTarget
from foretune.costmodel.mlir.training import collate
from foretune.costmodel.model_file import read_model, write_model
from foretune.costmodel.stored_network import network_of
from foretune.errors import ModelError
from foretune.trace import Trace

NAME = "mlir_latent"
WEIGHTS = Path(__file__).parents[1] / "weights" / "mlir.safetensors"
_CHUNK = 256
COUNTED, PREDICTED = "counted", "predicted"
_FEW = 8  # programs that one thread is faster with, and that other work on the machine does not slow down


@dataclass(frozen=True)
class MlirPrediction(CostPrediction):
    """What the model says of one program; `foretune.passes.mlir.costs.labels` says what the costs mean.

    Attributes:
        sources: label -> `counted` or `predicted`.
        notes: what was assumed, and why numbers may be far off.
    """

    sources: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.sources:
            object.__setattr__(self, "sources", dict.fromkeys(self.costs, PREDICTED))

    def to_json(self) -> dict[str, Any]:
        """The prediction as JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class TargetedProgram:
    """A program, and the processor that it is compiled for."""

    program: EncodedProgram
    target: MlirTarget


@contextlib.contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """PyTorch with one thread of its own, then with as many as before."""
    before = torch.get_num_threads()
    if wanted and before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


class MlirCostModel(CostPredictor[TargetedProgram]):
    """The trained ensemble.

    Args:
        networks: its members.
        feature_names: of statements, in order; a graph with others is refused.
        actions: names of the actions that rollouts know.
        calibration: [A + Q] (deviation of held-out errors, factor of the members' disagreement).
        training_hash: identifies the data that the weights were trained on.
        correction: what they get wrong on programs of other kinds; None corrects nothing.
    """

    name = NAME
    labels = LABELS

    def __init__(
        self,
        networks: Sequence[MlirNetwork],
        feature_names: Sequence[str],
        actions: Sequence[str] = (),
        calibration: np.ndarray | None = None,
        training_hash: str = "",
        correction: MlirCorrection | None = None,
    ) -> None:
        self.correction = correction
        self.networks = nn.ModuleList(networks).eval()
        for (
            parameter
        ) in self.networks.parameters():  # stored in half precision; in memory, too, they are what the file holds
            if parameter.ndim > 1:
                parameter.data = parameter.data.half().float()
        self.feature_names, self.actions = tuple(feature_names), tuple(actions)
        self.calibration = calibration if calibration is not None else np.zeros(len(LABELS))
        self.training_hash = training_hash
        self._runs = self.feature_names.index("log_runs")

    @classmethod
    def bundled(cls) -> Self:
        """The weights that ship with Foretune, with what corrects them.

        Raises:
            ModelError: there are none, or they are damaged.
        """
        return cls.load(WEIGHTS)

    def _batch(self, programs: Sequence[EncodedProgram], targets: Sequence[MlirTarget]):
        for program in programs:
            if program.statements.shape[1] != len(self.feature_names):
                raise ModelError(
                    f"the model reads {len(self.feature_names)} features of a statement, but got"
                    f" {program.statements.shape[1]}: graph and weights are of different releases"
                )
        return collate([(p, t.features) for p, t in zip(programs, targets)], self._runs)

    def predict_scaled(
        self, programs: Sequence[EncodedProgram], targets: Sequence[MlirTarget]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean [P, A + Q] over the members, on the scale of `mlir_labels`, and their deviation [P, A + Q]."""
        parts = []
        with torch.inference_mode(), one_thread(len(programs) <= _FEW):
            for start in range(0, len(programs), _CHUNK):
                batch = self._batch(programs[start : start + _CHUNK], targets[start : start + _CHUNK])
                parts.append(torch.stack([network(batch) for network in self.networks]).numpy())
        every = np.concatenate(parts, 1).astype(np.float64)  # [K, P, A + Q]
        return every.mean(0), every.std(0)

    def predict_corrected(
        self, programs: Sequence[EncodedProgram], targets: Sequence[MlirTarget]
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `predict_scaled`, corrected, and with the deviations that are stated in the end."""
        mean, disagreement = self.predict_scaled(programs, targets)
        if self.correction is None:
            return mean, np.hypot(self.calibration, disagreement)
        with one_thread(len(programs) <= _FEW):
            mean, spread = self.correction.correct(programs, targets, mean)
        return mean, np.hypot(spread, disagreement)

    def predict_costs(self, programs: Sequence[TargetedProgram]) -> list[MlirPrediction]:
        """Predicts the costs of some programs."""
        if not programs:
            return []
        mean, spread = self.predict_corrected([p.program for p in programs], [p.target for p in programs])
        return [MlirPrediction(from_scale(m), dict(zip(LABELS, map(float, s)))) for m, s in zip(mean, spread)]

    def predict(self, programs: Sequence[EncodedProgram], target: MlirTarget) -> list[MlirPrediction]:
        """As `predict_costs`, on one processor."""
        return self.predict_costs([TargetedProgram(program, target) for program in programs])

    def _prediction(self, mean: np.ndarray, disagreement: np.ndarray) -> MlirPrediction:
        spread = np.sqrt(np.square(self.calibration) + np.square(disagreement))
        return MlirPrediction(from_scale(mean), dict(zip(LABELS, map(float, spread))))

    @property
    def members(self) -> list[MlirNetwork]:
        """The networks."""
        return [cast("MlirNetwork", network) for network in self.networks]

    def parts(self, program: EncodedProgram, target: MlirTarget) -> np.ndarray:
        """What each statement adds to each additive label, as a share of the whole; [S, A]."""
        with torch.inference_mode():
            batch = self._batch([program], [target])
            shares = [
                torch.softmax(network.statement_parts(network.encode(batch), batch), 0) for network in self.members
            ]
        return torch.stack(shares).mean(0).double().numpy()

    def predict_after_scaled(
        self, program: EncodedProgram, traces: Sequence[Trace], target: MlirTarget
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `predict_scaled`, of one program after each of N schedules, which are rolled out and not applied."""
        actions, numbers = encode_traces(traces, self.actions)
        with torch.inference_mode():
            batch = self._batch([program] * len(traces), [target] * len(traces))
            every = (
                torch.stack(
                    [
                        network.rollout(batch, torch.from_numpy(actions), torch.from_numpy(numbers))[1]
                        for network in self.members
                    ]
                )
                .double()
                .numpy()
            )
        return every.mean(0), every.std(0)

    def predict_after(
        self, program: EncodedProgram, traces: Sequence[Trace], target: MlirTarget
    ) -> list[MlirPrediction]:
        """Predicts the costs of a program after schedules, by rolling them out from the program as it is, without
        applying them.
        """
        if not traces:
            return []
        return [self._prediction(m, d) for m, d in zip(*self.predict_after_scaled(program, traces, target))]

    def rank_after(self, program: EncodedProgram, traces: Sequence[Trace], target: MlirTarget) -> np.ndarray:
        """Scores of schedules, [N] float64: minus the logarithm of the predicted seconds; higher is better."""
        return np.array([-np.log(max(p.costs["secs"], 1e-12)) for p in self.predict_after(program, traces, target)])

    def save(self, path: Path) -> None:
        """Writes the weights as safetensors with a JSON header."""
        matrices = {name for name, value in self.networks[0].named_parameters() if value.ndim > 1}
        arrays = {
            f"{k}.{name}": value.detach().numpy().astype(np.float16 if name in matrices else np.float32)
            for k, network in enumerate(self.networks)
            for name, value in network.state_dict().items()
        }
        header = {
            "config": asdict(self.members[0].config),
            "members": len(self.networks),
            "features": list(self.feature_names),
            "actions": list(self.actions),
            "labels": list(LABELS),
            "calibration": self.calibration.tolist(),
            "training_hash": self.training_hash,
        }
        write_model(path, NAME, header, arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote; the bundled correction comes with the weights that it corrects.

        Raises:
            ModelError: the file is missing, damaged, of another schema or release.
        """
        header, arrays = read_model(path, NAME)
        try:
            if tuple(header["labels"]) != LABELS:
                raise ModelError(f"{path} predicts {header['labels']}, but this release predicts {list(LABELS)}")
            config = MlirNetworkConfig(**header["config"])
            if config.rounds > len(arrays):
                raise ModelError(f"{path} is damaged: it states more parts of a network than it holds")
            features, actions = tuple(map(str, header["features"])), tuple(map(str, header["actions"]))
            calibration = np.array(header["calibration"], np.float64)
            sizes = (len(features), calibration.shape)
            if sizes != (config.features, (len(LABELS),)) or len(actions) >= config.actions or header["members"] < 1:
                raise ModelError(f"{path} is damaged: its names and its networks are of different sizes")
            networks = [
                network_of(lambda: MlirNetwork(config), _of_member(arrays, k)) for k in range(int(header["members"]))
            ]
            hashed = str(header["training_hash"])
            correction = MlirCorrection.load()
            known = correction if correction.base == hashed else None
            return cls(networks, features, actions, calibration, hashed, known)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ModelError(f"{path} does not fit this release: {type(error).__name__}: {error}") from error

    @property
    def fingerprint(self) -> str:
        """A hash of the weights, 16 hex digits."""
        digest = hashlib.sha256(json.dumps(self.actions).encode())
        for name, value in sorted(self.networks.state_dict().items()):
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]


def _of_member(arrays: dict[str, np.ndarray], number: int) -> dict[str, np.ndarray]:
    prefix = f"{number}."
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
