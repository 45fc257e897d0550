"""Traces come from files, too: what they may not do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foretune.compiler.tir.space import design_spaces
from foretune.compiler.tir.traces import replay
from foretune.compiler.tir.workload import module_from_program
from foretune.errors import IllegalActionError
from foretune.trace import Trace


@pytest.mark.parametrize("key", ["pragma_import_llvm", "pragma_import_c"])
def test_no_trace_links_foreign_code(matmul_task, key):
    mod = module_from_program(matmul_task.workload.program)
    trace = design_spaces(matmul_task)[0].template
    place = next(i for i, action in enumerate(trace.actions) if action.op == "Annotate")
    annotation = trace.actions[place]
    hostile = replace(annotation, attrs=(key,), inputs=(annotation.inputs[0], '"define void @f() { ret void }"'))
    with pytest.raises(IllegalActionError, match="would link code that is not the program's"):
        replay(mod, Trace((*trace.actions[:place], hostile, *trace.actions[place + 1 :])))
    replay(mod, trace)
