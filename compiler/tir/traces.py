"""Foretune traces <-> TVM traces, and replay."""

from __future__ import annotations

from typing import Any, cast

from foretune.compiler.tir._tvm import tvm
from foretune.errors import IllegalActionError
from foretune.support.text import telling_line
from foretune.trace import Action, Trace, Value, freeze

_FOREIGN_CODE = "pragma_import"  # LLVM or C that TVM would build into the kernel; records come from files, too


def from_tvm(trace: tvm.s_tir.schedule.Trace) -> Trace:
    """Converts a TVM trace; what comes after `EnterPostproc` is left out, since it follows from the rest.

    Raises:
        IllegalActionError: an action has arguments that TVM cannot write, such as the product of two values.
    """
    try:
        rows, decisions = trace.as_json(True)
    except Exception as error:  # TVM raises TypeError, RuntimeError and others of its own
        raise IllegalActionError(f"TVM cannot write a trace: {telling_line(error)}") from error
    return from_tvm_json(rows, decisions)


def from_tvm_json(rows: list[Any], decisions: list[Any]) -> Trace:
    """Converts the two lists of TVM's JSON form of a trace."""
    chosen = {int(_plain(index)): _plain(value) for index, value in decisions}
    actions = []
    for i, (op, inputs, attrs, outputs) in enumerate(rows):
        actions.append(
            Action(
                str(op),
                cast("tuple[Value, ...]", freeze(_plain(inputs))),
                cast("tuple[Value, ...]", freeze(_plain(attrs))),
                tuple(map(str, outputs)),
                freeze(chosen.get(i)),
            )
        )
    return Trace(tuple(actions))


def to_tvm_json(trace: Trace) -> list[Any]:
    """The trace in TVM's JSON form, `[instructions, decisions]`."""
    rows = trace.to_json()
    return [[row[:4] for row in rows], [[i, row[4]] for i, row in enumerate(rows) if row[4] is not None]]


def unscheduled(mod: tvm.IRModule, seed: int = 1) -> tvm.s_tir.Schedule:
    """A schedule of a program on which nothing was done yet."""
    return tvm.s_tir.Schedule(mod, seed=seed, debug_mask="none", error_render_level="none")


def tvm_trace(schedule: tvm.s_tir.Schedule) -> tvm.s_tir.schedule.Trace:
    """The trace of a schedule, which TVM may have none of; all schedules here are traced."""
    return cast("tvm.s_tir.schedule.Trace", schedule.trace)


def function_of(mod: tvm.IRModule) -> tuple[tvm.ir.GlobalVar, tvm.tirx.PrimFunc]:
    """The first function of a program, with its name."""
    return next((name, function) for name, function in mod.functions_items() if isinstance(function, tvm.tirx.PrimFunc))


def root_block(function: tvm.tirx.PrimFunc) -> Any:
    """The block around all others; TVM does not say what its functions consist of."""
    return cast("Any", function).body.block


def replay(
    mod: tvm.IRModule, trace: Trace, seed: int = 1, start: tvm.s_tir.Schedule | None = None
) -> tvm.s_tir.Schedule:
    """Applies a trace to a program.

    Args:
        mod: the unscheduled program.
        trace: whole.
        seed: of what the trace leaves open.
        start: a schedule of the program with the first actions of the trace applied, which spares their time; it stays
            as it is.

    Raises:
        IllegalActionError: TVM refuses an action, its own words are in the message; or an action would link foreign
            code.
    """
    for action in trace.actions:
        if action.op == "Annotate" and any(str(attr).startswith(_FOREIGN_CODE) for attr in action.attrs):
            raise IllegalActionError(f"the annotation {action.attrs[0]!r} would link code that is not the program's")
    schedule = unscheduled(mod, seed) if start is None else start.copy()
    rest = trace if start is None else Trace(trace.actions[len(tvm_trace(start).insts) :])
    try:
        tvm.s_tir.schedule.Trace.apply_json_to_schedule(to_tvm_json(rest), schedule)
    except Exception as error:  # TVM raises plain RuntimeError, ScheduleError and others of its own
        raise IllegalActionError(f"{type(error).__name__}: {telling_line(error)}") from error
    return schedule


def as_python(mod: tvm.IRModule, trace: Trace) -> str:
    """The trace as the TVM schedule calls that a person would write."""
    return "\n".join(tvm_trace(replay(mod, trace)).as_python())


def _plain(value: Any) -> Any:
    """TVM's boxed constants as Python's own."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "value"):
        return _plain(value.value)
    if hasattr(value, "__len__") and hasattr(value, "__getitem__"):
        return [_plain(v) for v in value]
    raise IllegalActionError(f"cannot store a trace argument of type {type(value).__name__}: {value}")
