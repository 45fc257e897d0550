"""Looks at the machine code of real candidates; nothing is run."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from foretune import Candidate, OptionError, Status, Target, Trace
from foretune.compiler.measure.looker import Looker, LookSettings, shared_looker
from foretune.compiler.tir.space import design_spaces
from foretune.costmodel.machine_code.counters import NAMES
from foretune.trace import Action


@pytest.fixture(scope="module")
def looker():
    with Looker(num_workers=1) as made:
        yield made


@pytest.fixture(scope="module")
def candidates(matmul_task):
    rng = np.random.default_rng(0)
    space = design_spaces(matmul_task)[0]
    return [Candidate(matmul_task, space.decode(point)) for point in space.sample(rng, 3)]


def of(look, name: str) -> float:
    assert look.status is Status.OK, look.error
    return float(look.counters[NAMES.index(name)])


def test_candidates_are_compiled_and_counted(looker, candidates):
    looks = looker.look(candidates)
    assert len({look.program_hash for look in looks}) == 3 and all(look.build_secs > 0 for look in looks)
    assert all(of(look, "loops") >= 1 and of(look, "run_log_lanes") > 10 for look in looks)
    again = looker.look(candidates[:1])[0]
    assert np.array_equal(again.counters, looks[0].counters)


def test_any_processor_can_be_looked_at(looker, candidates):
    task = candidates[0].task

    def share(mcpu: str, name: str) -> float:
        target = Target.from_dict({"kind": "llvm", "mcpu": mcpu, "num-cores": 1}, task.target.hardware)
        return of(looker.look([Candidate(replace(task, target=target), candidates[0].trace)])[0], name)

    assert share("haswell", "log_text_fma") > 0 == share("x86-64", "log_text_fma")
    assert share("haswell", "run_share_fma_512") == 0 < share("skylake-avx512", "launches")


def test_llvm_mca_looks_too_where_it_is_there(candidates):
    tool = shutil.which("llvm-mca-22") or shutil.which("llvm-mca")
    if tool is None:
        pytest.skip("llvm-mca is not installed")
    with Looker(LookSettings(mca=tool), num_workers=1) as looker:
        look = looker.look(candidates[:1])[0]
    assert look.status is Status.OK, look.error
    cycles = of(look, "run_log_cycles_per_lane")  # the closed form, which knows no dependences
    assert look.mca_cycles is not None and 0.5 * 2**cycles < look.mca_cycles < 50 * 2**cycles


def test_what_does_not_compile_has_a_status(looker, candidates):
    task = candidates[0].task
    broken = Candidate(task, Trace((Action("GetSBlock", (), ("no such block", "main"), ("b0",)),)))
    foreign = replace(task, target=Target.from_dict({"kind": "llvm", "mtriple": "aarch64-linux-gnu"}))
    illegal, unreadable = looker.look([broken, Candidate(foreign, Trace(()))])
    assert illegal.status is Status.ILLEGAL and illegal.counters is None
    assert unreadable.status is Status.BUILD_ERROR and unreadable.error


def test_what_hangs_has_a_status_and_the_next_one_is_looked_at(candidates):
    with Looker(LookSettings(timeout_secs=1e-3), num_workers=1) as looker:
        assert looker.look(candidates[:1])[0].status is Status.BUILD_TIMEOUT
    with Looker(num_workers=1) as looker:
        looker.start()
        first = looker.submit(candidates[0])
        for worker in looker._workers:
            worker.kill()
        assert first.result().status in (Status.OK, Status.BUILD_ERROR)
        assert looker.look(candidates[:1])[0].status is Status.OK


def test_idle_processes_end_and_start_again(candidates):
    with Looker(num_workers=1, idle_secs=0.2) as looker:
        assert looker.look(candidates[:1])[0].status is Status.OK
        looker._idle_timer.join()
        assert [worker.pid for worker in looker._workers] == [None]
        assert looker.look(candidates[:1])[0].status is Status.OK


def test_a_forked_child_has_a_looker_of_its_own(monkeypatch):
    mine = shared_looker()
    assert shared_looker() is mine
    monkeypatch.setattr("os.getpid", lambda: -1)
    assert shared_looker() is not mine
    mine.close()  # as the child's exit would
    monkeypatch.undo()
    assert not mine._threads._shutdown


def test_settings_are_checked():
    with pytest.raises(OptionError, match="timeout_secs > 0"):
        LookSettings(timeout_secs=0)
