"""CodeTable: counters of the machine code of records, in a file beside them.

`machine_code.npz` holds no record itself: a row belongs to the candidate whose key has the row's hash. So the table can
be made later than the records, for some of them only, and goes on from where it stopped: what was looked at is kept in
parts, each written whole or not at all, until `pack` makes one file of them.

Dimension letters: N rows, C counters.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from foretune.errors import DataError
from foretune.record import Status
from foretune.support.files import write_atomically
from foretune.task import Candidate

FILE_NAME = "machine_code.npz"
_STATUSES = tuple(Status)
_FIELDS = ("keys", "statuses", "counters", "names")


class CodeTable:
    """Counters by candidate.

    Args:
        names: of the counters.
        keys: [N] uint64, hashes of the candidates' keys.
        statuses: [N] uint8, positions in `Status`.
        counters: [N, C] float16; zeros where a candidate did not compile.
    """

    def __init__(self, names: Sequence[str], keys: np.ndarray, statuses: np.ndarray, counters: np.ndarray) -> None:
        self.names = tuple(names)
        self._keys, self._statuses, self._counters = keys, statuses, counters
        self._row_of = {int(key): row for row, key in enumerate(keys)}

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, candidate: Candidate) -> bool:
        return candidate_hash(candidate) in self._row_of

    def find(self, candidate: Candidate) -> np.ndarray | None:
        """The counters of a candidate: [C] float32; None if it was not looked at or did not compile."""
        row = self._row_of.get(candidate_hash(candidate))
        if row is None or _STATUSES[self._statuses[row]] is not Status.OK:
            return None
        return self._counters[row].astype(np.float32)

    def find_all(self, candidates: Sequence[Candidate]) -> tuple[list[int], np.ndarray]:
        """Positions of the candidates whose counters are known, and these counters [N, C] float32."""
        found = [(i, row) for i, row in enumerate(map(self.find, candidates)) if row is not None]
        counters = np.array([row for _, row in found], np.float32).reshape(len(found), len(self.names))
        return [i for i, _ in found], counters

    def counts(self) -> dict[str, int]:
        """How many rows there are of each status."""
        return {status.value: int((self._statuses == i).sum()) for i, status in enumerate(_STATUSES)}

    @classmethod
    def of(cls, names: Sequence[str], rows: Sequence[tuple[Candidate, Status, np.ndarray | None]]) -> CodeTable:
        """A table of what was seen of some candidates: the status, and the counters where it is ok."""
        counters = np.zeros((len(rows), len(names)), np.float16)
        for i, (_, _, found) in enumerate(rows):
            if found is not None:
                counters[i] = found
        keys = np.array([candidate_hash(candidate) for candidate, _, _ in rows], np.uint64)
        statuses = np.array([_STATUSES.index(status) for _, status, _ in rows], np.uint8)
        return cls(names, keys, statuses, counters)

    @classmethod
    def joined(cls, names: Sequence[str], tables: Iterable[CodeTable]) -> CodeTable:
        """The rows of several tables; of rows of one candidate the last.

        Raises:
            DataError: a table has other counters.
        """
        rows: dict[int, tuple[int, np.ndarray]] = {}
        for table in tables:
            if table.names != tuple(names):
                raise DataError("tables of machine code have different counters; collect them again")
            rows.update(zip(map(int, table._keys), zip(table._statuses, table._counters)))
        keys = np.array(sorted(rows), np.uint64)
        counters = np.array([rows[int(key)][1] for key in keys], np.float16).reshape(len(keys), len(names))
        return cls(names, keys, np.array([rows[int(key)][0] for key in keys], np.uint8), counters)

    def save(self, path: Path) -> None:
        """Writes the table, whole or not at all."""
        names = np.frombuffer("\n".join(self.names).encode(), np.uint8)
        arrays: dict[str, Any] = dict(zip(_FIELDS, (self._keys, self._statuses, self._counters, names)))

        def write(temporary: Path) -> None:
            with open(temporary, "wb") as file:
                np.savez_compressed(file, **arrays)

        write_atomically(path, write)

    @classmethod
    def load(cls, path: Path) -> CodeTable:
        """Reads what `save` wrote.

        Raises:
            DataError: the file is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                keys, statuses, counters, names = (file[name] for name in _FIELDS)
            text = names.astype(np.uint8).tobytes().decode()
            table = cls(text.split("\n"), keys.astype(np.uint64), statuses.astype(np.uint8), counters)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"{path} is missing or damaged: {error}; collect the machine code again") from error
        if counters.shape != (len(keys), len(table.names)) or statuses.shape != keys.shape:
            raise DataError(f"{path} is damaged: its arrays do not fit each other; collect the machine code again")
        if len(statuses) and int(statuses.max()) >= len(_STATUSES):
            raise DataError(f"{path} is damaged: it has a status {int(statuses.max())}; collect the machine code again")
        return table


def read_parts(folder: Path, names: Sequence[str]) -> CodeTable:
    """All parts of a folder as one table; an empty one if there are none.

    Raises:
        DataError: a part is damaged or has other counters.
    """
    return CodeTable.joined(names, (CodeTable.load(path) for path in sorted(folder.glob("part-*.npz"))))


def write_part(folder: Path, table: CodeTable) -> None:
    """Adds a part."""
    number = len(list(folder.glob("part-*.npz")))
    table.save(folder / f"part-{number:06d}.npz")


def table_beside(folder: Path) -> CodeTable | None:
    """The table beside a data set; None if there is none.

    Raises:
        DataError: it is damaged.
    """
    path = folder / FILE_NAME
    return CodeTable.load(path) if path.exists() else None


def candidate_hash(candidate: Candidate) -> int:
    """64 bits that stand for a candidate's key."""
    return int.from_bytes(hashlib.sha256("/".join(candidate.key).encode()).digest()[:8], "little")
