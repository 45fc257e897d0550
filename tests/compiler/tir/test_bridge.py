"""The TVM bridge: structure, design spaces, replay, and measuring that survives its candidates."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

from foretune import (
    Action,
    Candidate,
    DataError,
    IllegalActionError,
    MeasureSettings,
    Status,
    TargetError,
    Trace,
)
from foretune.compiler.measure.measurer import Measurer
from foretune.compiler.measure.messages import Start
from foretune.compiler.tir import traces
from foretune.compiler.tir.space import ScheduleContext, design_spaces
from foretune.compiler.tir.target import parse_target, tvm_target
from foretune.compiler.tir.workload import module_from_program, module_hash, task_from_module
from foretune.workers.process import WorkerProcess
from tests.programs import matmul_module


def test_graph_sees_structure_not_names(target):
    from foretune.compiler.tir._tvm import tvm

    mod = matmul_module(64)
    renamed = tvm.IRModule({"main": tvm.s_tir.Schedule(mod).mod["main"]})
    a, b = task_from_module(mod, target), task_from_module(renamed, target)
    assert a.workload.graph == b.workload.graph and a.workload.hash == b.workload.hash
    graph = a.workload.graph
    assert [n.kind for n in graph.nodes].count("block") == 2
    strides = sorted(e.features[4] for e in graph.edges if e.kind == "access" and graph.nodes[e.dst].name == "A")
    assert strides == [1.0, 64.0]


def test_program_text_round_trip(matmul_task):
    assert module_hash(module_from_program(matmul_task.workload.program)) == matmul_task.workload.hash


@pytest.mark.parametrize("text", ["", "!!", "AAAA"])
def test_damaged_program_text(text):
    with pytest.raises(DataError):
        module_from_program(text)


def test_same_trace_same_program(matmul_task, target):
    mod = module_from_program(matmul_task.workload.program)
    rng = np.random.default_rng(0)
    for space in design_spaces(matmul_task):
        trace = space.decode(space.sample(rng, 1)[0])
        hashes = set()
        for seed in (1, 2):
            schedule = traces.replay(mod, trace, seed)
            assert traces.from_tvm(schedule.trace) == trace
            assert ScheduleContext(mod, target).post_process(schedule)
            hashes.add(module_hash(schedule.mod))
        assert len(hashes) == 1


def test_trace_prints_in_tvms_own_syntax(matmul_task):
    mod = module_from_program(matmul_task.workload.program)
    text = traces.as_python(mod, design_spaces(matmul_task)[0].template)
    assert 'sch.get_sblock(name="C", func_name="main")' in text


def test_a_trace_that_does_not_apply(matmul_task):
    mod = module_from_program(matmul_task.workload.program)
    with pytest.raises(IllegalActionError):
        traces.replay(mod, Trace((Action("GetSBlock", (), ("nowhere", "main"), ("b0",)),)))


def test_records_are_in_order_and_complete(trajectories, matmul_task):
    assert all(t.record.status is Status.OK and t.record.program_hash for t in trajectories)
    assert all(len(t.final) >= 1 and len(t.final[0]) == 164 for t in trajectories)
    assert len({t.record.trace.key for t in trajectories}) > 6


def test_bad_candidates_cost_only_their_own_record(matmul_task, measurer):
    space = design_spaces(matmul_task)[0]
    good = Candidate(matmul_task, space.template)
    nonsense = Candidate(matmul_task, Trace((Action("NoSuchInstruction"),)))
    records = measurer.measure([good, nonsense, Candidate(matmul_task, Trace(()))])
    assert [r.status for r in records] == [Status.OK, Status.ILLEGAL, Status.OK]
    assert records[1].error and not records[1].run_secs


def test_a_schedule_is_checked_against_the_unscheduled_program(matmul_task, measurer):
    assert measurer.max_rel_error(Candidate(matmul_task, design_spaces(matmul_task)[0].template)) < 1e-5


def test_a_build_that_takes_too_long(matmul_task):
    with Measurer(MeasureSettings(build_timeout_sec=0.001), num_workers=1) as impatient:
        record = impatient.measure([Candidate(matmul_task, design_spaces(matmul_task)[0].template)])[0]
    assert record.status is Status.BUILD_TIMEOUT and "no answer within" in record.error


def test_a_worker_that_is_killed_is_replaced(matmul_task):
    with Measurer(num_workers=1) as lonely:
        candidates = [Candidate(matmul_task, space.template) for space in design_spaces(matmul_task)]
        assert lonely.measure(candidates[:1])[0].status is Status.OK
        worker = lonely._workers[0]
        threading.Timer(0.05, lambda: os.kill(worker._process.pid, signal.SIGKILL)).start()
        statuses = [r.status for r in lonely.measure(candidates * 3)]
        assert statuses.count(Status.OK) >= len(statuses) - 1
        assert lonely.measure(candidates[:1])[0].status is Status.OK


def test_files_of_the_working_folder_are_not_imported(tmp_path, monkeypatch):
    for name in ("json", "tvm", "mlir"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not mine')")
    monkeypatch.chdir(tmp_path)
    process = WorkerProcess("foretune.compiler.measure.worker", Start(1, 16 << 30, 60))
    process.start()
    assert process.welcome.tvm
    process.close()


def test_unknown_targets():
    with pytest.raises(TargetError, match="only CPU targets"):
        parse_target("cuda")
    with pytest.raises(TargetError, match="unknown processor mcpu='pentium9'"):
        parse_target('{"kind": "llvm", "mcpu": "pentium9"}')
    with pytest.raises(TargetError, match=r"TVM rejects target .* 'no-such-option'"):
        parse_target('{"kind": "llvm", "no-such-option": 1}')
    assert tvm_target(parse_target("auto")) is not None


def test_tvm_does_not_pin_this_process():
    assert len(os.sched_getaffinity(0)) == (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("exp", -86.0, 88.0), ("tanh", -12.0, 12.0), ("erf", -6.0, 6.0), ("sigmoid", -80.0, 80.0)]
)
@pytest.mark.parametrize("lanes", [1, 16])
def test_vector_math(name, low, high, lanes, target):
    import torch
    from tvm import te

    from foretune.compiler.tir._tvm import tvm

    x = np.concatenate(
        [
            np.linspace(low, high, 4080),
            np.linspace(-0.7, 0.7, 8),
            [np.nan, np.inf, -np.inf, 0.0, 1e-30, -1e-3, 1.0, 200.0],
        ]
    ).astype("float32")
    a = te.placeholder((len(x),), "float32", name="A")
    b = te.compute((len(x),), lambda i: getattr(tvm.tirx, name)(a[i]), name="B")
    schedule = tvm.s_tir.Schedule(te.create_prim_func([a, b]))
    if lanes > 1:
        schedule.vectorize(schedule.split(schedule.get_loops(schedule.get_sblock("B"))[0], [None, lanes])[1])
    out = tvm.runtime.tensor(np.zeros_like(x))
    tvm.compile(schedule.mod, target=tvm_target(target))["main"](tvm.runtime.tensor(x), out)
    expected = getattr(torch, name)(torch.from_numpy(x).double()).float().numpy()
    finite = np.isfinite(expected)
    assert np.array_equal(out.numpy()[~finite], expected[~finite], equal_nan=True)
    assert np.allclose(out.numpy()[finite], expected[finite], rtol=4e-7, atol=1e-37)
