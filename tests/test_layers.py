"""Dependencies point one way, and heavy tools are imported in one place only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ALLOWED = {
    "foretune": {"foretune"},
    "datasets": {"foretune", "datasets"},
    "costmodel": {"foretune", "datasets", "costmodel"},
    "compiler": {"foretune", "datasets", "costmodel", "compiler"},
    "passes": {"foretune", "datasets", "costmodel", "passes"},
}
HOMES = {"tvm": {"compiler"}, "tvm_ffi": {"compiler"}, "torch": {"costmodel", "compiler"}, "mlir": {"passes"}, "openai": {"passes"}, "gguf": {"costmodel"}}
PACKAGES = set(ALLOWED) - {"foretune"}
FILES = [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports(path: Path):
    package = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "foretune":
            used = parts[1] if len(parts) > 1 and parts[1] in PACKAGES else "foretune"
            if path.name not in ("cli.py", "data_verbs.py", "database_verbs.py", "mlir_verbs.py", "passes_verbs.py"):  # the command line is the one place above all packages
                assert used in ALLOWED[package], f"{path} imports {name}"
        elif (path.name, parts[0]) != ("torch_frontend.py", "torch"):  # the front end for PyTorch modules
            assert package in HOMES.get(parts[0], {package}), f"{path} imports {name}"
