"""Lines of other tuners' logs: a line that is taken must say what its record says."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from foretune.datasets.importers import ansor, autotvm, metaschedule
from foretune.datasets.importers.nesting import check_integers, check_nesting
from foretune.datasets.importers.report import ImportReport, LineError
from foretune.datasets.importers.run import _kind
from foretune.datasets.importers.sink import Sink
from foretune.datasets.programs.tir_json import JsonModule
from foretune.errors import ForetuneError
from foretune.target import Target
from tests.fuzz.mutations import mutate_bytes, mutate_json_text
from tests.fuzz.running import Silent, Subject, Try

LOGS = Path(__file__).parents[1] / "datasets" / "logs"
_TOKENS = (
    b"[",
    b"]",
    b"{",
    b"}",
    b'"',
    b",",
    b":",
    b"null",
    b"true",
    b"NaN",
    b"1e999",
    b"-1",
    b"\\ud800",
    b"\xff",
    b"\n",
    b"[[[[",
    b"]],[[",
    b'"EnterPostproc"',
)
_CODES = {
    0: "ok",
    1: "illegal",
    2: "build_error",
    3: "build_error",
    4: "run_error",
    5: "wrong_output",
    6: "build_timeout",
    7: "run_timeout",
    8: "run_error",
}


def _lines(name: str) -> list[bytes]:
    data = (LOGS / name).read_bytes()
    return [line for line in (gzip.decompress(data) if name.endswith(".gz") else data).splitlines() if line.strip()]


def _same(read: Any, written: Any, what: str) -> None:
    if json.dumps(read, sort_keys=True) != json.dumps(written, sort_keys=True):
        raise Silent(f"{what}: read {str(read)[:100]}, written {str(written)[:100]}")


def _check_result(row: dict[str, Any], result: list[Any]) -> None:
    _same(row["status"], _CODES[result[1]], "status")
    _same(row["run_secs"], [float(s) for s in result[0]] if result[1] == 0 else [], "run times")
    _same(row["timestamp"], float(result[3]) if len(result) > 3 else 0.0, "timestamp")


def _check_autotvm(row: dict[str, Any], program: str, data: dict[str, Any]) -> None:
    old = "input" not in data
    source, config = (data["i"], data["i"][5]) if old else (data["input"], data["config"])
    entities = config.get("e", config.get("entity")) if old else config["entity"]
    _same([[a[2][0], a[0], a[4]] for a in json.loads(row["trace"])], entities, "knobs")
    _same(json.loads(program), [source[1], source[2], source[3] if len(source) > 3 else {}], "workload")
    _same(json.loads(row["target"])["target"], Target.parse(source[0]).to_dict(), "target")
    _check_result(row, data["r"] if old else data["result"])


def _step(action: list[Any]) -> list[Any]:
    """A step of Ansor's, from its action; numbers stand for truth values, and 0 for an extent that is not known."""
    op, inputs, attributes, _, decision = action
    stages = [int(text[1:]) for text in inputs]
    if op == "SP":
        return [op, *stages, attributes[0], attributes[1], decision, attributes[2]]
    if op == "AN":
        return [op, *stages, attributes[0], ansor.ANNOTATIONS.index(attributes[1])]
    if op == "PR":
        return [op, *stages, attributes[0], attributes[1] if decision is None else f"{attributes[1]}${decision}"]
    if op == "CA":
        return [op, *stages, attributes[0]]
    return [op, *stages, *attributes]


def _plain_step(step: list[Any]) -> list[Any]:
    values = [int(v) if isinstance(v, bool) else v for v in step]
    if values[0] == "SP" and values[3] is None:
        values[3] = 0
    if values[0] == "PR" and "$" in values[3]:  # leading zeros of the number
        name, _, number = values[3].partition("$")
        values[3] = f"{name}${int(number)}"
    return values


def _check_ansor(row: dict[str, Any], program: str, data: dict[str, Any]) -> None:
    task, (_, steps) = data["i"]
    _same([_step(a) for a in json.loads(row["trace"])], [_plain_step(s) for s in steps], "steps")
    _same(program, task[0], "workload")
    _same(json.loads(row["target"])["target"], Target.parse(task[1]).to_dict(), "target")
    _check_result(row, data["r"])


def _check_metaschedule(row: dict[str, Any], workloads: list[Any], data: list[Any]) -> None:
    index, ((instructions, decisions), secs, target, _) = data
    kept = list(itertools.takewhile(lambda instruction: instruction[0] != "EnterPostproc", instructions))
    chosen = {i: value for i, value in decisions}
    actions = json.loads(row["trace"])
    for action, (kind, inputs, attributes, outputs), number in zip(actions, kept, range(len(kept)), strict=True):
        flags = metaschedule._FLAGS.get(kind, ())
        _same(
            action,
            [
                kind,
                inputs,
                [bool(v) if i in flags else v for i, v in enumerate(attributes)],
                outputs,
                chosen.get(number),
            ],
            "instruction",
        )
    _same(row["workload"], workloads[index][0].hash, "workload")
    _same(
        json.loads(row["target"])["target"],
        (Target.parse(target) if isinstance(target, str) else Target.from_dict(target)).to_dict(),
        "target",
    )
    failed = not secs or any(s >= 1e9 for s in secs)
    _same(
        (row["status"], row["run_secs"]), ("run_error", []) if failed else ("ok", [float(s) for s in secs]), "run times"
    )


@contextlib.contextmanager
def log_lines(folder: Path) -> Iterator[Try]:
    """Lines of the three formats, read by readers that have read others before."""
    (folder / "workloads.json").write_bytes(b"\n".join(_lines("tvm019_database_workload.json.gz")))
    workloads = metaschedule.read_workloads(folder / "workloads.json", ImportReport())
    tables = metaschedule.MetaScheduleReader(workloads)
    readers = {"ansor": ansor.AnsorReader(), "autotvm": autotvm.AutoTvmReader(), "metaschedule": tables}
    originals = [*_lines("ansor.json"), *_lines("autotvm.log"), *_lines("tvm019_database_tuning_record.json.gz")]

    def try_one(rng: random.Random) -> bool:
        line = mutate_json_text(rng.choice(originals), rng, _TOKENS).strip()
        sink, programs = Sink(), {}
        try:
            data = tables.parse(line) if line.startswith(b"[") else orjson.loads(line)
            check_nesting(line, data)
            check_integers(line)
            kind = _kind(data)
            readers[kind].read(data, line, sink)
        except (LineError, orjson.JSONDecodeError):
            return False
        programs = {task.workload.hash: task.workload.program for task in sink.tasks}
        [row] = sink.take()[1].to_pylist()
        plain = json.loads(line)
        if kind == "metaschedule":
            _check_metaschedule(row, workloads, plain)
        elif row["workload"] in programs:  # else the reader has handed it over before
            (_check_ansor if kind == "ansor" else _check_autotvm)(row, programs[row["workload"]], plain)
        return True

    yield try_one


@contextlib.contextmanager
def log_files(folder: Path) -> Iterator[Try]:
    """Whole files, compressed and not, into a data set."""
    from foretune.datasets.importers import import_logs
    from foretune.datasets.records.store import RecordStore

    originals = {path.name: path.read_bytes() for path in sorted(LOGS.iterdir())}

    def try_one(rng: random.Random) -> bool:
        work = folder / f"{rng.getrandbits(64):x}"
        work.mkdir()
        chosen = rng.choice(sorted(originals))
        for name, data in originals.items():
            if name == chosen or name.startswith(chosen[:6]):  # with its file of workloads
                (work / name).write_bytes(mutate_bytes(data, rng, _TOKENS) if name == chosen else data)
        try:
            with RecordStore(work / "data", writable=True) as store:
                report = import_logs(sorted(path for path in work.iterdir() if path.is_file()), store)
            with RecordStore(work / "data") as store:
                num_read = len(list(store.trajectories()))
        except ForetuneError:
            return False
        if num_read != report.num_records:
            raise Silent(f"{report.num_records} records imported, {num_read} read")
        if report.num_records < 6 and not report.num_bad and not report.num_duplicates and chosen != "autotvm.log":
            raise Silent(f"only {report.num_records} records of {chosen}, and no bad line")
        return not report.num_bad

    yield try_one


@contextlib.contextmanager
def modules(folder: Path) -> Iterator[Try]:
    """The JSON of programs inside of workload files."""
    from foretune.datasets.importers.metaschedule import _read_workload

    originals = [orjson.loads(line) for line in _lines("tvm019_database_workload.json.gz")]
    import base64

    texts = [base64.b64decode(data[1]) for data in originals]

    def try_one(rng: random.Random) -> bool:
        text = mutate_bytes(rng.choice(texts), rng, _TOKENS)
        with contextlib.suppress(LineError):
            workload, _ = _read_workload(["1", base64.b64encode(text).decode()])
            JsonModule(metaschedule._without_length(text))
            workload.graph.to_json()
            return True
        return False

    yield try_one


SUBJECTS = [Subject("log lines", log_lines), Subject("log files", log_files), Subject("modules in logs", modules)]
