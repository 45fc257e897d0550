"""The grammar of actions is closed, and what it prints is what MLIR reads."""

from __future__ import annotations

import json
import re

import pytest

from foretune.errors import DataError, IllegalActionError
from foretune.passes.mlir.grammar.actions import ACTIONS, TARGETS, Int, Ints, MlirAction, Schedule, Switch, Word
from foretune.trace import Trace
from tests.passes.mlir import sources


def example(name):
    kind = ACTIONS[name]
    values = {}
    for option, domain in dict(kind.options).items():
        if isinstance(domain, Ints):
            values[option] = (
                tuple(reversed(range(domain.count or 2)))
                if domain.permutation
                else (max(domain.least, 1),) * (domain.count or 2)
            )
        elif isinstance(domain, Int):
            values[option] = domain.least
        elif isinstance(domain, Word):
            values[option] = domain.words[-1]
        elif isinstance(domain, Switch):
            values[option] = True
    return MlirAction(name, f"{TARGETS[kind.on][0]}:1" if kind.on else "", tuple(values.items()))


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_prints_and_parses(name):
    for action in (
        example(name),
        MlirAction(
            name, example(name).on, tuple((n, v) for n, v in example(name).options if n in ACTIONS[name].needed)
        ),
    ):
        assert MlirAction.parse(str(action)) == action
        trace = Schedule((action,)).trace()
        assert Schedule.from_trace(Trace.from_json(json.loads(json.dumps(trace.to_json())))).actions == (action,)


def test_the_transform_dialect_reads_every_script(session):
    """MLIR parses a schedule of all transforms, with all options; what it says of an option that it does not know would
    be an error.
    """
    refused = {}
    for name in ACTIONS:
        try:
            session.inspect(Schedule((example(name),)).script([2]))
        except DataError as error:
            refused[name] = str(error)
    assert not refused


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "there is no action 'nonsense'"),
        ("tile{on=linalg.matmul:0}", "action tile needs sizes"),
        ("tile{sizes=8}", "action tile works on one of linalg"),
        ("tile{on=scf.for:0 sizes=8}", "action tile works on one of linalg"),
        ("tile{on=linalg.matmul:-1 sizes=8}", "each with a position of 0..255"),
        ("tile{on=linalg.matmul:0 sizes=-8}", "action tile takes sizes=integers of 0..65536"),
        ("tile{on=linalg.matmul:0 sizes=8,}", "action tile takes sizes="),
        ("tile{on=linalg.matmul:0 sizes=8,8 interchange=0,2}", "interchange=a permutation"),
        ("unroll{on=scf.for:0 factor=1000}", "action unroll takes factor=2..64"),
        ("lower-contraction{by=magic}", "action lower-contraction takes by=outerproduct"),
        ("cse{on=linalg.matmul:0}", "action cse works on the whole module"),
        ("cse{x=1}", "action cse takes no options"),
        ("tile{on=linalg.matmul:0 sizes=8 sizes=8}", "has an option twice"),
        ('cse} transform.print "x', "there is no action"),
        (7, "must be a short text"),
        ("x" * 1000, "must be a short text"),
    ],
)
def test_what_is_refused(text, reason):
    with pytest.raises(IllegalActionError, match=re.escape(reason)):
        MlirAction.parse(text)


def test_schedules(session):
    schedule = Schedule.parse("tile{on=linalg.matmul:0 sizes=8,16,0}\ncanonicalize; lower{reductions=tree}")
    assert (
        Schedule.parse(str(schedule)) == schedule == Schedule.from_json(schedule.to_json())
        and schedule.lowering.reductions == "tree"
    )
    with pytest.raises(IllegalActionError, match="may have 128 actions"):
        Schedule.parse("cse;" * 129)
    with pytest.raises(IllegalActionError, match="must be a list of texts"):
        Schedule.from_json("cse")


def test_a_schedule_is_one_script(session):
    """The printed script, applied by itself, gives what the actions gave one by one."""
    source = session.inspect(sources.matmul(16, 32, 8)).text
    schedule = Schedule.parse(
        "tile{on=linalg.matmul:0 sizes=8,16,0}; canonicalize; cse; vectorize{on=linalg.fill:0}; canonicalize"
    )
    script = session.build(source, "main", schedule, (), ("script", "transformed")).texts
    assert script["script"].count("transform.apply_registered_pass") == 3 and "tile_using_for" in script["script"]
    assert session.apply_script(source, script["script"]) == session.apply(source, schedule)[0]
