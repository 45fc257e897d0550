"""TVM prints nothing to standard error where it would warn of what is no news, and does the same as with the
warning.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foretune.compiler.pytorch import importer
from foretune.compiler.tir import quiet
from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.space import ScheduleContext
from foretune.compiler.tir.traces import from_tvm
from foretune.errors import UnsupportedError


@pytest.mark.parametrize(
    ("shape", "axis", "indices"), [((7, 3), 0, (4,)), ((7, 3), 1, (2, 2)), ((5,), 0, (2, 3, 1)), ((2, 6, 3), -2, (4,))]
)
def test_take_is_the_same_program(capfd, shape, axis, indices):
    from tvm import te, topi

    data, places = te.placeholder(shape, "float32", "data"), te.placeholder(indices, "int64", "places")
    own = te.create_prim_func([data, places, quiet._take(data, places, axis)])
    assert capfd.readouterr().err == ""
    theirs = te.create_prim_func([data, places, topi.take(data, places, axis, mode="fast")])
    assert "Fast mode" in capfd.readouterr().err  # a release that does not warn any more needs none of this
    tvm.ir.assert_structural_equal(own, theirs)


def test_lookups_are_lowered_quietly(capfd):
    class Lookup(nn.Module):
        def forward(self, table, places):
            return table[places] + 1.0

    program = torch.export.export(Lookup(), (torch.randn(6, 4), torch.zeros(3, dtype=torch.long)))
    importer.import_exported(program)
    assert "Warning" not in capfd.readouterr().err


def test_an_import_that_fails_is_quiet(capfd):
    class Decomposition(nn.Module):
        def forward(self, x):
            return torch.linalg.svd(x + 1)[0]

    with pytest.raises(UnsupportedError, match="linalg_svd"):
        importer.import_exported(torch.export.export(Decomposition(), (torch.randn(3, 3),)))
    assert "Warning" not in capfd.readouterr().err


def test_pooling_has_the_same_design_spaces_quietly(capfd, target):
    [task] = importer.module_tasks(nn.AvgPool2d(2), (torch.randn(1, 4, 8, 8),), target)
    spaces = [from_tvm(trace).space_id for trace in ScheduleContext(task.mod, target).design_traces()]
    assert "Unknown schedule rule" not in capfd.readouterr().err
    schedule = tvm.s_tir.Schedule(task.mod)
    block = schedule.get_sblock("pool_avg")
    schedule.unannotate(block, "schedule_rule")
    schedule.annotate(block, "schedule_rule", "a_rule_of_nobody")
    assert [from_tvm(trace).space_id for trace in ScheduleContext(schedule.mod, target).design_traces()] == spaces
    assert "Unknown schedule rule" in capfd.readouterr().err
