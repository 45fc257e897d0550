"""MlirDomain: how far the training data of the cost model reaches, so that a prediction beyond it can say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foretune.costmodel.mlir.encoding import EncodedProgram
from foretune.costmodel.model_file import read_model, write_model
from foretune.errors import ModelError

NAME = "mlir_domain"
WEIGHTS = Path(__file__).parents[1] / "weights" / "mlir_domain.safetensors"
_SIZES = {
    "log_runs": "runs of a statement",
    "log_footprint": "bytes that a statement touches",
    "log_largest": "bytes of a buffer",
}
_SLACK = 0.5  # of a logarithm to base 2
_SHOWN = 3


@dataclass(frozen=True)
class Excess:
    """How far a program is beyond the data.

    Attributes:
        reasons: in words; none inside.
        sizes: logarithm to base 2 of the factor by which runs or bytes are larger.
        counts: operations of kinds, or numbers of them, that the data has not.
    """

    reasons: tuple[str, ...] = ()
    sizes: float = 0.0
    counts: float = 0.0


class MlirDomain:
    """The largest value of each feature among the training programs.

    Args:
        names: of the features.
        largest: [F] float32.
        statements: most of a program.
    """

    def __init__(self, names: Sequence[str], largest: np.ndarray, statements: int) -> None:
        self.names, self.largest, self.statements = tuple(names), largest, statements

    @classmethod
    def of(cls, programs: Sequence[EncodedProgram], names: Sequence[str]) -> MlirDomain:
        """What some programs reach."""
        return cls(names, np.max([p.statements.max(0) for p in programs], 0), max(len(p.statements) for p in programs))

    def excess(self, program: EncodedProgram) -> Excess:
        """How far a program is beyond."""
        reached = program.statements.max(0)
        reasons, sizes, counts = [], 0.0, 0.0
        for i, name in enumerate(self.names):
            if name in _SIZES and reached[i] > self.largest[i] + _SLACK:
                sizes = max(sizes, float(reached[i] - self.largest[i]))
                reasons.append(
                    f"the {_SIZES[name]} are {2.0 ** float(reached[i]):.3g}, but at most"
                    f" {2.0 ** float(self.largest[i]):.3g} in the training data"
                )
            elif name.startswith("n.") and reached[i] > self.largest[i]:
                beyond = np.log2((1 + reached[i]) / (1 + self.largest[i]))
                counts = max(counts, float(beyond))
                if beyond > _SLACK or self.largest[i] == 0:
                    reasons.append(
                        f"a statement has {reached[i]:g} operations of kind {name[2:]}, but at most {self.largest[i]:g}"
                        " in the training data"
                    )
        if len(program.statements) > self.statements:
            counts = max(counts, float(np.log2(len(program.statements) / self.statements)))
            reasons.append(
                f"it has {len(program.statements)} statements, but at most {self.statements} in the training data"
            )
        more = [f"and {len(reasons) - _SHOWN} more"] if len(reasons) > _SHOWN else []
        return Excess((*reasons[:_SHOWN], *more), sizes, counts)

    def save(self, path: Path) -> None:
        """Writes it as safetensors with a JSON header."""
        write_model(
            path,
            NAME,
            {"names": list(self.names), "statements": self.statements},
            {"largest": self.largest.astype(np.float32)},
        )

    @classmethod
    def load(cls, path: Path = WEIGHTS) -> MlirDomain:
        """Reads what `save` wrote.

        Raises:
            ModelError: the file is missing or damaged.
        """
        header, arrays = read_model(path, NAME)
        try:
            names, largest = tuple(map(str, header["names"])), arrays["largest"]
            if largest.shape != (len(names),):
                raise ModelError(f"{path} is damaged: it has {len(names)} names, but values of shape {largest.shape}")
            return cls(names, largest, int(header["statements"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{path} does not fit this release: {type(error).__name__}: {error}") from error
