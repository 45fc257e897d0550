"""CodeRanker: ranks candidates whose machine code was looked at.

What LLVM makes of the loops has no cheap exact simulator, but compiling shows it without running anything. Boosted
trees read the counters of the machine code; their score is added to that of the latent model, which knows the symbolic
state and the task's measurements. Candidates that do not compile rank last.

Dimension letters: N candidates, C counters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from foretune.costmodel.latent.trees import TreeHead
from foretune.costmodel.machine_code import counters as machine_code
from foretune.costmodel.model_file import read_model, text_array, write_model
from foretune.costmodel.stored_network import network_of
from foretune.errors import ModelError

_LAYOUT = "foretune-code-1"
_TREES, _LEVELS = 300, 6


class CodeRanker:
    """Trees over counters of machine code.

    Args:
        trees: fitted.
        weight: of their score beside the latent model's.
    """

    kind = "code"

    def __init__(self, trees: TreeHead, weight: float = 1.0) -> None:
        self._trees, self.weight = trees, weight

    @classmethod
    def fit(
        cls,
        counters: Sequence[np.ndarray],
        relative: Sequence[np.ndarray],
        seed: int = 0,
        weight: float = 1.0,
        num_trees: int = _TREES,
    ) -> CodeRanker:
        """Grows the trees; see `TreeHead.grow`.

        Args:
            counters: [N, C] for each task.
            relative: [N] log of relative speed for each task, at most 0.
            seed: of all that is random.
            weight: see above; chosen on other tasks.
            num_trees: trees at most.
        """
        trees = TreeHead(num_trees, _LEVELS)
        trees.grow([table.astype(np.float32) for table in counters], relative, seed)
        return cls(trees, weight)

    def score_code(self, counters: np.ndarray) -> np.ndarray:
        """The trees' score alone: [N, C] -> [N], higher is better.

        Raises:
            ModelError: there are more or fewer counters than this release takes.
        """
        if counters.shape[1] != len(machine_code.NAMES):
            raise ModelError(
                f"the ranker of machine code reads {len(machine_code.NAMES)} counters, but got {counters.shape[1]}"
            )
        return self._trees(torch.from_numpy(counters.astype(np.float32))).double().numpy()

    def score(self, latent: np.ndarray, counters: Sequence[np.ndarray | None]) -> np.ndarray:
        """Scores of candidates of one task: [N], higher is better; minus infinity for those without counters.

        Args:
            latent: [N] of the latent model.
            counters: of each, None for what does not compile.
        """
        scores = np.full(len(latent), -np.inf)
        rows = [i for i, found in enumerate(counters) if found is not None]
        if rows:
            table = np.stack([found for found in counters if found is not None])
            scores[rows] = latent[rows] + self.weight * self.score_code(table)
        return scores

    def save(self, path: Path) -> None:
        """Writes the trees; see `foretune.costmodel.model_file`."""
        trees, levels = self._trees.feature.shape
        header = {"layout": _LAYOUT, "weight": self.weight, "trees": trees, "levels": levels}
        arrays = {name: value.numpy() for name, value in self._trees.state_dict().items()}
        names = text_array("\n".join(machine_code.NAMES))
        write_model(path, self.kind, header, {**arrays, "counters": names})

    @classmethod
    def load(cls, path: Path) -> CodeRanker:
        """Reads what `save` wrote.

        Raises:
            ModelError: the file is missing, damaged, of another layout, or its counters are not those of this release.
        """
        header, arrays = read_model(path, cls.kind)
        if header.get("layout") != _LAYOUT:
            raise ModelError(f"{path} has layout {header.get('layout')!r}, but this release reads {_LAYOUT!r}")
        names = arrays.pop("counters", text_array("")).tobytes().decode(errors="replace").split("\n")
        if tuple(names) != machine_code.NAMES:
            raise ModelError(f"{path} reads other counters than this release takes of machine code; train it again")
        try:
            trees, levels = int(header["trees"]), int(header["levels"])
            if trees != len(arrays["feature"]):
                raise ModelError(f"{path} is damaged: it states {trees} trees, but holds {len(arrays['feature'])}")
            return cls(network_of(lambda: TreeHead(trees, levels), arrays), float(header["weight"]))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"{path} is damaged or does not fit this release: {error}") from error

    @classmethod
    def bundled_path(cls) -> Path:
        """The file of the trees that ship with Foretune."""
        return Path(__file__).parents[1] / "weights" / "code.safetensors"

    @classmethod
    @cache
    def bundled(cls) -> CodeRanker:
        """The trees that ship with Foretune."""
        return cls.load(cls.bundled_path())
