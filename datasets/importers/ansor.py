"""Ansor and TenSet measure records: one JSON object a line, `{"i": [task, state], "r": result, "v": version}`.

A transform step becomes an action: its two or three letters are the operation, the stages that it works on the inputs,
split lengths and the unroll pragma the decisions. Nothing is lost: the steps can be written back.
Source of the format: src/auto_scheduler/measure_record.cc and transform_step.cc of TVM 0.7 to 0.19.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from foretune.datasets.importers.arguments import stage_graph
from foretune.datasets.importers.nesting import check_integers, check_nesting
from foretune.datasets.importers.report import LineError
from foretune.datasets.importers.results import read_result
from foretune.datasets.importers.sink import ActionTexts, Sink, digest, environment_text, target_text
from foretune.errors import TargetError
from foretune.target import HardwareFeatures, Target
from foretune.task import Task, Workload

SOURCE = "ansor"
# IteratorAnnotation of loop_state.h
ANNOTATIONS = (
    "none",
    "unroll",
    "vectorize",
    "parallel",
    "vthread",
    "blockIdx.x",
    "threadIdx.x",
    "blockIdx.y",
    "threadIdx.y",
    "blockIdx.z",
    "threadIdx.z",
    "tensorize",
)
Row = list[Any]  # [op, inputs, attrs, outputs, decision]


def matches(data: Any) -> bool:
    """Whether a line looks like Ansor's."""
    return (
        isinstance(data, dict)
        and isinstance(data.get("i"), list)
        and bool(data["i"])
        and isinstance(data["i"][0], list)
    )


class AnsorReader:
    """Reads lines into a sink."""

    def __init__(self) -> None:
        self._actions = ActionTexts(_action)
        self._tasks: dict[bytes, tuple[str, str]] = {}  # task part -> (workload hash, target text)
        self._environments: dict[Any, str] = {}

    def read(self, data: Any, line: bytes, sink: Sink) -> None:
        """Adds one record.

        Raises:
            LineError: the line has another shape.
        """
        source = data["i"]
        if len(source) != 2 or not isinstance(source[1], list) or len(source[1]) != 2:
            raise LineError("the input must be [task, [stages, steps]]")
        steps = source[1][1]
        if not isinstance(steps, list):
            raise LineError(f"the transform steps must be a list, but got {str(steps)[:60]}")
        trace, trace_key, space_id = self._actions.trace(steps)
        status, secs, error, timestamp = read_result(data.get("r"))
        environment = environment_text(self._environments, "ansor_log", data.get("v"))
        workload, target = self._task(source[0], steps, sink)
        sink.add(SOURCE, workload, target, space_id, trace_key, trace, status, secs, error, environment, timestamp)

    def _task(self, task: list[Any], steps: list[Any], sink: Sink) -> tuple[str, str]:
        key = orjson.dumps(task)
        found = self._tasks.get(key)
        if found is None:
            if len(task) < 2 or not isinstance(task[0], str) or not isinstance(task[1], str):
                raise LineError(f"a task must begin with a workload key and a target, but got {str(task)[:60]}")
            try:
                target = Target.parse(task[1], _hardware(task[2] if len(task) > 2 else None))
            except TargetError as error:
                raise LineError(str(error)) from error
            name, arguments = _workload_key(task[0])
            workload = digest(task[0])
            graph = stage_graph(arguments, split_extents(steps))
            family = name if not _is_hash(name) else "ansor"
            sink.workload(workload, lambda: Task(Workload(workload, task[0], graph, name, family), target))
            found = self._tasks[key] = (workload, target_text(target))
        return found


def _workload_key(text: str) -> tuple[str, list[Any]]:
    """Name (a function's, or a hash) and arguments."""
    try:
        data = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text[:64], []
    check_nesting(text.encode(), data)
    check_integers(text.encode())
    if isinstance(data, list) and data and isinstance(data[0], str):
        return data[0], data[1:]
    raise LineError(f"a workload key must be [name, arguments...], but got {text[:60]}")


def _is_hash(name: str) -> bool:
    return len(name) >= 16 and all(c in "0123456789abcdef" for c in name)


def _hardware(values: Any) -> HardwareFeatures:
    """HardwareParams: cores, vector bytes, cache line bytes, then those of GPUs."""
    if not isinstance(values, list) or len(values) < 3 or not all(isinstance(v, int) for v in values):
        return HardwareFeatures()
    shared = values[3] if len(values) > 3 else 0
    return HardwareFeatures(
        cores=max(0, values[0]), vector_bits=max(0, 8 * values[1]), shared_bytes=max(0, min(shared, 1 << 30))
    )


# -- steps -----------------------------------------------------------------------------------------


def _action(step: Any) -> Row:
    if not isinstance(step, list) or not step or not isinstance(step[0], str):
        raise LineError(f"a transform step must begin with its name, but got {str(step)[:60]}")
    make = _STEPS.get(step[0])
    if make is None:
        raise LineError(f"unknown transform step {step[0][:20]!r}")
    try:
        return make(step)
    except (ValueError, TypeError, IndexError) as error:
        raise LineError(f"transform step {str(step)[:60]} has other arguments than expected: {error}") from error


def _int(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{str(value)[:20]} is not a count")
    return value


def _flag(value: Any) -> int:
    if type(value) not in (bool, int) or value < 0:
        raise ValueError(f"{str(value)[:20]} is neither a truth value nor a count")
    return int(value)


def _pragma_value(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise ValueError(f"the pragma's value {text[:20]!r} is not a number")
    return int(text)


def _ints(values: Any) -> list[int]:
    if type(values) is not list:
        raise ValueError(f"{str(values)[:20]} is not a list")
    for value in values:
        if type(value) is not int or value < 0:
            raise ValueError(f"{str(value)[:20]} is not a count")
    return values


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{str(value)[:20]} is not a text")
    return value


def _split(step: list[Any]) -> Row:
    _, stage, iterator, extent, lengths, inner_to_outer = step
    return [
        "SP",
        [f"s{_int(stage)}"],
        [_int(iterator), _int(extent if extent is not None else 0), _flag(inner_to_outer)],
        [],
        _ints(lengths),
    ]


def _follow_split(step: list[Any]) -> Row:
    _, stage, iterator, source, parts = step
    return ["FSP", [f"s{_int(stage)}"], [_int(iterator), _int(source), _int(parts)], [], None]


def _follow_fused_split(step: list[Any]) -> Row:
    _, stage, iterator, sources, level, factor_or_parts = step
    return [
        "FFSP",
        [f"s{_int(stage)}"],
        [_int(iterator), _ints(sources), _int(level), _flag(factor_or_parts)],
        [],
        None,
    ]


def _annotation(step: list[Any]) -> Row:
    _, stage, iterator, annotation = step
    if not 0 <= _int(annotation) < len(ANNOTATIONS):
        raise ValueError(f"annotation {annotation} is not one of 0..{len(ANNOTATIONS) - 1}")
    return ["AN", [f"s{_int(stage)}"], [_int(iterator), ANNOTATIONS[annotation]], [], None]


def _pragma(step: list[Any]) -> Row:
    _, stage, iterator, pragma = step
    name, dollar, value = _text(pragma).partition("$")
    if not dollar:
        return ["PR", [f"s{_int(stage)}"], [_int(iterator), name], [], None]
    return ["PR", [f"s{_int(stage)}"], [_int(iterator), name], [], _pragma_value(value)]


def _compute_at(step: list[Any]) -> Row:
    _, stage, at_stage, iterator = step
    return ["CA", [f"s{_int(stage)}", f"s{_int(at_stage)}"], [_int(iterator)], [], None]


def _order(step: list[Any]) -> Row:
    name, stage, iterators = step
    return [name, [f"s{_int(stage)}"], [_ints(iterators)], [], None]


def _stage_only(step: list[Any]) -> Row:
    name, stage = step
    return [name, [f"s{_int(stage)}"], [], [], None]


def _cache_read(step: list[Any]) -> Row:
    _, stage, scope, readers = step
    return ["CHR", [f"s{_int(stage)}"], [_text(scope), _ints(readers)], [], None]


def _cache_write(step: list[Any]) -> Row:
    _, stage, scope = step
    return ["CHW", [f"s{_int(stage)}"], [_text(scope)], [], None]


def _numbers(step: list[Any]) -> Row:
    name, stage, *numbers = step
    if len(numbers) != {"RF": 2, "SA": 3}[name]:
        raise ValueError(f"{len(numbers) + 1} of them")
    return [name, [f"s{_int(stage)}"], _ints(numbers), [], None]


_STEPS: dict[str, Callable[[list[Any]], Row]] = {
    "SP": _split,
    "FSP": _follow_split,
    "FFSP": _follow_fused_split,
    "AN": _annotation,
    "PR": _pragma,
    "CA": _compute_at,
    "RE": _order,
    "FU": _order,
    "CI": _stage_only,
    "CR": _stage_only,
    "CHR": _cache_read,
    "CHW": _cache_write,
    "RF": _numbers,
    "SA": _numbers,
}


def split_extents(steps: list[Any]) -> dict[int, dict[int, int]]:
    """Extents of the original iterators that the splits of a record state.

    Iterator positions move as earlier splits, reorders and fusions of the stage change its loops, so these are
    followed.

    Returns:
        stage -> original position -> extent.
    """
    loops: dict[int, list[int]] = {}  # stage -> original position of each present loop; -1 for a part of one
    seen: dict[int, int] = {}  # stage -> original loops that were reached so far
    found: dict[int, dict[int, int]] = {}
    for step in steps:
        name, stage, *rest = step
        order = loops.setdefault(stage, [])
        if name in ("SP", "FSP", "FFSP"):
            at = rest[0]
            parts = len(rest[2]) + 1 if name == "SP" else rest[2] if name == "FSP" else 2
            _reach(order, at, stage, seen)
            if name == "SP" and order[at] >= 0 and rest[1]:
                found.setdefault(stage, {})[order[at]] = rest[1]
            order[at : at + 1] = [-1] * min(max(parts, 1), 64)
        elif name == "RE":
            _reach(order, max(rest[0], default=-1), stage, seen)
            loops[stage] = [order[i] for i in rest[0]]
        elif name == "FU" and rest[0]:
            _reach(order, max(rest[0]), stage, seen)
            order[rest[0][0] : rest[0][-1] + 1] = [-1]
    return found


def _reach(order: list[int], position: int, stage: int, seen: dict[int, int]) -> None:
    if position > 1024:
        raise LineError(f"iterator {position} is out of range")
    while len(order) <= position:
        order.append(seen.get(stage, 0))
        seen[stage] = order[-1] + 1
