"""Split: which workloads of a data set train, which choose the epoch, and which test.

Splits are by workload, never by record. They are saved beside the data, so that every model of every
release is held to the same test workloads.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from foretune.errors import DataError, OptionError
from foretune.support.files import write_text_atomically

FILE_NAME = "split.json"
_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Hashes of the workloads of each part.

    Attributes:
        train, validation, test: disjoint sets.
    """

    train: frozenset[str]
    validation: frozenset[str]
    test: frozenset[str]

    def __post_init__(self) -> None:
        if len(self.train | self.validation | self.test) != len(self.train) + len(self.validation) + len(self.test):
            raise DataError("a workload is in two parts of the split")

    def save(self, folder: Path) -> None:
        """Writes `split.json` into a data folder."""
        write_text_atomically(
            folder / FILE_NAME, json.dumps({part: sorted(getattr(self, part)) for part in _PARTS}, indent=1) + "\n"
        )

    @classmethod
    def load(cls, folder: Path) -> Split | None:
        """Reads `split.json` of a data folder; None if there is none.

        Raises:
            DataError: the file is damaged.
        """
        path = folder / FILE_NAME
        try:
            data = json.loads(path.read_text())
            return cls(*(frozenset(map(str, data[part])) for part in _PARTS))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, DataError) as error:
            raise DataError(f"{path} is damaged: {error}") from error

    def __or__(self, other: Split) -> Split:
        """The split of two data sets together.

        Raises:
            DataError: they disagree on a workload.
        """
        return Split(*(getattr(self, part) | getattr(other, part) for part in _PARTS))


def make_split(
    families: Mapping[str, str], validation: float = 0.1, test: float = 0.2, seed: int = 0, kept: Split | None = None
) -> Split:
    """Splits workloads, family by family.

    The order within a family is a hash of workload and seed, so it does not depend on the order of the data.

    Args:
        families: workload hash -> family.
        validation, test: shares of each family; a family of three or more has at least one workload in each part.
        seed: of the order.
        kept: a split whose decisions stay; only workloads that it lacks are placed.

    Raises:
        OptionError: the shares leave nothing to train on.
    """
    if min(validation, test) < 0 or validation + test >= 1:
        raise OptionError(
            f"`0 <= validation, 0 <= test, validation + test < 1` must hold, but got validation={validation} and"
            f" test={test}"
        )
    by_family: dict[str, list[str]] = defaultdict(list)
    for workload, family in families.items():
        by_family[family].append(workload)
    parts: dict[str, set[str]] = {part: set(getattr(kept, part)) & set(families) if kept else set() for part in _PARTS}
    for members in by_family.values():
        wanted = {"test": _share(test, len(members)), "validation": _share(validation, len(members))}
        placed = {part: sum(w in parts[part] for w in members) for part in _PARTS}
        for workload in _shuffled((w for w in members if not any(w in parts[p] for p in _PARTS)), seed):
            part = next((p for p in ("test", "validation") if placed[p] < wanted[p]), "train")
            parts[part].add(workload)
            placed[part] += 1
    return Split(*(frozenset(parts[part]) for part in _PARTS))


def _share(share: float, count: int) -> int:
    return max(1, round(share * count)) if share and count >= 3 else 0


def _shuffled(workloads: Iterable[str], seed: int) -> list[str]:
    return sorted(workloads, key=lambda w: hashlib.sha256(f"{seed}/{w}".encode()).digest())
