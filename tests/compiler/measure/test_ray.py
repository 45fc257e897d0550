"""Collection on a real Ray cluster of two nodes, all of it on this machine's loopback address."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

os.environ.setdefault(
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"
)  # binds the cluster to the loopback address; read when Ray is imported
pytest.importorskip("ray", reason="Ray is not installed")

import psutil

from foretune import Candidate, MeasureSettings, OptionError, Status, Trace, WorkerError
from foretune.compiler.measure.ray_cluster import RayEnvironment
from foretune.compiler.tir.workload import task_from_module
from foretune.datasets.records.collect import CollectConfig, collect
from foretune.datasets.records.store import RecordStore
from foretune.workers import ray_connection
from tests.programs import matmul_module

SETTINGS = MeasureSettings(repeat=2, min_repeat_ms=1.0)


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    made.second = made.add_node(num_cpus=2)
    yield made
    made.shutdown()


def ray_nodes() -> list[psutil.Process]:
    own = psutil.Process()
    return [p for p in own.children(recursive=True) if p.cmdline()[:1] and p.cmdline()[0].startswith("ray::RayNode")]


def test_two_nodes_and_what_they_survive(cluster, target, tmp_path):
    """One measuring actor is killed in the middle, and later a whole node is."""
    handler = signal.getsignal(signal.SIGTERM)
    tasks = [task_from_module(matmul_module(n), target, f"matmul{n}", "dense") for n in (48, 64)]
    busy: list[int] = []
    events: list[str] = []
    with RayEnvironment(cluster.address, SETTINGS) as environment, RecordStore(tmp_path, writable=True) as store:
        assert signal.getsignal(signal.SIGTERM) is handler
        assert [slot.key for slot in environment.slots] == [target.key] * 2

        def report(done: int, total: int) -> None:
            busy.append(sum(node.busy for node in environment._nodes))
            if done >= 12 and "actor" not in events:
                events.append("actor")
                os.kill(ray_nodes()[0].pid, signal.SIGKILL)
            elif done >= 36 and "node" not in events:
                events.append("node")
                cluster.remove_node(cluster.second, allow_graceful=False)

        assert collect(tasks, environment, store, CollectConfig(60, batch_size=6), report) == 60
        assert events == ["actor", "node"] and max(busy) >= 1
        assert len(environment._nodes) <= 2
        environment.interrupt()
        with pytest.raises(WorkerError, match="interrupted"):
            environment.measure([Candidate(tasks[0], Trace(()))])
    rows = list(RecordStore(tmp_path).rows(["workload", "target", "trace_key", "status"]))
    assert len({(r["workload"], r["trace_key"]) for r in rows}) == 60
    assert {r["status"] for r in rows} <= {Status.OK.value, Status.ILLEGAL.value}
    hardware = {json.dumps(json.loads(r["target"])["hardware"]) for r in rows}
    assert all(json.loads(h)["cores"] == 2 and json.loads(h)["peak_gflops"] > 0 for h in hardware)


def test_an_address_where_no_cluster_answers(monkeypatch):
    monkeypatch.setattr(ray_connection, "_CONNECT_SECS", 6.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        with pytest.raises(
            OptionError, match=r"no Ray cluster can be joined at '127\.0\.0\.1:\d+': no answer within 6 s"
        ):
            RayEnvironment(f"127.0.0.1:{silent.getsockname()[1]}", SETTINGS)
        assert time.monotonic() - start < 60


def test_ray_is_imported_only_when_asked_for():
    code = (
        "import sys, foretune.compiler.workloads.collection, foretune.compiler.measure.ray_cluster; sys.exit('ray' in"
        " sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_command_starts_a_cluster_of_its_own(tmp_path):
    command = [
        sys.executable,
        "-m",
        "foretune",
        "collect",
        "--out",
        str(tmp_path),
        "--records",
        "10",
        "--workloads",
        "layout",
        "--ray",
        "local",
        "--json",
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["num_tasks"] == 3
    rows = list(RecordStore(tmp_path).rows(["workload", "trace_key"]))
    assert len({(r["workload"], r["trace_key"]) for r in rows}) == len(rows) == json.loads(result.stdout)["num_records"]
