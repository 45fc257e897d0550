"""PyTorch's mega-cache carries tuned records: a fresh home measures nothing, and bad bytes harm nothing."""

from __future__ import annotations

import json
import logging
import zlib

import pytest
import torch
from torch import nn

from foretune.compiler.caches import mega_cache
from foretune.compiler.pytorch.graph_report import compile_reports
from foretune.compiler.torch_private import CacheArtifactManager
from foretune.datasets.records.database import Database, default_path
from foretune.errors import DataError
from foretune.testing.synthetic import synthetic_trajectories


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(mega_cache, "_loaded", [])
    monkeypatch.setattr(mega_cache, "_num_brought", {})
    with CacheArtifactManager.with_fresh_cache():
        yield


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Makes an empty home folder, and moves there."""

    def move(name: str) -> None:
        monkeypatch.setenv("HOME", str(tmp_path / name))
        (tmp_path / name).mkdir()

    return move


def num_trials(model: nn.Module, x: torch.Tensor, **options) -> int:
    """Measurements that compiling a model makes."""
    torch.compiler.reset()
    options = {"trials": 2, "looks": 0, "guard": False, "progress": False, **options}
    with torch.no_grad():
        torch.compile(model, backend="foretune", options=options)(x)
    return compile_reports()[-1].num_trials


def tuned_task(tmp_path):
    """Some records of one task, as a database has them."""
    with Database(tmp_path / "some.db") as database:
        database.add([t.record for t in synthetic_trajectories(6, seed=0)])
        task = database.tasks()[0]
        database.set_checked(database.records(task)[0], 1e-6, 1e-3)
        database.set_promise(task, 0.125)
        return database.tuned(task)


def test_a_round_trip_into_an_empty_home_measures_nothing(home, tmp_path):
    torch.manual_seed(0)
    model, x = nn.Linear(16, 16).eval(), torch.randn(4, 16)
    home("first")
    assert num_trials(model, x) > 0
    data, info = torch.compiler.save_cache_artifacts()
    [key] = info.foretune_records_artifacts
    home("second")
    assert not default_path().exists()
    assert torch.compiler.load_cache_artifacts(data).foretune_records_artifacts == [key]
    with Database(default_path(), read_only=True) as database:
        [task] = database.tasks()
        assert mega_cache.key_of(task.target, task.workload.hash) == key and database.num_records(task) >= 2
    assert num_trials(model, x) == 0
    assert num_trials(model, x, database=str(tmp_path / "another.db")) == 0


def test_all_that_a_database_knows_comes_back(tmp_path):
    found = tuned_task(tmp_path)
    again = mega_cache.unpacked(mega_cache.packed(found))
    assert again == found and again.promise == 0.125 and len(again.errors) == 1
    with Database(tmp_path / "another.db") as database:
        assert database.take_over(again) == len(found.records) and database.take_over(again) == 0
        assert database.tuned(database.tasks()[0]) == found


def changed(found, *path, value) -> bytes:
    """An artifact in which one value is another."""
    document = inner = found.to_json()
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return zlib.compress(json.dumps(document).encode())


BAD = {
    "cut short": lambda found: mega_cache.packed(found)[:-9],
    "no zlib": lambda found: b"\x80\x04cos\nsystem\n.",
    "something behind": lambda found: mega_cache.packed(found) + b"more",
    "no JSON": lambda found: zlib.compress(b"{'schema': 1}"),
    "another schema": lambda found: changed(found, "schema", value="foretune-tuned-task-9"),
    "no task": lambda found: changed(found, "task", value=[]),
    "unknown status": lambda found: changed(found, "records", 0, "status", value="fine"),
    "negative time": lambda found: changed(found, "records", 0, "run_secs", value=[-1.0]),
    "a time that is no number": lambda found: changed(found, "records", 0, "timestamp", value=float("nan")),
    "unknown settings": lambda found: changed(found, "records", 0, "settings", value={"shell": "true"}),
    "a trace that is none": lambda found: changed(found, "records", 0, "trace", value=[["op", {}, [], [], None]]),
    "a check of nothing": lambda found: changed(found, "errors", value={"0123": 0.0}),
    "an endless gain": lambda found: changed(found, "promise", value=-1),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_bytes_are_refused(kind, tmp_path):
    with pytest.raises(DataError):
        mega_cache.unpacked(BAD[kind](tuned_task(tmp_path)))


def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mega_cache, "_MOST_BYTES", 1000)
    with pytest.raises(DataError, match="it unpacks to more than 1000 bytes"):
        mega_cache.unpacked(mega_cache.packed(tuned_task(tmp_path)))


def test_damage_is_told_and_the_rest_is_loaded(home, tmp_path, caplog):
    home("home")
    found = tuned_task(tmp_path)
    key = mega_cache.key_of(found.task.target, found.task.workload.hash)
    CacheArtifactManager.record_artifact(mega_cache.KIND, "a-wrong-key", mega_cache.packed(found))
    CacheArtifactManager.record_artifact(mega_cache.KIND, "damaged", b"damaged")
    CacheArtifactManager.record_artifact(mega_cache.KIND, key, mega_cache.packed(found))
    data, _ = torch.compiler.save_cache_artifacts()
    with caplog.at_level(logging.WARNING, "foretune"):
        torch.compiler.load_cache_artifacts(data)
    told = [r.getMessage() for r in caplog.records if "are left out" in r.getMessage()]
    assert len(told) == 2 and f"its records are of {key}" in told[0] and "it is damaged" in told[1]
    with Database(default_path(), read_only=True) as database:
        assert database.num_records() == len(found.records)
