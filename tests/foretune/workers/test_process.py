"""Worker processes that are asked nonsense, print, hang, crash, are killed, or never start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from foretune.errors import WorkerError
from foretune.workers.messages import Reply, Request
from foretune.workers.pool import WorkerPool
from foretune.workers.process import Death, Silence, WorkerProcess
from tests.foretune.workers.odd_worker import Do, Start, Unserved

ODD = str(Path(__file__).with_name("odd_worker.py"))


@pytest.fixture
def process():
    made = WorkerProcess(ODD, Start())
    yield made
    made.close()


def test_requests_are_answered_in_order(process):
    for number in range(3):
        did = process.request(Do("nothing", (("n", number),)), 20)
        assert (did.status, did.pairs, did.note) == ("ok", (("n", number),), "done")
    assert process.welcome.pid == process.pid


def test_what_is_not_understood_or_fails_is_an_error_and_the_worker_goes_on(process):
    assert process.request(Unserved(), 20) == Reply(
        "error", "a request's `op` must be one of ['Do'], but got 'Unserved'"
    )
    assert process.request(Do(7), 20).error == "Do.what: must be of type str, but got 7"
    assert process.request(Do("raise"), 20).error == "ValueError: cannot be done"
    assert "JSON data and dataclasses" in process.request(Do("reply nonsense"), 20).error
    assert process.request(Do("nothing"), 20).status == "ok" and process.generation == 1


def test_what_is_printed_is_no_reply(process):
    assert process.request(Do("print"), 20).note == "done"
    assert process.request(Do("nothing"), 20).note == "done"


def test_silence_and_death(process):
    assert process.request(Do("nothing"), 20).status == "ok"
    start, generation = time.monotonic(), process.generation
    with pytest.raises(Silence):
        process.request(Do("hang"), 0.2)
    assert time.monotonic() - start < 30
    assert process.generation > generation and process.pid is None  # what it held is lost from now on
    with pytest.raises(Death, match="killed by signal 6"):
        process.request(Do("crash"), 20)
    assert process.request(Do("nothing"), 20).status == "ok"
    threading.Timer(0.3, lambda: os.kill(process.pid, signal.SIGKILL)).start()
    with pytest.raises(Death, match="killed by signal 9"):
        process.request(Do("hang"), 20)
    assert process.request(Do("nothing"), 20).status == "ok"


def test_death_is_seen_though_a_forked_child_lives_on(process):
    start = time.monotonic()
    with pytest.raises(Death, match="killed by signal 9"):
        process.request(Do("fork and be killed"), 50)
    assert time.monotonic() - start < 30


def test_a_request_that_takes_too_long_ends_the_process_by_itself():
    process = WorkerProcess(ODD, Start(alarm_secs=1))
    with pytest.raises(Death, match="killed by signal 14"):
        process.request(Do("hang"), 50)


@pytest.mark.parametrize(
    ("module", "hello", "reason"),
    [
        ("foretune.no_such_module", Start(), "No module named foretune.no_such_module"),
        (ODD, Start("raise"), "RuntimeError: no such weather"),
        (ODD, Unserved(), r"`op` must be one of \['Start'\], but got 'Unserved'"),
        (ODD, Start(alarm_secs="soon"), "Start.alarm_secs: must be of type int, but got 'soon'"),
    ],
)
def test_a_process_that_does_not_start(module: str, hello: Request, reason: str):
    process = WorkerProcess(module, hello)
    with pytest.raises(WorkerError, match="could not be started with .*" + reason):
        process.start()
    assert process.pid is None


@pytest.mark.parametrize("garbage", ["garbage before anything", '["garbage"]', '{"garbage": 1}'])
def test_garbage_instead_of_a_reply_ends_the_process(garbage, monkeypatch):
    monkeypatch.setenv("ODD_WORKER", garbage)
    process = WorkerProcess(ODD, Start())
    with pytest.raises(WorkerError, match=r"could not be started with .*gave no reply: .*garbage"):
        process.start()
    assert process.pid is None


def test_a_worker_alone_answers_garbage_and_ends_with_its_input():
    lines = [b'{"op": "Start"}', b"\xff\xfe", b"[]", b'{"op": "__class__"}', b'{"op": "Do", "what": "nothing"}']
    done = subprocess.run([sys.executable, ODD], input=b"\n".join(lines), capture_output=True, timeout=60)
    replies = [json.loads(line) for line in done.stdout.splitlines()]
    assert [reply["status"] for reply in replies] == ["ok", "error", "error", "error", "ok"]
    assert done.returncode == 0 and done.stderr == b""


def test_a_pool_shares_work_and_survives_a_crash():
    pool = WorkerPool(lambda: WorkerProcess(ODD, Start()), 1)
    pool.grow(2)

    def work(worker: WorkerProcess, item: tuple[str, int]) -> int | str:
        try:
            return worker.request(Do(item[0], (item,)), 20).pairs[0][1]
        except Death as error:
            return str(error)[-8:]

    try:
        found = pool.map(work, [("nothing", 1), ("crash", 2), *[("nothing", n) for n in range(3, 9)]])
        assert found == [1, "signal 6", *range(3, 9)]
        assert len(pool.each(lambda worker: worker.pid)) == len(pool) == 2
    finally:
        pool.close()
