"""Remote devices: a real tracker and real servers on this machine's loopback address."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("tornado", reason="TVM's RPC tracker needs tornado")

from foretune import Candidate, MeasureSettings, OptionError, Status, Trace, WorkerError
from foretune.compiler.measure.environment import TvmEnvironment
from foretune.compiler.measure.measurer import Measurer
from foretune.compiler.measure.messages import Build
from foretune.compiler.measure.remote import Device
from foretune.compiler.metaschedule.tuner import Progress, Tuner
from foretune.compiler.metaschedule.tuner_config import TunerConfig
from foretune.compiler.tir.space import design_spaces
from foretune.compiler.tir.target import architecture, parse_target
from foretune.costmodel.latent.model import LatentCostModel
from foretune.datasets.records.collect import CollectConfig, collect
from foretune.datasets.records.database import Database
from foretune.datasets.records.store import RecordStore

KEY = "board"
SETTINGS = MeasureSettings(repeat=2, min_repeat_ms=1.0, run_timeout_sec=10.0)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Cluster:
    """A tracker and servers that can be killed with everything they started."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory()
        self.work = Path(self._folder.name)
        self.processes = [self._start("rpc_tracker", "--port", self.port, "--port-end", self.port + 1)]
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.2)
        raise TimeoutError("the tracker did not start")

    @property
    def device(self) -> Device:
        return Device.parse(f"127.0.0.1:{self.port}:{KEY}")

    def serve(self, num_threads: int = 2) -> subprocess.Popen:
        port = free_port()
        server = self._start(
            "rpc_server",
            "--port",
            port,
            "--port-end",
            port + 1,
            "--tracker",
            f"127.0.0.1:{self.port}",
            "--key",
            KEY,
            TVM_NUM_THREADS=str(num_threads),
        )
        self.processes.append(server)
        return server

    def kill(self, process: subprocess.Popen) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def close(self) -> None:
        for process in self.processes:
            self.kill(process)
        self._folder.cleanup()

    def _start(self, module: str, *arguments: object, **environment: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"tvm.exec.{module}", "--host", "127.0.0.1", *map(str, arguments)]
        environment = {**os.environ, **environment, "TMPDIR": str(self.work)}
        return subprocess.Popen(
            command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


@pytest.fixture(scope="module")
def cluster():
    made = Cluster()
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(cluster):
    return cluster.serve()


def candidates(task, num: int) -> list[Candidate]:
    space = design_spaces(task)[0]
    return [
        Candidate(task, Trace(())),
        *(Candidate(task, space.decode([i] * len(space.domains))) for i in range(num - 1)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "board",
        "host:board",
        "host:70000:board",
        "host:0:board",
        "host:91a:board",
        "host:9190:",
        "a b:1:c",
        "::1:9190:b",
    ],
)
def test_malformed_addresses(text):
    with pytest.raises(OptionError, match="expected HOST:PORT:KEY"):
        Device.parse(text)


def test_addresses():
    assert Device.parse("10.0.0.1:9190:rasp-4") == Device("10.0.0.1", 9190, "rasp-4")
    assert Device.parse("[::1]:9190:b") == Device("::1", 9190, "b")


def test_foreign_targets():
    assert (
        architecture(parse_target('{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72"}'))
        == "aarch64"
    )
    assert architecture(parse_target("auto")) == architecture()


def test_a_foreign_device_gets_objects_to_link(matmul_task, tmp_path):
    board = parse_target('{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "num-cores": 4}')
    task = replace(matmul_task, target=board)
    with Measurer(SETTINGS, num_workers=1) as measurer:
        for trace in (Trace(()), design_spaces(task)[0].template):
            request = Build(
                id=0,
                workload=task.workload.hash,
                program=task.workload.program,
                target=board.to_dict(),
                trace=trace.to_json(),
                seed=1,
                library=str(tmp_path / "library"),
            )
            reply = measurer._workers[0].request(request, 60)
            assert reply.status == "ok", reply
            with tarfile.open(reply.library) as archive:
                machines = {archive.extractfile(m).read(20)[18] for m in archive.getmembers() if m.name.endswith(".o")}
            assert machines == {0xB7}  # ELF's number of AArch64


def test_measures_remotely_and_leaves_nothing(cluster, server, matmul_task, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # other tests that run now leave and take folders, too
    with Measurer(SETTINGS, store_features=True, device=cluster.device) as measurer:
        assert measurer.num_device_threads() == 2
        nonsense = Candidate(matmul_task, Trace.from_json([["NoSuchInstruction", [], [], [], None]]))
        measured = measurer.measure_all([*candidates(matmul_task, 4), nonsense])
        assert [m.record.status for m in measured[:2]] == [Status.OK] * 2 and measured[
            -1
        ].record.status is Status.ILLEGAL
        assert dict(measured[0].record.environment)["device"] == KEY and len(measured[0].store_features[0]) == 164
        folders = list(tmp_path.glob("foretune-*/"))
        assert folders and not [p for folder in folders for p in folder.iterdir() if p.name != ".owner"]
    deadline = time.monotonic() + 10
    while list(cluster.work.rglob("*.so")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not list(cluster.work.rglob("*.so"))
    assert not list(tmp_path.glob("foretune-*/"))


def test_a_kernel_that_runs_too_long(cluster, server, target):
    from foretune.compiler.tir.workload import task_from_module
    from tests.programs import matmul_module

    slow = Candidate(task_from_module(matmul_module(1024), target), Trace(()))
    with Measurer(MeasureSettings(run_timeout_sec=0.01), num_workers=1, device=cluster.device) as measurer:
        measurer.settings = MeasureSettings(repeat=3, min_repeat_ms=60_000.0, run_timeout_sec=0.01)
        record = measurer.measure([slow])[0]
        assert record.status is Status.RUN_TIMEOUT and "session has expired" in record.error
        assert measurer.num_device_threads() == 2


def test_collection_survives_the_death_of_a_server(cluster, server, matmul_task, tmp_path):
    """The only server is killed in the middle; another one comes seconds later."""
    killed = threading.Event()

    def kill_and_return() -> None:
        cluster.kill(server)
        killed.set()
        cluster.serve()

    with (
        Measurer(SETTINGS, store_features=True, device=cluster.device, device_wait_secs=60) as measurer,
        RecordStore(tmp_path, writable=True) as store,
    ):

        def report(done: int, total: int) -> None:
            if done >= 8 and not killed.is_set():
                killed.set()
                threading.Timer(0.3, kill_and_return).start()

        assert collect([matmul_task], TvmEnvironment(measurer), store, CollectConfig(40, batch_size=8), report) == 40
        assert killed.is_set()
        assert not [p for p in measurer._library_folder.path.iterdir() if p.name != ".owner"]
    records = [t.record for t in RecordStore(tmp_path).trajectories()]
    assert len({r.trace.key for r in records}) == 40
    assert sum(r.status is Status.OK for r in records) >= 30
    assert {r.status for r in records} <= {
        Status.OK,
        Status.RUN_ERROR,
        Status.RUN_TIMEOUT,
        Status.ILLEGAL,
        Status.BUILD_TIMEOUT,
    }


def test_tuning_survives_the_death_of_a_server(cluster, matmul_task, tmp_path):
    """Two servers; one of them is killed, with what it was running, between the first and the last batch."""
    servers = [cluster.serve(), cluster.serve()]
    killed = threading.Event()
    with (
        Measurer(SETTINGS, device=cluster.device, device_wait_secs=60) as measurer,
        Database(tmp_path / "records.db") as database,
    ):
        tuner = Tuner(LatentCostModel.bundled(), database, TunerConfig(24, batch_size=6), measurer)

        def kill_during_the_next_batch(progress: Progress) -> None:
            if not killed.is_set():
                killed.set()
                threading.Timer(0.5, lambda: cluster.kill(servers[0])).start()

        report = tuner.tune([matmul_task], kill_during_the_next_batch)
        records = database.records(matmul_task)
    assert killed.is_set() and report.num_trials >= 24
    assert sum(r.status is not Status.OK for r in records) <= 6
    assert report.secs[matmul_task.workload.hash] == min(r.best_secs for r in records if r.status is Status.OK)
    cluster.kill(servers[1])


def test_no_device_answers(cluster, matmul_task):
    nobody = Device("127.0.0.1", cluster.port, "nobody")
    with (
        Measurer(SETTINGS, num_workers=1, device=nobody, device_wait_secs=2) as measurer,
        pytest.raises(WorkerError, match="no device 'nobody' of the RPC tracker"),
    ):
        measurer.measure(candidates(matmul_task, 1))


def test_no_tracker_answers():
    with (
        Measurer(SETTINGS, num_workers=1, device=Device("127.0.0.1", free_port(), KEY), device_wait_secs=2) as measurer,
        pytest.raises(WorkerError, match="could be used"),
    ):
        measurer.num_device_threads()
