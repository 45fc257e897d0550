"""The Parquet store: append, compact, recover, refuse."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foretune import DataError
from foretune.datasets.records.store import RecordStore
from foretune.testing.synthetic import TASK, synthetic_trajectories


@pytest.fixture
def filled(tmp_path):
    with RecordStore(tmp_path, writable=True) as store:
        store.append_workloads([TASK, TASK])
        for seed in range(4):
            store.append(synthetic_trajectories(5, seed))
    return tmp_path


def test_records_come_back(filled):
    store = RecordStore(filled)
    expected = [t.record for seed in range(4) for t in synthetic_trajectories(5, seed)]
    assert [t.record for t in store.trajectories()] == expected
    assert store.manifest.num_records == 20
    assert store.counts() == {"synthetic": 20}


def test_compaction_keeps_everything(filled):
    before = {t.record for t in RecordStore(filled).trajectories()}
    with RecordStore(filled, writable=True) as store:
        store.compact(rows_per_shard=8)
    store = RecordStore(filled)
    assert {t.record for t in store.trajectories()} == before
    assert len(store.manifest.shards) == 4  # 5 + 5 is more than 8
    with RecordStore(filled, writable=True) as store:
        store.compact()
    store = RecordStore(filled)
    assert {t.record for t in store.trajectories()} == before
    assert len(store.manifest.shards) == 1 and not list(filled.glob("batch-*"))


def test_a_batch_that_the_manifest_misses_is_adopted(filled):
    manifest = json.loads((filled / "manifest.json").read_text())
    manifest["shards"].popitem()
    (filled / "manifest.json").write_text(json.dumps(manifest))
    with RecordStore(filled, writable=True) as store:
        assert store.manifest.num_records == 20


def test_a_merged_shard_that_the_manifest_misses_is_dropped(filled):
    batch = next(filled.glob("batch-*"))
    (filled / "shard-00ff.parquet").write_bytes(batch.read_bytes())
    (filled / ".x.tmp").write_bytes(b"torn")
    with RecordStore(filled, writable=True) as store:
        assert store.manifest.num_records == 20
    assert not (filled / "shard-00ff.parquet").exists() and not (filled / ".x.tmp").exists()


def test_one_writer_at_a_time(filled):
    with RecordStore(filled, writable=True), pytest.raises(DataError, match="being written by another process"):
        RecordStore(filled, writable=True)


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b"", lambda b: b"x" * len(b), flip])
def test_damaged_shards_are_named_and_the_rest_is_readable(filled, damage):
    batch = sorted(filled.glob("batch-*"))[1]
    batch.write_bytes(damage(batch.read_bytes()))
    with pytest.raises(DataError, match=batch.name):
        list(RecordStore(filled).rows())
    store = RecordStore(filled, skip_damaged=True)
    assert len(list(store.trajectories())) == 15
    assert len(store.damaged) == 1 and batch.name in store.damaged[0]


def test_a_missing_shard_is_named(filled):
    batch = sorted(filled.glob("batch-*"))[1]
    batch.unlink()
    with pytest.raises(DataError, match=batch.name):
        list(RecordStore(filled).rows())


def test_a_shard_of_another_version_is_named(filled):
    name = "batch-00ff-00ff.parquet"
    other = {b"foretune_schema": b"99"}
    pq.write_table(pa.table({"x": [1]}, metadata=None).replace_schema_metadata(other), filled / name)
    with pytest.raises(DataError, match=f"{name} has schema version 99, but this release reads version 2"):
        RecordStore(filled, writable=True)
    with RecordStore(filled, writable=True, skip_damaged=True) as store:
        assert store.manifest.num_records == 20 and name in store.damaged[0]


@pytest.mark.parametrize("damaged", ["manifest.json", "batch", "workloads"])
def test_repair_sets_damaged_files_aside(filled, damaged):
    path = sorted(filled.glob(f"{damaged}*"))[0]
    path.write_bytes(path.read_bytes()[:-9])
    with RecordStore(filled, writable=True, skip_damaged=True) as store:
        bad = store.repair()
    assert bad == ([] if damaged == "manifest.json" else [path.name])
    store = RecordStore(filled)
    assert store.manifest.num_records == len(list(store.rows())) == (15 if damaged == "batch" else 20)


def test_a_lost_manifest_is_rebuilt_without_counting_merged_batches_twice(filled):
    kept = {p.name: p.read_bytes() for p in filled.glob("batch-*")}
    with RecordStore(filled, writable=True) as store:
        store.compact()
    for name, data in kept.items():  # as if the kill had come before the merged batches were deleted
        (filled / name).write_bytes(data)
    (filled / "manifest.json").write_text("{")
    store = RecordStore(filled, skip_damaged=True)
    assert len(list(store.rows())) == 20


def test_columns_stream_in_batches(filled):
    store = RecordStore(filled)
    assert sum(b.num_rows for b in store.batches(["status"])) == 20
    assert {name for b in store.batches(["status"]) for name in b.schema.names} == {"status"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', "\x00\xff"])
def test_damaged_manifest(filled, text):
    (filled / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        RecordStore(filled)


def test_other_schema_version(filled):
    manifest = json.loads((filled / "manifest.json").read_text())
    (filled / "manifest.json").write_text(json.dumps({**manifest, "schema": 99}))
    with pytest.raises(DataError, match="schema version 99"):
        RecordStore(filled)


def test_paths_in_the_manifest_cannot_leave_the_folder(filled):
    manifest = json.loads((filled / "manifest.json").read_text())
    manifest["shards"]["../../etc/passwd"] = {"rows": 1, "statuses": {}, "sha256": ""}
    (filled / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="not a shard of this folder"):
        RecordStore(filled)


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match="there is no data folder"):
        RecordStore(tmp_path / "none")
    with pytest.raises(DataError, match=r"has no manifest\.json"):
        RecordStore(tmp_path)
