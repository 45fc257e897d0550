"""Importers: real logs of TVM 0.19, old and odd lines, damage, and doing it twice."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import pytest

from foretune import DataError, OptionError, Status
from foretune.datasets.importers import import_logs
from foretune.datasets.importers.ansor import split_extents
from foretune.datasets.records.store import RecordStore

LOGS = Path(__file__).parents[1] / "logs"
MM = '["mm", 256, 256, 256]'
STEPS = [
    ["SP", 2, 0, 256, [2, 2, 4], 1],
    ["RE", 2, [0, 4, 1, 5, 8, 2, 6, 9, 3, 7]],
    ["FSP", 3, 0, 0, 2],
    ["CA", 2, 3, 3],
    ["FU", 3, [0, 1, 2]],
    ["AN", 3, 0, 3],
    ["PR", 2, 0, "auto_unroll_max_step$512"],
]


def ansor(
    steps=None,
    result=None,
    key=MM,
    target="llvm -keys=cpu -mcpu=core-avx2",
    hardware=(1, 64, 64, 0, 0, 0, 0, 0),
    version="v0.6",
) -> str:
    task = [key, target, list(hardware), "", 1, []]
    return json.dumps(
        {
            "i": [task, [[], steps if steps is not None else STEPS]],
            "r": result or [[0.0059425], 0, 6.22419, 1795271507],
            "v": version,
        }
    )


def autotvm(entity=None, result=None, arguments=None) -> str:
    config = {
        "index": 129,
        "code_hash": None,
        "entity": entity or [["tile_y", "sp", [-1, 1]], ["auto_unroll", "ot", 16]],
    }
    source = [
        "llvm -mcpu=core-avx2",
        "conv2d_NCHWc.x86",
        arguments or [["TENSOR", [1, 3, 224, 224], "float32"], [2, 2], "NCHW"],
        {},
    ]
    return json.dumps(
        {
            "input": source,
            "config": config,
            "result": result or [[3.43e-05], 0, 2.35, 1610455202.4],
            "version": 0.2,
            "tvm_version": "0.8.dev0",
        }
    )


@pytest.fixture
def store(tmp_path):
    with RecordStore(tmp_path / "data", writable=True) as opened:
        yield opened


def write(tmp_path: Path, *lines: str, name: str = "log.json") -> Path:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    ("names", "source", "records", "workloads"),
    [
        (["ansor.json"], "ansor", 12, 4),
        (["autotvm.log"], "autotvm", 6, 1),
        (["tvm019_database_workload.json.gz", "tvm019_database_tuning_record.json.gz"], "metaschedule", 9, 1),
    ],
)
def test_real_logs(store, names, source, records, workloads):
    report = import_logs([LOGS / n for n in names], store)
    assert (report.num_records, report.num_ok, report.num_workloads, report.num_bad) == (records, records, workloads, 0)
    assert {row["source"] for row in store.rows(["source"])} == {source}
    for row, trajectory in zip(store.rows(), store.trajectories()):
        trace = trajectory.record.trace
        assert (trace.key, trace.space_id) == (row["trace_key"], row["space_id"])
        assert len(trajectory.record.candidate.task.workload.graph.nodes) > 1


def test_a_folder_of_logs(store):
    report = import_logs([LOGS], store)
    assert report.num_records == 27 and report.num_workloads == 6 and report.num_bad == 0


def test_metaschedule_programs_of_old_releases_have_their_structure(store):
    import_logs([LOGS], store)
    graphs = {w.family: w.graph for w in store.workloads().values()}
    kinds = [node.kind for node in graphs["conv2d"].nodes]
    assert kinds.count("block") == 3 and kinds.count("loop") == 15 and kinds.count("buffer") == 5
    convolution = next(n for n in graphs["conv2d"].nodes if n.name == "conv2d_nchw")
    assert convolution.features[:3] == (1.0, 4.0, 3.0)  # a reduction with 4 spatial and 3 reduction loops


def test_ansor_steps_become_actions(tmp_path, store):
    import_logs([write(tmp_path, ansor())], store)
    record = next(store.trajectories()).record
    assert [a.op for a in record.trace.actions] == ["SP", "RE", "FSP", "CA", "FU", "AN", "PR"]
    split, annotation, pragma = record.trace.actions[0], record.trace.actions[5], record.trace.actions[6]
    assert (split.inputs, split.attrs, split.decision) == (("s2",), (0, 256, 1), (2, 2, 4))
    assert annotation.attrs == (0, "parallel")
    assert (pragma.attrs, pragma.decision) == ((0, "auto_unroll_max_step"), 512)
    assert record.run_secs == (0.0059425,) and record.timestamp == 1795271507 and record.settings is None
    task = record.candidate.task
    assert task.workload.family == "mm" and task.target.hardware.vector_bits == 512
    assert ("iterator", "s2.i0") in task.workload.graph.index


def test_every_ansor_step(tmp_path, store):
    steps = [
        ["CHW", 1, "local"],
        ["CHR", 0, "shared", [2]],
        ["CI", 1],
        ["CR", 2],
        ["RF", 2, 1, 0],
        ["SA", 0, 1, 16, 4],
        ["FFSP", 3, 0, [0, 1], 1, True],
        ["SP", 2, 0, 64, [4], True],
        ["PR", 2, 0, "debug_skip_region"],
    ]
    report = import_logs([write(tmp_path, ansor(steps))], store)
    assert report.num_bad == 0
    assert [a.op for a in next(store.trajectories()).record.trace.actions] == [s[0] for s in steps]


def test_tenset_lines_of_the_first_version(tmp_path, store):
    line = {
        "i": [
            ['["8d5a93959138dc7b2ee1f1b3219dfa14", 1, 7, 7, 160, 1, 7, 7, 160]', "llvm -keys=cpu -mcpu=platinum-8272"],
            [[], STEPS[:2]],
        ],
        "r": [[0.00025], 0, 1.1, 1613],
        "v": "v0.2",
    }
    report = import_logs([write(tmp_path, json.dumps(line))], store)
    assert report.num_records == 1
    workload = next(store.trajectories()).record.candidate.task.workload
    assert workload.family == "ansor" and workload.name == "8d5a93959138dc7b2ee1f1b3219dfa14"


def test_split_extents_follow_the_loops():
    steps = [["SP", 2, 0, 256, [2, 2, 4], 1], ["SP", 2, 4, 128, [2, 2, 4], 1], ["SP", 2, 8, 64, [16], 1]]
    assert split_extents(steps) == {2: {0: 256, 1: 128, 2: 64}}
    assert split_extents([["RE", 1, [1, 0]], ["SP", 1, 0, 8, [2], 1]]) == {1: {1: 8}}
    assert split_extents([["FU", 1, [0, 1]], ["SP", 1, 1, 8, [2], 1]]) == {1: {2: 8}}


def test_autotvm_knobs_become_actions(tmp_path, store):
    import_logs(
        [
            write(
                tmp_path,
                autotvm(
                    [
                        ["tile_y", "sp", [-1, 4]],
                        ["ord", "re", [1, 0]],
                        ["ann", "an", ["none", "vec"]],
                        ["u", "ot", None],
                        ["f", "ot", 0.5],
                    ]
                ),
            )
        ],
        store,
    )
    record = next(store.trajectories()).record
    assert [(a.op, a.attrs, a.decision) for a in record.trace.actions] == [
        ("sp", ("tile_y",), (-1, 4)),
        ("re", ("ord",), (1, 0)),
        ("an", ("ann",), ("none", "vec")),
        ("ot", ("u",), None),
        ("ot", ("f",), 0.5),
    ]
    assert record.environment == (("tvm", "0.8.dev0"),) and record.candidate.task.workload.family == "conv2d_NCHWc"
    tensor = record.candidate.task.workload.graph.nodes[1]
    assert tensor.kind == "tensor" and tensor.features[1] == 4.0


def test_autotvm_lines_of_the_first_version(tmp_path, store):
    config = {"i": 129, "t": "direct", "c": None, "e": [["tile_ic", "sp", [3, 1]], ["unroll_kw", "ot", True]]}
    source = [
        "llvm",
        "topi_x86_conv2d_NCHWc",
        [["TENSOR", [1, 3, 224, 224], "float32"]],
        {},
        ["conv2d", [1, 3, 224, 224, "float32"]],
        config,
    ]
    report = import_logs([write(tmp_path, json.dumps({"i": source, "r": [[0.0033], 0, 1.5, 1553], "v": 0.1}))], store)
    assert report.num_records == 1
    assert len(next(store.trajectories()).record.trace) == 2


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (1, Status.ILLEGAL),
        (2, Status.BUILD_ERROR),
        (4, Status.RUN_ERROR),
        (5, Status.WRONG_OUTPUT),
        (6, Status.BUILD_TIMEOUT),
        (7, Status.RUN_TIMEOUT),
    ],
)
def test_failures_have_no_run_time(tmp_path, store, code, status):
    import_logs(
        [write(tmp_path, ansor(result=[[1e10], code, 0.5, 1]), autotvm(result=[[1000000000.0], code, 0.5, 1]))], store
    )
    for trajectory in store.trajectories():
        assert trajectory.record.status is status and trajectory.record.run_secs == () and trajectory.record.error


BAD = [
    ("{", "not JSON"),
    ("\x80\x04\x95 pickle", "not JSON"),
    ("[]", "not a line of any known log"),
    ("3", "not a line of any known log"),
    ('{"x": 1}', "not a line of any known log"),
    (ansor(steps=[["XX", 1]]), "unknown transform step 'XX'"),
    (ansor(steps=[["SP", 2, 0]]), "has other arguments than expected"),
    (ansor(steps=[["SP", 2, -1, 4, [2], 1]]), "-1 is not a count"),
    (ansor(steps=[["AN", 2, 0, 99]]), "annotation 99"),
    (ansor(steps="none"), "the transform steps must be a list"),
    (ansor(result=[[], 0, 1, 1]), "non-empty list"),
    (ansor(result=[[-1.0], 0, 1, 1]), "positive seconds"),
    (ansor(result=[["1"], 0, 1, 1]), "positive seconds"),
    (ansor(result=[[1.0], 99, 1, 1]), "unknown error number 99"),
    (ansor(result=7), "a result must be"),
    (ansor(key="[]"), "a workload key must be"),
    (ansor(target="llvm mcpu"), "expected -option=value"),
    (autotvm(entity=[["a", "zz", 1]]), "a knob must be"),
    (autotvm(entity=[["a", ["sp"], 1]]), "a knob must be"),
    (autotvm(result=[[3e-05], [0], 2.35, 1.0]), "unknown error number [0]"),
    (autotvm(result=[[3e-05], 0, 2.35, 1e18]), "the timestamp must be seconds since 1970"),
    (autotvm(result=[[3e-05], 0, 2.35, -1]), "the timestamp must be seconds since 1970"),
    (ansor(result=[[3e-05], 0, 2.35, 10**30]), "does not fit into 64 bits"),
    (autotvm().replace('"input"', '"inputs"'), "neither an 'input' nor an 'i' list"),
    (json.dumps({"config": {}, "i": 5, "r": []}), "neither an 'input' nor an 'i' list"),
    (autotvm(arguments=[json.loads("[" * 99 + "]" * 99)]), "nested more than 64 deep"),
    (autotvm(entity=[["a", "ot", json.loads("[" * 99 + "]" * 99)]]), "nested more than 64 deep"),
    (ansor(key='["mm", ' + "[" * 99 + "]" * 99 + "]"), "nested more than 64 deep"),
    (ansor(steps=[["PR", 2, 0, "unroll$1_0"]]), "is not a number"),
    (ansor(steps=[["SP", 2, 0, 64, [4], 1.5]]), "neither a truth value nor a count"),
    (autotvm(entity=[["a", "ot", {"x": 1}]]), "a knob's value"),
    (autotvm().replace('"entity"', '"entities"'), "entity must be a list"),
    (autotvm().replace("[[3.43e-05]", "[[NaN]"), "not JSON"),
    (json.dumps([0, [[[], []], [1.0], {"kind": "llvm"}, []]]), "its file of workloads is not there"),
]


@pytest.mark.parametrize(("line", "reason"), BAD)
def test_bad_lines_are_counted_with_file_line_and_reason(tmp_path, store, line, reason):
    path = tmp_path / "log.json"
    path.write_bytes(f"{ansor()}\n\n# comment\n".encode() + line.encode("latin-1") + f"\n{autotvm()}\n".encode())
    report = import_logs([path], store)
    assert report.num_records == 2 and report.num_bad == 1
    assert (report.bad[0].file, report.bad[0].line) == (str(path), 4) and reason in report.bad[0].reason


def test_strict_imports_nothing(tmp_path, store):
    path = write(tmp_path, ansor(), "{", ansor())
    with pytest.raises(DataError, match=r"log\.json:2: not JSON.*nothing was imported"):
        import_logs([path], store, strict=True)
    assert store.manifest.num_records == 0
    assert import_logs([write(tmp_path, ansor(), name="good.json")], store, strict=True).num_records == 1


def test_the_same_log_adds_nothing_twice(tmp_path, store):
    lines = ansor(), ansor(result=[[0.0059425], 0, 6.22419, 1795271508])  # measured twice
    assert import_logs([write(tmp_path, *lines)], store).num_records == 2
    again = import_logs([write(tmp_path, *lines, name="copy.json")], store)
    assert again.num_records == 0 and again.already_imported and store.manifest.num_records == 2


def test_an_interrupted_import_goes_on(tmp_path, monkeypatch):
    from foretune.datasets.importers import run

    monkeypatch.setattr(run, "_ROWS_PER_SHARD", 3)
    path = write(tmp_path, *(ansor(result=[[i + 1.0], 0, 1, i]) for i in range(10)))
    with RecordStore(tmp_path / "data", writable=True) as store:
        append, calls = store.append_table, []

        def killed(*arguments):
            if len(calls) == 2:
                raise KeyboardInterrupt
            calls.append(1)
            append(*arguments)

        store.append_table = killed
        with pytest.raises(KeyboardInterrupt):
            import_logs([path], store)
    with RecordStore(tmp_path / "data", writable=True) as store:
        assert store.manifest.num_records == 6
        assert import_logs([path], store).num_records == 4
        assert sorted(row["timestamp"] for row in store.rows()) == list(range(10))


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_compressed_logs_whatever_their_name(tmp_path, store, pack):
    path = tmp_path / "log.bin"
    path.write_bytes(pack("".join(ansor(result=[[i + 1.0], 0, 1, i]) + "\n" for i in range(500)).encode()))
    assert import_logs([path], store).num_records == 500


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_cut_off_compressed_logs_keep_what_is_whole(tmp_path, store, pack):
    data = pack("".join(ansor(result=[[i + 1.1], 0, i / 7, i]) + "\n" for i in range(5000)).encode())
    path = tmp_path / "log.gz"
    path.write_bytes(data[: len(data) // 2])
    report = import_logs([path], store)
    assert 0 < report.num_records < 5000
    assert "damaged or cut off" in report.bad[-1].reason


def test_too_long_lines(tmp_path, store, monkeypatch):
    from foretune.datasets.importers import lines

    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 4096)
    report = import_logs([write(tmp_path, ansor(), "x" * 100_000, autotvm())], store)
    assert report.num_records == 2 and report.bad[0].line == 2 and "longer than" in report.bad[0].reason


def test_metaschedule_lines_in_both_spacings_are_the_same_traces(tmp_path):
    keys = []
    for separators in ((",", ":"), (", ", ": ")):
        folder = tmp_path / str(len(separators[0]))
        folder.mkdir()
        (folder / "w_workload.json").write_bytes(
            gzip.decompress((LOGS / "tvm019_database_workload.json.gz").read_bytes())
        )
        lines = gzip.decompress((LOGS / "tvm019_database_tuning_record.json.gz").read_bytes()).splitlines()
        (folder / "w_tuning_record.json").write_text(
            "".join(json.dumps(json.loads(x), separators=separators) + "\n" for x in lines)
        )
        with RecordStore(folder / "data", writable=True) as store:
            import_logs([folder], store)
            keys.append([(r["trace_key"], r["space_id"]) for r in store.rows()])
    assert keys[0] == keys[1] and len(keys[0]) == 9


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ([9, [[[], []], [1.0], {"kind": "llvm"}, []]], "workload 9 is not in the workload file"),
        ([0, [[[], []], [1.0], {"kind": "llvm"}]], "a tuning record must be"),
        ([0, [[[["Split"]], []], [1.0], {"kind": "llvm"}, []]], "an instruction must be"),
        ([0, [[[], [3]], [1.0], {"kind": "llvm"}, []]], "the decisions must be"),
        ([0, [[[], []], [0.0], {"kind": "llvm"}, []]], "positive seconds"),
        ([0, [[[], []], [1.0], {"mcpu": "x"}, []]], "a target must have a 'kind'"),
    ],
)
def test_bad_metaschedule_lines(tmp_path, store, line, reason):
    table = LOGS / "tvm019_database_workload.json.gz"
    report = import_logs(
        [write(tmp_path, json.dumps(line), json.dumps([0, [[[], []], [1e10], {"kind": "llvm"}, []]]))],
        store,
        workloads=table,
    )
    assert report.num_bad == 1 and reason in report.bad[0].reason
    assert next(store.trajectories()).record.status is Status.RUN_ERROR


@pytest.mark.parametrize(
    "line", ["[", '["1", "!!"]', '["\u00b2", "e30="]', '["1", "aGVsbG8="]', '["1", "e30="]', "[1, 2]"]
)
def test_bad_workload_lines(tmp_path, store, line):
    table = write(tmp_path, line, name="w_workload.json")
    records = write(tmp_path, json.dumps([0, [[[], []], [1.0], {"kind": "llvm"}, []]]), name="w_tuning_record.json")
    report = import_logs([records], store)
    assert report.num_records == 0
    assert [b.file for b in report.bad] == [
        str(table),
        str(records),
    ] and "could not be read from the workload file" in report.bad[1].reason


def test_wrong_use(tmp_path, store):
    with pytest.raises(OptionError, match="unknown log format 'csv'"):
        import_logs([LOGS / "ansor.json"], store, "csv")
    with pytest.raises(DataError, match="there is no file"):
        import_logs([tmp_path / "none.json"], store)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no files to import"):
        import_logs([tmp_path / "empty"], store)
    report = import_logs([LOGS / "ansor.json"], store, "autotvm")
    assert report.num_records == 0 and "not a line of a log of autotvm" in report.bad[0].reason
