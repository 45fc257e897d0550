"""Tables of machine code beside records."""

from __future__ import annotations

import numpy as np
import pytest

from foretune import Candidate, DataError, Status
from foretune.datasets.records.code_table import FILE_NAME, CodeTable, read_parts, table_beside, write_part
from tests.datasets.small_data import DENSE, trace

NAMES = ("loops", "spills")


def candidate(number: int) -> Candidate:
    return Candidate(DENSE, trace(number + 1))


def table(*rows: tuple[int, Status, list[float] | None]) -> CodeTable:
    kept = [(candidate(n), status, None if c is None else np.array(c, np.float32)) for n, status, c in rows]
    return CodeTable.of(NAMES, kept)


def test_what_was_written_is_read(tmp_path):
    made = table((0, Status.OK, [1.5, 2.0]), (1, Status.BUILD_TIMEOUT, None))
    made.save(tmp_path / FILE_NAME)
    read = table_beside(tmp_path)
    assert len(read) == 2 and read.names == NAMES and candidate(1) in read and candidate(2) not in read
    assert read.find(candidate(0)).tolist() == [1.5, 2.0] and read.find(candidate(1)) is None
    rows, counters = read.find_all([candidate(2), candidate(1), candidate(0)])
    assert rows == [2] and counters.tolist() == [[1.5, 2.0]] and counters.dtype == np.float32
    assert read.counts()["ok"] == read.counts()["build_timeout"] == 1


def test_parts_are_joined_and_the_last_row_of_a_candidate_counts(tmp_path):
    assert len(read_parts(tmp_path, NAMES)) == 0 and table_beside(tmp_path) is None
    write_part(tmp_path, table((0, Status.BUILD_ERROR, None), (1, Status.OK, [0.0, 1.0])))
    write_part(tmp_path, table((0, Status.OK, [3.0, 4.0])))
    joined = read_parts(tmp_path, NAMES)
    assert len(joined) == 2 and joined.find(candidate(0)).tolist() == [3.0, 4.0]
    with pytest.raises(DataError, match="different counters"):
        read_parts(tmp_path, ("loops",))


@pytest.mark.parametrize("damage", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: b"PK" + raw[2:40]])
def test_damage_is_noticed(tmp_path, damage):
    path = tmp_path / FILE_NAME
    table((0, Status.OK, [1.0, 2.0])).save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="damaged"):
        CodeTable.load(path)


def test_arrays_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / FILE_NAME
    with open(path, "wb") as file:
        np.savez(
            file,
            keys=np.zeros(2, np.uint64),
            statuses=np.zeros(1, np.uint8),
            counters=np.zeros((2, 2), np.float16),
            names=np.frombuffer(b"loops\nspills", np.uint8),
        )
    with pytest.raises(DataError, match="do not fit"):
        CodeTable.load(path)
    with open(path, "wb") as file:
        np.savez(file, keys=np.array([{}], object))
    with pytest.raises(DataError, match="damaged"):
        CodeTable.load(path)
