"""Imports after imports: logs that grew, that were read as the wrong kind, that were cut off, and records that come
twice.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foretune.cli.app import app
from foretune.datasets.importers import import_logs, known
from foretune.datasets.importers.nesting import check_nesting
from foretune.datasets.importers.report import LineError
from foretune.datasets.records.store import RecordStore
from tests.datasets.importers.test_importers import LOGS, ansor, autotvm, write

RUNNER = CliRunner()


def autotvm_at(*timestamps: int) -> list[str]:
    return [autotvm(result=[[3e-5], 0, 1.0, timestamp]) for timestamp in timestamps]


@pytest.fixture
def store(tmp_path):
    with RecordStore(tmp_path / "data", writable=True) as opened:
        yield opened


def test_a_log_that_grew_is_read_from_where_it_ended(tmp_path, store):
    path = write(tmp_path, *autotvm_at(1, 2))
    assert import_logs([path], store).num_lines == 2
    write(tmp_path, *autotvm_at(1, 2, 3))
    grown = import_logs([path], store)
    assert (grown.num_lines, grown.num_records, grown.num_duplicates) == (1, 1, 0)
    assert import_logs([path], store).already_imported
    assert sorted(row["timestamp"] for row in store.rows()) == [1, 2, 3]


def test_a_last_line_that_was_cut_off_is_read_when_it_is_whole(tmp_path, store):
    whole = "\n".join(autotvm_at(1, 2))
    path = tmp_path / "log.json"
    path.write_text(whole[:-20])
    assert import_logs([path], store).num_bad == 1
    path.write_text(whole)  # still without a line feed
    assert import_logs([path], store).num_records == 1
    path.write_text(whole + "\n" + "\n".join(autotvm_at(3)) + "\n")
    report = import_logs([path], store)
    assert (report.num_records, report.num_duplicates, report.num_bad) == (1, 1, 0)


def test_a_compressed_log_grows_by_members(tmp_path, store):
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress("\n".join([*autotvm_at(1), ""]).encode()))
    import_logs([path], store)
    with open(path, "ab") as file:
        file.write(gzip.compress("\n".join([*autotvm_at(2, 3), ""]).encode()))
    report = import_logs([path], store)
    assert (report.num_lines, report.num_records) == (2, 2)


def test_a_metaschedule_database_that_grew(tmp_path, store):
    tables = gzip.decompress((LOGS / "tvm019_database_workload.json.gz").read_bytes())
    lines = gzip.decompress((LOGS / "tvm019_database_tuning_record.json.gz").read_bytes()).splitlines(keepends=True)
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "w_workload.json").write_bytes(tables)
    for count in (4, 9):
        (folder / "w_tuning_record.json").write_bytes(b"".join(lines[:count]))
        import_logs([folder], store)
        assert store.manifest.num_records == count
    (folder / "w_workload.json").write_bytes(tables + tables)  # now more programs, of which these records say nothing
    report = import_logs([folder], store)
    assert (report.num_records, report.num_files) == (0, 1)


def test_a_changed_log_is_read_anew_and_its_old_records_stay_single(tmp_path, store):
    import_logs([write(tmp_path, *autotvm_at(1, 2))], store)
    report = import_logs([write(tmp_path, *autotvm_at(9, 2))], store)
    assert (report.num_lines, report.num_records, report.num_duplicates) == (2, 1, 1)


def test_duplicates_are_dropped_within_and_across_logs(tmp_path, store):
    first, second = (
        write(tmp_path, *autotvm_at(1, 1, 2, 1), name="a.log"),
        write(tmp_path, *autotvm_at(2, 3), name="b.log"),
    )
    report = import_logs([first, second], store)
    assert (report.num_records, report.num_duplicates) == (3, 3)
    again = import_logs([first, second], store, force=True)
    assert (again.num_files, again.num_records, again.num_duplicates) == (2, 0, 6)


def test_measured_again_is_no_duplicate(tmp_path, store):
    lines = [autotvm(result=[[secs], 0, 1.0, timestamp]) for secs, timestamp in ((3e-5, 1), (3e-5, 2), (4e-5, 1))]
    assert import_logs([write(tmp_path, *lines)], store).num_records == 3


def test_the_wrong_format_does_not_stick(tmp_path, store):
    path = write(tmp_path, *autotvm_at(1, 2))
    assert import_logs([path], store, "ansor").num_bad == 2
    assert store.manifest.sources == {}
    assert import_logs([path], store).num_records == 2
    mixed = write(tmp_path, ansor(), *autotvm_at(3), name="mixed.log")
    assert import_logs([mixed], store, "ansor").num_records == 1
    assert import_logs([mixed], store).num_records == 1  # the other half


def test_newer_readers_read_again(tmp_path, store, monkeypatch):
    path = write(tmp_path, *autotvm_at(1))
    import_logs([path], store)
    monkeypatch.setattr(known, "READERS", known.READERS + 1)
    report = import_logs([path], store)
    assert (report.num_files, report.num_duplicates) == (1, 1)


def test_entries_of_other_releases_and_damaged_ones_are_passed_over(tmp_path, store):
    path = write(tmp_path, *autotvm_at(1))
    import_logs([path], store)
    key, entry = next(iter(store.manifest.sources.items()))
    for other in (
        3,
        {},
        {**entry, "files": 3},
        {**entry, "files": [{}]},
        {**entry, "lines": "all"},
        {"name": "x", "shards": 1, "records": 2, "complete": True},
    ):
        store.manifest.sources[key] = other
        assert import_logs([path], store).num_duplicates == 1


@pytest.mark.parametrize("content", ["", "# nothing\n", "{}\n"])
def test_an_import_that_finds_nothing_fails(tmp_path, content):
    path = tmp_path / "log.json"
    path.write_text(content)
    for _ in range(2):
        result = RUNNER.invoke(app, ["import", str(path), "--out", str(tmp_path / "data")])
        assert result.exit_code == 1


def test_the_command_line_counts_duplicates_and_forces(tmp_path):
    path = write(tmp_path, *autotvm_at(1, 1))
    out = ["--out", str(tmp_path / "data"), "--json"]
    reports = [
        json.loads(RUNNER.invoke(app, ["import", str(path), *out, *more]).stdout) for more in ([], [], ["--force"])
    ]
    assert [(r["num_records"], r["num_duplicates"], len(r["already_imported"])) for r in reports] == [
        (1, 1, 0),
        (0, 0, 1),
        (0, 2, 0),
    ]


def test_a_kill_between_a_shard_and_the_manifest_doubles_nothing(tmp_path, monkeypatch):
    from foretune.datasets.importers import run
    from foretune.datasets.records import store as store_module

    monkeypatch.setattr(run, "_ROWS_PER_SHARD", 2)
    path = write(tmp_path, *autotvm_at(1, 2, 3, 4, 5))
    written = []

    def killed(folder: Path, manifest) -> None:
        written.append(1)
        if len(written) == 3:
            raise KeyboardInterrupt
        real(folder, manifest)

    real = store_module.write_manifest
    with (
        monkeypatch.context() as patched,
        pytest.raises(KeyboardInterrupt),
        RecordStore(tmp_path / "data", writable=True) as opened,
    ):
        patched.setattr(store_module, "write_manifest", killed)
        import_logs([path], opened)
    with RecordStore(tmp_path / "data", writable=True) as opened:
        import_logs([path], opened)
        assert sorted(row["timestamp"] for row in opened.rows()) == [1, 2, 3, 4, 5]


def test_nesting():
    for text in ("[" * 64 + "]" * 64, '{"a": [' * 32 + "]}" * 32, '["[[[{{{"]', '{"x": "' + "[" * 500 + '"}'):
        check_nesting(text.encode(), json.loads(text))
    for text in ("[" * 65 + "]" * 65, '["]", ' + "[" * 65 + "]" * 65 + "]"):
        with pytest.raises(LineError, match="nested more than 64 deep"):
            check_nesting(text.encode(), json.loads(text))
