"""What is known of this machine: its best rates, whatever else runs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from foretune.target import HardwareFeatures, at_its_best, known_well, measure_host

QUIET = HardwareFeatures(2, 512, 1 << 15, 1 << 20, 1 << 25, peak_gflops=260.0, memory_gb_per_sec=40.0)
BUSY = replace(QUIET, peak_gflops=90.0, memory_gb_per_sec=41.0)


def test_a_busy_machine_is_the_same_machine(tmp_path):
    path = tmp_path / "cache" / "host.json"
    assert at_its_best(BUSY, path) == BUSY
    assert at_its_best(QUIET, path) == replace(QUIET, memory_gb_per_sec=41.0)
    assert at_its_best(BUSY, path) == at_its_best(QUIET, path) == replace(QUIET, memory_gb_per_sec=41.0)
    for _ in range(20):
        at_its_best(BUSY, path)
    kept = path.read_text()
    assert at_its_best(BUSY, path) == at_its_best(QUIET, path) == replace(QUIET, memory_gb_per_sec=41.0)
    assert path.read_text() == kept


def test_a_machine_that_a_few_processes_measured_is_known(tmp_path):
    path, unmeasured = tmp_path / "host.json", replace(QUIET, peak_gflops=0.0, memory_gb_per_sec=0.0)
    for _ in range(20):
        assert known_well(unmeasured, path) is None
        at_its_best(QUIET, path)
    assert known_well(unmeasured, path) == QUIET
    assert known_well(replace(unmeasured, cores=1), path) is None
    data = json.loads(path.read_text())
    for times, rate in ((1e999, 1.0), ("20", 260.0), ([], 260.0), (20, 0.0), (20, -1.0), (20, "1")):
        path.write_text(json.dumps({**data, "times": times, "hardware": {**data["hardware"], "peak_gflops": rate}}))
        known = known_well(unmeasured, path)
        assert known == (QUIET if times == "20" else None)


def test_this_machine_is_measured_and_then_known(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    first = measure_host.__wrapped__()
    assert first.cores > 0 and first.peak_gflops > 0 and first.memory_gb_per_sec > 0
    path = tmp_path / ".cache" / "foretune" / "host.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "times": 20}))
    monkeypatch.setattr("foretune.target._measured", lambda host: pytest.fail("it is known"))
    assert measure_host.__wrapped__() == first


def test_other_machines_are_measured_anew(tmp_path):
    path = tmp_path / "host.json"
    at_its_best(QUIET, path)
    fewer = replace(BUSY, cores=1)
    assert at_its_best(fewer, path) == fewer
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "cpu": "another"}))
    assert at_its_best(BUSY, path) == BUSY


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"cpu": 1, "hardware": []}',
        json.dumps({"hardware": {"peak_gflops": "many"}}),
        json.dumps({"hardware": BUSY.to_json() | {"peak_gflops": 1e30}}),
        json.dumps({"hardware": BUSY.to_json() | {"peak_gflops": "260"}}),
        json.dumps({"hardware": QUIET.to_json() | {"more": 1}}),
        "[" * 100_000,
    ],
)
def test_damaged_files_are_written_anew(tmp_path, text, monkeypatch):
    monkeypatch.setattr("foretune.target._cpu_name", lambda: None)
    path = tmp_path / "host.json"
    path.write_text(text.replace('{"hardware"', '{"cpu": null, "hardware"'))
    assert at_its_best(BUSY, path) == BUSY
    assert at_its_best(replace(BUSY, peak_gflops=50.0), path) == BUSY


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    assert at_its_best(BUSY, tmp_path / "file" / "host.json") == BUSY
