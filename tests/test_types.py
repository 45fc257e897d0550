"""A type checker and a user's file beside an installation: every import is found, wrong options are reported."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

import foretune
from foretune import compiler, costmodel, datasets, passes
from foretune.passes import mlir

FACES = (foretune, compiler, costmodel, datasets, passes, mlir)
WRONG = """
from foretune.compiler import BackendOptions, SearchConfig
BackendOptions(trials=3)
BackendOptions(trails=3)
BackendOptions(trials="three")
SearchConfig().batch_sise
"""


@pytest.fixture
def check(tmp_path):
    """(line, rule, message) of all that pyright says of a file in a folder of its own, where nothing is configured."""
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed")

    def run(text: str) -> list[tuple[int, str, str]]:
        (tmp_path / "user.py").write_text(text)
        command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "user.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert done.stdout.startswith("{"), done.stdout[-500:] + done.stderr[-500:]
        found = json.loads(done.stdout)
        assert found["summary"]["filesAnalyzed"] == 1
        return [(d["range"]["start"]["line"], d["rule"], d["message"]) for d in found["generalDiagnostics"]]

    return run


@pytest.mark.slow
def test_every_public_name_is_found(check):
    text = "".join(
        f"from {face.__name__} import {name} as name_{i}_{k}\n"
        for i, face in enumerate(FACES)
        for k, name in enumerate(face.__all__)
    )
    assert check(text) == []


@pytest.mark.slow
def test_wrong_options_are_reported(check):
    found = check(WRONG)
    assert [(line, rule) for line, rule, _ in found] == [
        (3, "reportCallIssue"),
        (4, "reportArgumentType"),
        (5, "reportAttributeAccessIssue"),
    ]
    assert '"trails"' in found[0][2]
