"""Public names: all of them can be imported, editors see them, and importing a package imports nothing heavy."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

FACES = (
    "foretune",
    "foretune.compiler",
    "foretune.costmodel",
    "foretune.datasets",
    "foretune.passes",
    "foretune.passes.mlir",
)
ELSEWHERE = {"ForetuneAnsorModel"}  # lives in the environment of `make ansor`


@pytest.fixture(params=FACES)
def face(request):
    return importlib.import_module(request.param)


def test_every_name_can_be_imported(face):
    for name in set(face.__all__) - ELSEWHERE:
        assert getattr(face, name) is not None
    assert set(face.__all__) <= set(dir(face))


def test_type_checkers_see_the_same_names(face):
    seen = {}
    for node in ast.walk(ast.parse(Path(face.__file__).read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for line in node.body:
                seen.update({a.asname or a.name: (line.module, a.name) for a in line.names})
    homes = {name: (home.partition(":")[0], home.partition(":")[2] or name) for name, home in face._HOMES.items()}
    assert seen == homes and set(homes) <= set(face.__all__)


def test_experimental_names_are_public(face):
    assert set(face.__all__) >= face.EXPERIMENTAL


def test_unknown_names(face):
    with pytest.raises(AttributeError, match=f"module '{face.__name__}' has no attribute 'tuen'"):
        face.tuen  # noqa: B018 - asking is the test


def test_importing_packages_is_light():
    code = (
        f"import sys, {', '.join(FACES)}; print(sorted({{'torch', 'tvm', 'mlir', 'pyarrow', 'numba'}} &"
        " set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
        ).stdout.strip()
        == "[]"
    )
