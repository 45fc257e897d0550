"""AutoTVM logs: one JSON object a line, of log version 0.2 (`input`, `config`, `result`) or 0.1 (`i`, `r`).

A knob becomes an action: its kind (`sp` split, `re` reorder, `an` annotate, `ot` other) is the operation, its name the
argument, its value the decision. Source of the format: tvm/autotvm/record.py and task/space.py.
"""

from __future__ import annotations

import json
from typing import Any

import orjson

from foretune.datasets.importers.arguments import argument_graph
from foretune.datasets.importers.report import LineError
from foretune.datasets.importers.results import read_result
from foretune.datasets.importers.sink import ActionTexts, Sink, digest, environment_text, target_text
from foretune.datasets.programs.template_graph import template_graph
from foretune.errors import TargetError
from foretune.target import Target
from foretune.task import Task, Workload

SOURCE = "autotvm"
_KINDS = {"sp", "re", "an", "ot"}


def matches(data: Any) -> bool:
    """Whether a line looks like AutoTVM's."""
    if not isinstance(data, dict):
        return False
    old = data.get("i")
    return "input" in data or "config" in data or (isinstance(old, list) and bool(old) and isinstance(old[0], str))


class AutoTvmReader:
    """Reads lines into a sink."""

    def __init__(self) -> None:
        self._knobs = ActionTexts(_action)
        self._environments: dict[Any, str] = {}
        self._tasks: dict[bytes, tuple[str, str]] = {}  # input part -> (workload hash, target text)

    def read(self, data: Any, line: bytes, sink: Sink) -> None:
        """Adds one record.

        Raises:
            LineError: the line has another shape.
        """
        source, entities, result = _parts(data)
        if (
            not isinstance(source, list)
            or len(source) < 3
            or not isinstance(source[0], str)
            or not isinstance(source[1], str)
        ):
            raise LineError(f"the input must be [target, template, arguments, keywords], but got {str(source)[:60]}")
        if not isinstance(entities, list):
            raise LineError(f"the configuration's entity must be a list, but got {str(entities)[:60]}")
        trace, trace_key, space_id = self._knobs.trace(entities)
        status, secs, error, timestamp = read_result(result)
        environment = environment_text(self._environments, "tvm", data.get("tvm_version"))
        workload, target = self._task(source, sink)
        sink.add(SOURCE, workload, target, space_id, trace_key, trace, status, secs, error, environment, timestamp)

    def _task(self, source: list[Any], sink: Sink) -> tuple[str, str]:
        target, template, arguments = source[:3]
        keywords = source[3] if len(source) > 3 else {}
        if not isinstance(arguments, list) or not isinstance(keywords, dict):
            raise LineError(f"a template's arguments must be a list and a dict, but got {str(source[2:4])[:60]}")
        key = orjson.dumps(source[:4])
        found = self._tasks.get(key)
        if found is None:
            try:
                parsed = Target.parse(target)
            except TargetError as error:
                raise LineError(str(error)) from error
            program = json.dumps([template, arguments, keywords], separators=(",", ":"), sort_keys=True)
            workload = digest(program)
            family = template.split("/")[-1].split(".")[0]
            graph = template_graph(template, arguments, argument_graph([*arguments, *keywords.values()]))
            sink.workload(workload, lambda: Task(Workload(workload, program, graph, template, family), parsed))
            found = self._tasks[key] = (workload, target_text(parsed))
        return found


def _parts(data: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Input, entities of the configuration, and result of a line, of either version."""
    if "input" in data:
        config = data.get("config")
        if not isinstance(config, dict):
            raise LineError("the line has no 'config' object")
        return data["input"], config.get("entity"), data.get("result")
    source = data.get("i")
    if not isinstance(source, list):
        raise LineError("the line has neither an 'input' nor an 'i' list")
    config = source[5] if len(source) > 5 else None
    if not isinstance(config, dict):
        raise LineError("the line has no configuration in i[5]")
    return source, config.get("e", config.get("entity")), data.get("r")


def _action(entity: Any) -> list[Any]:
    if not isinstance(entity, list) or len(entity) != 3 or not isinstance(entity[0], str) or not _is_kind(entity[1]):
        raise LineError(f"a knob must be [name, sp|re|an|ot, value], but got {str(entity)[:60]}")
    return [entity[1], [], [entity[0]], [], _value(entity[2])]


def _is_kind(value: Any) -> bool:
    return isinstance(value, str) and value in _KINDS


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(v) for v in value]
    if isinstance(value, dict):
        raise LineError(f"a knob's value must be a number, a text or a list of these, but got {str(value)[:60]}")
    return value
