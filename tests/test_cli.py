"""The command line: exit status, errors on stderr, one JSON document on stdout."""

from __future__ import annotations

import subprocess
import sys

import pytest


def foretune(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "foretune", *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("verb", ["import", "evaluate", "tune", "passes", "mlir", "report"])
def test_verbs_that_are_not_built_say_so(verb):
    result = foretune(verb)
    assert result.returncode == 1
    assert f"`foretune {verb}` is not built yet" in result.stderr and not result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("demo", "--trials", "-1"), "`trials >= 0` must hold"),
        (("collect", "--out", "/tmp/nowhere-foretune", "--records", "5", "--workloads", "cats"), "unknown workload families ['cats']"),
        (("nonsense",), "No such command"),
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
