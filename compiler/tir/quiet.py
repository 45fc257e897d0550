"""TVM's work where it would print warnings that are no news to the user.

It prints them from C++, straight to the standard error of the process, without a switch. So what causes them is
avoided:

- "Fast mode segfaults when there are out-of-bounds indices": each time that it lowers `take` without a mode. The
  importer checks indices before; `legalizations` lowers it to the same program without the warning.
- "BlockBuilder destroyed with remaining blocks": whenever an import fails half-way, which is how operators are found
  out that Relax cannot translate; `import_program` ends the blocks.
- "Unknown schedule rule": for pooling, which asks for rules that TVM has for GPUs alone; `register_rules` adds some
  that take the question off the block, which is what MetaSchedule does after the warning.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from foretune.compiler.tir._tvm import tvm

if TYPE_CHECKING:
    import torch  # which worker processes do without

    from foretune.compiler.graphs.flat_program import FlatProgram

_RULES = (
    *(
        f"meta_schedule.{kind}"
        for kind in ("pool_max", "pool_avg", "pool_sum", "adaptive_pool_max", "adaptive_pool_avg")
    ),
    "conv2d_NCHWc_int8",
)
_MOST_BLOCKS = 16  # that are open at once; there is one


def import_program(
    program: torch.export.ExportedProgram | FlatProgram, translations: Mapping[str, Callable]
) -> tvm.IRModule:
    """A program of PyTorch's as a Relax module, as `relax.frontend.torch.from_exported_program` makes it.

    Args:
        program: decomposed already; its parameters become inputs.
        translations: of operators that TVM's importer lacks, by name.
    """
    from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter

    importer = ExportedProgramImporter()
    try:
        return importer.from_exported_program(
            cast("torch.export.ExportedProgram", program),
            keep_params_as_input=True,
            unwrap_unit_return_tuple=True,
            no_bind_return_tuple=False,
            custom_convert_map=dict(translations),
        )
    except BaseException:
        if (builder := getattr(importer, "block_builder", None)) is not None:
            _end_blocks(builder)
        raise


def _end_blocks(builder: Any) -> None:
    with contextlib.suppress(Exception):  # what TVM raises when there is none left
        for _ in range(_MOST_BLOCKS):
            builder._end_block()


def legalizations() -> dict[str, Callable]:
    """Lowerings in place of TVM's own, for `relax.transform.LegalizeOps`."""
    return {"relax.take": _legalize_take}


def _legalize_take(builder: Any, call: Any) -> Any:
    from tvm import topi

    data, indices = call.args
    if call.attrs.mode != "fast" or call.attrs.axis is None:
        return builder.call_te(topi.take, data, indices, call.attrs.axis, mode=call.attrs.mode)
    return builder.call_te(_take, data, indices, call.attrs.axis, primfunc_name_hint="take")


def _take(data: Any, indices: Any, axis: int) -> Any:
    """Rows of a tensor, along an axis, by number; the numbers are taken as they are."""
    from tvm import te

    axis = int(axis) % len(data.shape)
    rank = len(indices.shape)
    shape = [*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]]

    def element(*place: Any) -> Any:
        return data(*place[:axis], indices(*place[axis : axis + rank]), *place[axis + rank :])

    return te.compute(shape, element, name="T_take", tag="injective")


def register_rules() -> None:
    """Registers schedule rules that leave a block to the common ones, under the names that programs ask for and TVM
    does not have for CPUs.
    """
    for rule in _RULES:
        name = f"s_tir.meta_schedule.cpu.{rule}"
        if tvm.get_global_func(name, allow_missing=True) is None:
            tvm.register_global_func(name, _leave_to_the_others)


def _leave_to_the_others(schedule: tvm.s_tir.Schedule, block: Any) -> list[tvm.s_tir.Schedule]:
    schedule.unannotate(block, "schedule_rule")
    return [schedule]
