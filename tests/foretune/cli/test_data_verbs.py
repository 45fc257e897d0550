"""`foretune data`: exit status, one JSON document, what is printed of damaged data."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from foretune.support.console import format_ratio, format_secs, printable
from tests.datasets.small_data import trace, write_collected


def data(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "foretune", "data", *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_collected(tmp_path_factory.mktemp("data"))


def test_info_of_the_bundled_data():
    result = data("info", "--json")
    figures = json.loads(result.stdout)
    assert result.returncode == 0 and not result.stderr
    assert (
        figures["num_records"] >= figures["num_ok"] > 0
        and figures["num_tasks"] >= figures["num_families"] > 0
        and figures["bytes"] > 0
    )


def test_info_for_people(folder):
    result = data("info", folder)
    assert result.returncode == 0 and "Families" in result.stdout and "$pool_{x|y" in result.stdout


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "there is no data folder"),
        (lambda p: p.mkdir(), "has no manifest.json; it is not a data folder"),
    ],
)
@pytest.mark.parametrize("verb", [("info",), ("show",), ("plot", "--out", "x.png"), ("card",)])
def test_no_data_set(tmp_path, verb, make, message):
    make(tmp_path / "data")
    result = data(*verb, tmp_path / "data", "--json")
    assert result.returncode == 1 and not result.stdout
    assert message in result.stderr and str(tmp_path / "data") in result.stderr and "Traceback" not in result.stderr


def test_damaged_data(tmp_path):
    bad = sorted(write_collected(tmp_path).glob("batch-*"))[0]
    bad.write_bytes(b"torn")
    result = data("info", tmp_path, "--json")
    assert result.returncode == 1 and bad.name in result.stderr and "Traceback" not in result.stderr
    figures = json.loads(result.stdout)
    assert figures["num_records"] == 6 and bad.name in figures["damaged"][0]
    human = data("info", tmp_path)
    assert human.returncode == 1 and "Families" in human.stdout


def test_a_damaged_manifest(tmp_path):
    (write_collected(tmp_path) / "manifest.json").write_text("{")
    result = data("info", tmp_path, "--json")
    assert result.returncode == 1 and "manifest.json is damaged" in result.stderr
    assert json.loads(result.stdout)["num_records"] == 8


def test_show_tasks(folder):
    result = data("show", folder)
    assert result.returncode == 0 and "3 tasks" in result.stdout and "\x1b" not in result.stdout
    limited = json.loads(data("show", folder, "--limit", 1, "--json").stdout)
    assert limited["num_tasks"] == 3 and len(limited["tasks"]) == 1


def test_show_a_task(folder):
    lines = data("show", folder, "--task", "d0d0").stdout
    assert lines.index(trace(2).key) < lines.index("(default)") < lines.index(trace(1).key)
    document = json.loads(data("show", folder, "--task", "d0d0", "--json").stdout)
    assert document["num_records"] == 4 and document["records"][1]["default"]


@pytest.mark.parametrize(
    "choice",
    [("--task", "d0d0", "--best"), ("--record", trace(2).key[:9]), ("--task", "d0d0", "--record", trace(2).key[:9])],
)
def test_show_a_record(folder, choice):
    result = data("show", folder, *choice)
    assert result.returncode == 0 and str(trace(2)) in result.stdout
    assert "Initial program" in result.stdout and "Final program" in result.stdout and "1 ms, 1.1 ms" in result.stdout
    (record,) = json.loads(data("show", folder, *choice, "--json").stdout)["records"]
    assert record["run_secs"] == [1e-3, 1.1e-3] and record["trace"] == trace(2).to_json()


def test_show_a_failure(folder):
    result = data("show", folder, "--record", trace(3).key)
    assert result.returncode == 0 and "run_error" in result.stdout and "boom \\x1b[2J" in result.stdout


@pytest.mark.parametrize(
    ("choice", "status", "message"),
    [
        (("--task", "matmull"), 1, "the nearest are:\n  d0d0  dense  matmul"),
        (("--task", "matmul"), 1, "stands for 2 tasks"),
        (("--record", "zzzz"), 1, "no record has a key that starts with 'zzzz'"),
        (("--best",), 2, "`--best` goes with `--task`"),
        (("--limit", "-1"), 2, "--limit"),
    ],
)
def test_wrong_choices(folder, choice, status, message):
    result = data("show", folder, *choice)
    assert (
        result.returncode == status and message in result.stderr and not result.stdout and "\x1b" not in result.stderr
    )


def test_plot(folder, tmp_path):
    for out, files in (("a.png", 1), ("a.html", 1), ("pictures", 5)):
        result = data("plot", folder, "--out", tmp_path / out, "--json")
        assert result.returncode == 0, result.stderr
        document = json.loads(result.stdout)
        assert len(document["files"]) == files and document["num_records"] == 8
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG") and (tmp_path / "a.html").read_text().startswith(
        "<!DOCTYPE html>"
    )
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [
        "families.png",
        "noise.png",
        "progress.png",
        "spread.png",
        "statuses.png",
    ]


@pytest.mark.parametrize(
    ("out", "status", "message"),
    [
        ("a.pdf", 2, "must end in .png or .html, or name a folder, but got 'a.pdf'"),
        ("/proc/a.png", 1, "cannot write /proc/a.png"),
    ],
)
def test_wrong_places(folder, out, status, message):
    result = data("plot", folder, "--out", out)
    assert result.returncode == status and message in result.stderr and "Traceback" not in result.stderr


def test_card(tmp_path):
    write_collected(tmp_path)
    document = json.loads(data("card", tmp_path, "--json").stdout)
    assert document["file"] == str(tmp_path / "DATA_CARD.md") and (tmp_path / "DATA_CARD.md").read_text().startswith(
        "# Data card: "
    )
    result = data("card", tmp_path, "--out", tmp_path / "other.md")
    assert result.returncode == 0 and (tmp_path / "other.md").exists()


def test_numbers_for_people():
    assert [format_secs(s) for s in (None, 2.5, 1e-3, 1.5e-6, 9e-9)] == ["-", "2.5 s", "1 ms", "1.5 us", "9 ns"]
    assert [format_ratio(r) for r in (None, 1.234, 1234.5)] == ["-", "1.23x", "1,234.5x"]
    assert printable("a\x1b[2J\n\x9bé") == "a\\x1b[2J\n\\x9bé"


def test_split_and_repair(tmp_path):
    folder = write_collected(tmp_path / "data")
    first = json.loads(data("split", folder, "--json").stdout)
    assert set(first) == {"train", "validation", "test"} and first["train"] > 0
    assert json.loads(data("split", folder, "--seed", "7", "--json").stdout) == first  # an earlier split stays
    assert "validation + test < 1" in data("split", folder, "--test", "1").stderr
    shard = sorted((tmp_path / "data").glob("batch-*"))[0]
    shard.write_bytes(b"")
    result = data("repair", folder, "--json")
    assert result.returncode == 0 and json.loads(result.stdout)["moved"] == [shard.name]
    assert data("info", folder).returncode == 0
