"""The command line: exit status, errors on stderr, one JSON document on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from foretune import __version__

LOGS = Path(__file__).parent / "datasets" / "logs"


def foretune(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "foretune", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("demo", "--trials", "-1"), "`trials >= 0` must hold"),
        (
            ("collect", "--out", "/tmp/nowhere-foretune", "--records", "5", "--workloads", "cats"),
            "unknown workload families ['cats']",
        ),
        (("nonsense",), "No such command"),
        (("tune", "nothing", "--out", "/tmp/nowhere-foretune"), "MODULE:FUNCTION or a .pt2 file"),
        (("tune", "some:model"), "`--out FILE` must say where the tuned program is written"),
    ],
)
def test_wrong_usage(arguments, message):
    result = foretune(*arguments)
    assert result.returncode == 2
    assert message in result.stderr


def test_unwritable_database():
    result = foretune("demo", "--database", "/proc/nothing/records.db")
    assert result.returncode == 1
    assert "choose another path" in result.stderr and "Traceback" not in result.stderr


def test_missing_data():
    result = foretune("train", "--data", "/nowhere", "--out", "/tmp/m.safetensors")
    assert result.returncode == 1
    assert "there is no data folder /nowhere" in result.stderr


def test_import(tmp_path):
    log = tmp_path / "log.json"
    log.write_text((LOGS / "autotvm.log").read_text() + "{\n")
    result = foretune("import", str(log), str(LOGS / "ansor.json"), "--out", str(tmp_path / "data"), "--json")
    report = json.loads(result.stdout)
    assert result.returncode == 0 and f"{log}:7: not JSON" in result.stderr
    assert (report["num_records"], report["num_bad"], report["bad"][0]["line"]) == (18, 1, 7)
    strict = foretune("import", str(log), "--out", str(tmp_path / "other"), "--strict")
    assert strict.returncode == 1 and f"{log}:7: not JSON" in strict.stderr
    assert foretune("import", str(log), "--out", str(tmp_path / "x"), "--format", "csv").returncode == 2
    nothing = tmp_path / "nothing.json"
    nothing.write_text("{\n")
    assert (
        "no record was imported: each of the 1 lines is bad"
        in foretune("import", str(nothing), "--out", str(tmp_path / "y")).stderr
    )


def test_version():
    result = foretune("--version")
    assert (result.returncode, result.stdout) == (0, f"foretune {__version__}\n")


def test_help_is_for_users():
    result = foretune("--help")
    text = " ".join(result.stdout.split())
    assert "Find faster code for PyTorch models, TVM kernels, LLVM programs and MLIR modules" in text
    assert "--install-completion" in text and "Exit status: 0 done" in text
