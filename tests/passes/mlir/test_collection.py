"""Collection: labels of real runs, and a folder that goes on where it was stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from foretune.datasets.programs import mlir_samples
from foretune.datasets.programs.mlir_samples import Sample
from foretune.errors import DataError, OptionError
from foretune.passes.mlir.costs import collection
from foretune.passes.mlir.costs.collection import CollectConfig, collect
from foretune.passes.mlir.costs.observe import observations
from foretune.passes.mlir.programs import generator
from foretune.target import HardwareFeatures

FAMILIES = ("matmul", "loop_pointwise", "loop_reduction")


@pytest.fixture(scope="module")
def folder(session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("samples") / "mlir"
    collect(CollectConfig(folder, samples=8, schedules=1, batch=4, families=FAMILIES, cpus=("haswell",)))
    return folder


def test_labels_are_plausible(folder):
    samples = [s for s in mlir_samples.samples(folder) if s.status == "ok"]
    assert len(samples) >= 8 and {s.cpu for s in samples} == {"", "haswell"}
    for sample in samples:
        labels = sample.labels
        assert 5 < labels["instructions"] < 1e5 and 3 <= labels["registers"] <= 48
        assert labels["dynamic_instructions"] > 10 and labels["mca_cycles"] > 10
        assert 1e-9 < labels["secs"] < 1
        assert labels["bytes_read"] + labels["bytes_written"] > 0
        if sample.cpu == "haswell":
            assert labels["vector_registers"] <= 16


def test_observations_are_of_every_sample_and_stage(folder):
    found = list(observations(folder))
    ok = [s for s in mlir_samples.samples(folder) if s.status == "ok"]
    assert {(o.sample.key, o.stage) for o in found} == {(s.key, stage) for s in ok for stage in ("given", "llvm")}
    assert all(o.text.startswith(("module", "#")) for o in found if o.stage == "given")


def test_a_full_folder_is_left_alone_and_a_short_one_goes_on(folder):
    before = {s.key for s in mlir_samples.samples(folder)}
    collect(CollectConfig(folder, samples=4, schedules=1, batch=4, families=FAMILIES, cpus=("haswell",)))
    assert {s.key for s in mlir_samples.samples(folder)} == before
    collect(CollectConfig(folder, samples=len(before) + 3, schedules=1, batch=4, families=FAMILIES, cpus=("haswell",)))
    after = [s.key for s in mlir_samples.samples(folder)]
    assert before < set(after) and len(after) == len(set(after))


def test_counts_only(session, tmp_path):
    """Of processors that this machine need not be; nothing is timed."""
    with pytest.raises(OptionError, match="`cpus` names none"):
        CollectConfig(tmp_path, samples=1, counts_only=True)
    families = ("named_product", "straight_vectors", "loop_pointwise")
    cpus = ("znver5", "x86-64")
    collect(CollectConfig(tmp_path, samples=8, schedules=1, batch=4, families=families, cpus=cpus, counts_only=True))
    samples = [s for s in mlir_samples.samples(tmp_path) if s.status == "ok"]
    assert {s.cpu for s in samples} == set(cpus) and not any("secs" in s.labels for s in samples)
    assert all(s.labels["dynamic_instructions"] > 0 and s.labels["mca_cycles"] > 0 for s in samples)
    assert {o.stage for o in observations(tmp_path)} == {"given", "llvm"}


def test_a_killed_collection_leaves_whole_files_only(session, tmp_path):
    folder = tmp_path / "mlir"
    code = (
        "from pathlib import Path; from foretune.passes.mlir.costs import collection as c; c._ROWS_PER_FILE = 4;"
        f" c.collect(c.CollectConfig(Path({str(folder)!r}), samples=10000, schedules=0, batch=2,"
        " families=('loop_pointwise', 'loop_reduction')))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.monotonic() + 60
    while not list(folder.glob("part-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    known = list(mlir_samples.samples(folder))
    assert known
    collect(
        CollectConfig(
            folder, samples=len(known) + 2, schedules=0, batch=2, families=("loop_pointwise", "loop_reduction")
        )
    )
    keys = [s.key for s in mlir_samples.samples(folder)]
    assert len(keys) == len(set(keys)) and len(keys) >= len(known) + 2


def test_every_family_is_labelled(session, tmp_path):
    collect(CollectConfig(tmp_path / "mlir", samples=len(generator.FAMILIES), schedules=0))
    labelled = {s.family for s in mlir_samples.samples(tmp_path / "mlir") if s.status == "ok"}
    assert len(labelled) >= len(generator.FAMILIES) - 1  # one may take too long on a busy machine


def test_samples_that_all_fail_end_it(session, tmp_path, monkeypatch):
    monkeypatch.setattr(
        collection,
        "_child",
        lambda jobs, codegen: [{"status": "build_error", "error": "for a test", "schedule": []} for _ in jobs],
    )
    with pytest.raises(DataError, match=r"none of the last 400 samples could be labelled, .* for: for a test"):
        collect(CollectConfig(tmp_path / "mlir", samples=1, families=FAMILIES))


def test_rows_go_both_ways_and_damage_is_noticed(tmp_path):
    sample = Sample("matmul", 3, ("cse",), "", "ok", "", "module {}", {name: 1.5 for name in mlir_samples.LABELS})
    mlir_samples.append(tmp_path, [sample])
    assert list(mlir_samples.samples(tmp_path)) == [sample]
    [path] = tmp_path.glob("part-*.parquet")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="not a readable Parquet file"):
        list(mlir_samples.samples(tmp_path))
    with pytest.raises(DataError, match="no folder"):
        list(mlir_samples.samples(tmp_path / "nothing"))


def test_options_are_checked(tmp_path):
    with pytest.raises(OptionError, match="unknown families"):
        CollectConfig(tmp_path, 5, families=("poems",))


def test_bundled_samples_hold_what_their_card_says():
    from foretune.passes.mlir.costs.observe import BUNDLED

    statuses = [row["status"] for row in mlir_samples.read(BUNDLED, ["status"])]
    assert f"| samples | {statuses.count('ok'):,} |" in (BUNDLED / "DATA_CARD.md").read_text()
    assert {path.name for path in (BUNDLED / "observed").glob("part-*.parquet")} == {
        path.name for path in BUNDLED.glob("part-*.parquet")
    }


def test_samples_of_two_machines_are_not_mixed(tmp_path):
    one, other = (
        HardwareFeatures(vector_bits=512, l1_bytes=49152, peak_gflops=3.0),
        HardwareFeatures(vector_bits=256, l1_bytes=32768),
    )
    assert mlir_samples.machine_of(tmp_path) is None
    mlir_samples.claim(tmp_path, one)
    mlir_samples.claim(
        tmp_path, HardwareFeatures(vector_bits=512, l1_bytes=49152, peak_gflops=5.0)
    )  # the same machine, on another day
    assert mlir_samples.machine_of(tmp_path).vector_bits == 512
    with pytest.raises(DataError, match="of another machine"):
        mlir_samples.claim(tmp_path, other)
    (tmp_path / "machine.json").write_text("[")
    with pytest.raises(DataError, match="is damaged"):
        mlir_samples.machine_of(tmp_path)
