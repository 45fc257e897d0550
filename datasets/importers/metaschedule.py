"""MetaSchedule's JSON database: a file of workloads and a file of tuning records, one JSON array a line.

    ["hash", "base64 of the module's JSON"]
    [workload index, [[instructions, decisions], run_secs, target, arguments]]

Instructions after `EnterPostproc` are left out, since they follow from the rest.
Source of the format: src/meta_schedule/database of TVM 0.8 to 0.27.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from foretune.datasets.importers.lines import read_lines
from foretune.datasets.importers.report import ImportReport, LineError, reason_of
from foretune.datasets.importers.sink import Sink, compact_json, digest, positive_secs, target_text
from foretune.datasets.programs.tir_graph import program_graph
from foretune.datasets.programs.tir_json import JsonModule
from foretune.datasets.records.families import family_of
from foretune.errors import DataError, ForetuneError, UnsupportedError
from foretune.program import Node, ProgramGraph
from foretune.record import Status
from foretune.target import Target
from foretune.task import Task, Workload

SOURCE = "metaschedule"
_FAILED_SECS = 1e9  # TVM writes 1e9 or 1e10 as the time of what failed
_CACHED = 4096
# positions of truth values among the attributes: TVM's JSON writes them as 0 and 1
_FLAGS = {"Split": (0, 1), "Fuse": (0,), "Blockize": (0,), "Tensorize": (1,)}


def matches(data: Any) -> bool:
    """Whether a line looks like a tuning record."""
    return isinstance(data, list) and len(data) == 2 and isinstance(data[0], int) and isinstance(data[1], list)


def matches_workload(data: Any) -> bool:
    """Whether a line looks like a workload."""
    return isinstance(data, list) and len(data) == 2 and isinstance(data[0], str) and isinstance(data[1], str)


@dataclass(frozen=True)
class _Template:
    """The instructions of one design space, ready to take decisions."""

    heads: tuple[str, ...]  # JSON of each action up to its decision
    space_id: str
    segments: dict[tuple[int, ...], list[str]] = field(
        default_factory=dict
    )  # instructions that decide -> texts around them

    def trace(self, decisions: dict[int, str]) -> str:
        """The trace's text."""
        where = tuple(sorted(i for i in decisions if 0 <= i < len(self.heads)))
        texts = self.segments.get(where)
        if texts is None:
            texts = self.segments[where] = self._around(where)
        pieces = [texts[0]]
        for i, text in zip(where, texts[1:]):
            pieces += (decisions[i], text)
        return "".join(pieces)

    def _around(self, where: tuple[int, ...]) -> list[str]:
        mark = "\0"
        rows = [f"{head}{mark if i in where else 'null'}]" for i, head in enumerate(self.heads)]
        return ("[" + ",".join(rows) + "]").split(mark)


class MetaScheduleReader:
    """Reads tuning records into a sink.

    Args:
        workloads: of the database, by line; None for one that could not be read.
    """

    def __init__(self, workloads: list[tuple[Workload, str] | None]) -> None:
        self._workloads = workloads
        self._templates: dict[bytes, _Template] = {}  # JSON of the instructions -> template
        self._prefixes: dict[bytes, _Template] = {}  # text of the instructions, as it stands in lines
        self._targets: dict[bytes, tuple[Target, str]] = {}

    def read(self, data: Any, line: bytes, sink: Sink) -> None:
        """Adds one record.

        Raises:
            LineError: the line has another shape.
        """
        index, record = data
        if not 0 <= index < len(self._workloads):
            raise LineError(f"workload {index} is not in the workload file, which has {len(self._workloads)}")
        found = self._workloads[index]
        if found is None:
            raise LineError(f"workload {index} could not be read from the workload file")
        if len(record) != 4 or not isinstance(record[0], list) or len(record[0]) != 2:
            raise LineError("a tuning record must be [[instructions, decisions], run times, target, arguments]")
        (instructions, decisions), run_secs, target_data, _ = record
        workload, environment = found
        target, text = self._target(target_data)
        template = instructions if isinstance(instructions, _Template) else self._template(instructions, line)
        trace = template.trace(_decisions(decisions))
        failed = not run_secs or (
            type(run_secs) is list and any([type(s) in (int, float) and s >= _FAILED_SECS for s in run_secs])
        )
        if failed:
            status, secs, error = Status.RUN_ERROR, [], "failed; the database does not say how"
        else:
            status, secs, error = Status.OK, positive_secs(run_secs), ""
        sink.workload(workload.hash, lambda: Task(workload, target))
        sink.add(SOURCE, workload.hash, text, template.space_id, digest(trace), trace, status, secs, error, environment)

    def parse(self, line: bytes) -> Any:
        """A line as JSON data; instructions whose text was seen before come as their template, without being parsed
        again.

        Raises:
            orjson.JSONDecodeError: the line is not JSON.
        """
        start, end = _instructions(line)
        template = self._prefixes.get(line[start:end]) if end else None
        if template is None:
            return orjson.loads(line)
        rest = orjson.loads(b"[[0" + line[end:-1])
        if not (isinstance(rest, list) and isinstance(rest[0], list) and len(rest[0]) == 2):
            return orjson.loads(line)
        return [orjson.loads(line[1 : start - 3]), [[template, rest[0][1]], *rest[1:]]]

    def _target(self, data: Any) -> tuple[Target, str]:
        key = orjson.dumps(data)
        if key not in self._targets:
            try:
                target = Target.parse(data) if isinstance(data, str) else Target.from_dict(data)
            except ForetuneError as error:
                raise LineError(str(error)) from error
            self._targets[key] = (target, target_text(target))
        return self._targets[key]

    def _template(self, instructions: Any, line: bytes) -> _Template:
        if not isinstance(instructions, list):
            raise LineError(f"the instructions must be a list, but got {str(instructions)[:60]}")
        key = orjson.dumps(instructions)
        found = self._templates.get(key)
        if found is None:
            if len(self._templates) >= _CACHED:
                self._templates.clear()
                self._prefixes.clear()
            found = self._templates[key] = _template(instructions)
        start, end = _instructions(line)
        if end and len(self._prefixes) < _CACHED and _parses_to(line[start:end], instructions):
            self._prefixes[line[start:end]] = found
        return found


def _instructions(line: bytes) -> tuple[int, int]:
    """Where the instructions of a record probably begin and end in its text; (0, 0) if that cannot be told."""
    start, end = line.find(b"[[[[", 0, 24), line.find(b"]],[[")
    return (start + 2, end + 2) if 0 < start < end else (0, 0)


def _parses_to(text: bytes, data: Any) -> bool:
    try:
        return orjson.loads(text) == data
    except orjson.JSONDecodeError:
        return False


def _template(instructions: list[Any]) -> _Template:
    rows = []
    for row in instructions:
        if (
            not isinstance(row, list)
            or len(row) != 4
            or not isinstance(row[0], str)
            or not all(isinstance(part, list) for part in row[1:])
        ):
            raise LineError(f"an instruction must be [kind, inputs, attributes, outputs], but got {str(row)[:60]}")
        if row[0] == "EnterPostproc":
            break
        if not all(isinstance(name, str) for name in row[3]) or not (_is_plain(row[1]) and _is_plain(row[2])):
            raise LineError(f"instruction {row[0][:40]} has arguments that are not numbers, texts or lists")
        flags = _FLAGS.get(row[0], ())
        attributes = [bool(value) if i in flags else value for i, value in enumerate(row[2])]
        rows.append([row[0], row[1], attributes, row[3]])
    return _Template(tuple(compact_json(row)[:-1] + "," for row in rows), digest(compact_json(rows)))


def _is_plain(value: Any) -> bool:
    return all(map(_is_plain, value)) if isinstance(value, list) else not isinstance(value, dict)


def _decisions(decisions: Any) -> dict[int, str]:
    found = {}
    try:
        for index, value in decisions:
            if type(index) is not int:
                raise ValueError
            plain = type(value) is int or all([type(v) is int for v in value])
            found[index] = orjson.dumps(value).decode() if plain else compact_json(value)
    except (TypeError, ValueError) as error:
        raise LineError(
            f"the decisions must be [[instruction, decision], ...], but got {str(decisions)[:60]}"
        ) from error
    return found


def read_workloads(path: Path, report: ImportReport) -> list[tuple[Workload, str] | None]:
    """Reads a workload file: (workload, environment text) for each line, None for a bad one, which the report
    counts.
    """
    found: list[tuple[Workload, str] | None] = []
    for number, line in read_lines(path):
        report.num_lines += 1
        try:
            if isinstance(line, LineError):
                raise line
            found.append(_read_workload(orjson.loads(line)))
        except Exception as error:  # the boundary to a foreign file: whatever a reader stumbles over is a bad line
            report.add_bad(str(path), number, reason_of(error))
            found.append(None)
    return found


def _read_workload(data: Any) -> tuple[Workload, str]:
    if not matches_workload(data):
        raise LineError(f"a workload must be [hash, base64 text], but got {str(data)[:60]}")
    try:
        text = _without_length(base64.b64decode(data[1], validate=True))
        module = JsonModule(text)
    except (binascii.Error, DataError) as error:
        raise LineError(f"the workload's module cannot be read: {error}") from error
    try:
        graph = program_graph(module)
    except (UnsupportedError, DataError, AttributeError, TypeError, ValueError, RecursionError):
        graph = ProgramGraph(
            (Node("root", "root", ()),), ()
        )  # an unusual program: its records are kept, its structure is not known
    blocks = [node.name for node in graph.nodes if node.kind == "block"]
    program = base64.b64encode(zlib.compress(text, 9)).decode()
    environment = compact_json({"tvm": module.tvm_version}) if module.tvm_version else "{}"
    return (
        Workload(workload_hash(data[0]), program, graph, "_".join(blocks)[:120], family_of("_".join(blocks).lower())),
        environment,
    )


def workload_hash(text: str) -> str:
    """TVM's decimal structural hash as the 16 hex digits of Foretune's workloads."""
    return format(int(text) & (2**64 - 1), "016x") if re.fullmatch(r"-?[0-9]{1,40}", text) else text


def _without_length(data: bytes) -> bytes:
    """TVM writes a text's length before it."""
    if len(data) >= 8 and struct.unpack("<Q", data[:8])[0] == len(data) - 8:
        return data[8:]
    return data
