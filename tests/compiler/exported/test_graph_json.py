"""Graphs as JSON: the same program comes back, and what would do more than compute does not."""

from __future__ import annotations

import json
import operator

import pytest
import torch
from torch import fx

from foretune.compiler.exported.graph_json import graph_from_json, graph_to_json, value_from_json, value_to_json
from foretune.errors import DataError, UnsupportedError

aten = torch.ops.aten


def program() -> fx.Graph:
    graph = fx.Graph()
    x = graph.placeholder("x")
    halves = graph.call_function(aten.split.Tensor, (x, 2, 1))
    first = graph.call_function(operator.getitem, (halves, 0))
    mask = graph.call_function(
        aten.full.default, ([2, 2], float("-inf")), {"dtype": torch.float32, "pin_memory": False}
    )
    added = graph.call_function(aten.add.Tensor, (first, mask), {"alpha": 2})
    kept = graph.call_function(aten.clone.default, (x,), {"memory_format": torch.contiguous_format})
    graph.output((added, [kept], None))
    return graph


def test_a_program_comes_back():
    rows = json.loads(json.dumps(graph_to_json(program()), allow_nan=False))
    x = torch.randn(2, 4)
    found, expected = graph_from_json(rows)(x), fx.GraphModule(torch.nn.Module(), program())(x)
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1][0], expected[1][0])
    assert found[2] is None and isinstance(found, tuple)


@pytest.mark.parametrize(
    "value", [None, True, 3, 2.5, "none", [1, [2.0]], float("inf"), torch.int64, torch.strided, torch.device("cpu")]
)
def test_values_come_back(value):
    again = value_from_json(json.loads(json.dumps(value_to_json(value, "add"), allow_nan=False)))
    assert again == value and type(again) is type(value)


def test_what_is_no_plain_value_is_named():
    with pytest.raises(UnsupportedError, match="add has an argument of type complex, which no file can hold"):
        value_to_json(1j, "add")
    graph = fx.Graph()
    graph.output(graph.call_function(print, ("hello",)))
    with pytest.raises(UnsupportedError, match=r"print.* is no operator that can be written to a file"):
        graph_to_json(graph)


def rows_with(**changed):
    rows = graph_to_json(program())
    rows[1] = {**rows[1], **changed}
    return rows


@pytest.mark.parametrize(
    "rows",
    [
        [{"op": "placeholder"}],
        None,
        rows_with(target="torch.ops.aten.from_file.default"),
        rows_with(target="torch.ops.profiler._record_function_enter.default"),
        rows_with(target="os.system"),
        rows_with(op="call_method"),
        rows_with(op="call_module", target="gone"),
        rows_with(name="x"),
        rows_with(name="x; import os"),
        rows_with(args=[{"node": "gone"}]),
        rows_with(args=[{"dtype": "load"}]),
        rows_with(args=[{"code": "1"}]),
        rows_with(args=[{}]),
    ],
)
def test_damage_is_refused(rows):
    with pytest.raises(DataError):
        graph_from_json(rows)
