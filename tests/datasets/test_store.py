"""The Parquet store: append, compact, recover, refuse."""

from __future__ import annotations

import json

import pytest

from foretune import DataError
from foretune.datasets.store import RecordStore
from tests.synthetic import TASK, synthetic_trajectories


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
    assert len(store.manifest.shards) == 3 and not list(filled.glob("batch-*"))


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


@pytest.mark.parametrize("damage", [lambda b: b[:-20], lambda b: b"", lambda b: b"x" * len(b)])
def test_damaged_shards_are_named(filled, damage):
    batch = sorted(filled.glob("batch-*"))[1]
    batch.write_bytes(damage(batch.read_bytes()))
    with pytest.raises(DataError, match=batch.name):
        list(RecordStore(filled).rows())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}'])
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
