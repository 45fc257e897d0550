"""Missing optional packages: one wording, which says what to install."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from foretune import UnsupportedError
from foretune.support.optional import EXTRAS, expect, require

PYPROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())

WITHOUT_TVM = """
import sys
sys.modules["tvm"] = sys.modules["tvm_ffi"] = None
from foretune.cli.app import main
main()
"""


def test_what_is_there_is_imported():
    assert require("json.decoder", "a test").JSONDecoder


def test_what_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(
        UnsupportedError,
        match=(
            r"^the forest needs the package lightgbm, which cannot be imported \(.*\): pip install"
            r" 'foretune\[rivals\]'$"
        ),
    ):
        require("lightgbm", "the forest")


def test_what_is_needed_later_is_looked_for_and_not_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "catboost", raising=False)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with contextlib.suppress(UnsupportedError):  # where it is not installed
        expect("catboost", "the forest")
    assert "catboost" not in sys.modules
    with pytest.raises(
        UnsupportedError, match=r"^the forest needs the package lightgbm, which cannot be imported: pip"
    ):
        expect("lightgbm", "the forest")


def test_extras_exist():
    assert set(EXTRAS.values()) <= set(PYPROJECT["project"]["optional-dependencies"])


def test_tuning_without_tvm_says_what_to_install(tmp_path):
    command = [sys.executable, "-c", WITHOUT_TVM, "tune", "some:model", "--out", str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "pip install 'foretune[tvm]'" in result.stderr
