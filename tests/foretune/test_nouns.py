"""Nouns: frozen, hashable, JSON round trip, and clear errors."""

from __future__ import annotations

import json

import pytest

from foretune import (
    Action,
    Candidate,
    DataError,
    Edge,
    HardwareFeatures,
    IllegalActionError,
    MeasureRecord,
    MeasureSettings,
    Node,
    OptionError,
    ProgramGraph,
    Status,
    Target,
    TargetError,
    Task,
    Trace,
    Workload,
)

GRAPH = ProgramGraph((Node("block", "C", (1.0, 2.0)), Node("loop", "C/0", (3.0,))), (Edge(1, 0, "in", (0.5,)),))
TRACE = Trace((Action("Get", (), ("C",), ("b0",)), Action("Sample", ("b0",), (4, 64), ("v1", "v2"), (2, 8))))
TARGET = Target.parse('{"kind": "llvm", "mcpu": "znver4", "num-cores": 2}', HardwareFeatures(cores=2))
TASK = Task(Workload("abc", "text", GRAPH, "name", "dense"), TARGET, 2.0)


@pytest.mark.parametrize("noun", [GRAPH, TRACE, TASK, TARGET, TASK.workload])
def test_round_trip_through_json_text(noun):
    again = type(noun).from_json(json.loads(json.dumps(noun.to_json())))
    assert again == noun
    assert hash(again) == hash(noun)


def test_trace_keys_name_the_trace_and_its_space():
    other = TRACE.with_decisions([(1, (4, 4))])
    assert other.key != TRACE.key
    assert other.space_id == TRACE.space_id
    assert other.with_decisions([(1, (2, 8))]) == TRACE
    assert str(TRACE).splitlines()[1] == "v1, v2 = Sample(b0, 4, 64)  # decision: [2, 8]"


def test_replacing_a_decision_that_is_not_there():
    with pytest.raises(IllegalActionError, match="action 0 of 2 has no decision to replace"):
        TRACE.with_decisions([(0, 3)])


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        ["op", [], []],
        ["op", 1, [], [], None],
        ["", [], [], [], None],
        ["op", [], [], [1], None],
        ["op", [{}], [], [], 0],
    ],
)
def test_malformed_actions_are_refused(row):
    with pytest.raises(IllegalActionError):
        Action.from_json(row)


@pytest.mark.parametrize(
    ("text", "attrs"),
    [
        ("llvm", {}),
        ("llvm -keys=cpu -mcpu=core-avx2", {"mcpu": "core-avx2"}),
        ("cuda -keys=cuda,gpu -max_threads_per_block=1024", {"max_threads_per_block": 1024}),
        ("llvm -keys=arm_cpu,cpu", {"keys": ("arm_cpu", "cpu")}),
        ('{"kind": "llvm", "keys": ["cpu"], "tag": "", "mcpu": "x"}', {"mcpu": "x"}),
        ("llvm -num-cores=4 -device=arm_cpu", {"num-cores": 4, "device": "arm_cpu"}),
        ('{"kind": "llvm", "mattr": ["+avx2"]}', {"mattr": ("+avx2",)}),
    ],
)
def test_targets_in_the_tools_own_text(text, attrs):
    assert dict(Target.parse(text).attrs) == attrs


def test_a_targets_host_survives():
    data = {"kind": "cuda", "arch": "sm_90", "host": {"kind": "llvm", "mcpu": "x"}}
    assert Target.from_dict(data).to_dict() == data


@pytest.mark.parametrize("text", ["", "   ", "{", '{"mcpu": "x"}', "llvm mcpu", "!x", "[1]"])
def test_malformed_targets(text):
    with pytest.raises(TargetError):
        Target.parse(text)


def test_statuses_are_the_closed_set():
    assert {s.value for s in Status} == {
        "ok",
        "illegal",
        "build_error",
        "build_timeout",
        "run_error",
        "run_timeout",
        "wrong_output",
    }


def test_a_failed_record_has_no_run_time():
    candidate = Candidate(TASK, TRACE)
    with pytest.raises(DataError, match="must not have run times"):
        MeasureRecord(candidate, Status.RUN_ERROR, (1.0,))
    with pytest.raises(DataError, match="must have run times"):
        MeasureRecord(candidate, Status.OK)
    with pytest.raises(DataError, match="positive seconds"):
        MeasureRecord(candidate, Status.OK, (0.0,))
    with pytest.raises(DataError, match="has no run time"):
        _ = MeasureRecord(candidate, Status.ILLEGAL).best_secs


def test_settings_are_checked():
    with pytest.raises(OptionError, match="`repeat > 0` must hold, but got repeat=0"):
        MeasureSettings(repeat=0)
