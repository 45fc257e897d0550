"""Every file and notebook of `examples/` runs, as its first lines say, with a small budget."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
CASES = {
    "compile_model.py": (["--trials", "1", "--database", "records.db"], "graph 1: run by"),
    "rank_schedules.py": (["--tasks", "3"], "random top-1"),
    "save_compiled.py": (["save", "mlp.bin", "--trials", "1", "--database", "records.db"], "saved after"),
    "tune_ahead.py": (
        ["--trials", "1", "--database", "records.db", "--out", "mlp.foretune"],
        "mlp.foretune: 2 kernels",
    ),
    "tune_mlir.py": (["--budget", "4"], "times as fast as the default lowering"),
    "tune_passes.py": (["--budget", "4", "--search", "random"], "times as fast as -O3"),
    "tune_with_metaschedule.py": (["--trials", "4", "--size", "32"], "4 schedules measured"),
}
AFTERWARDS = {"save_compiled.py": (["load", "mlp.bin"], "loaded and run after")}  # in a process of its own
SLOW = ("compile_model.py", "save_compiled.py", "tune_ahead.py")
NEEDS = {
    "tune_mlir.py": "mlir",
    **dict.fromkeys(("compile_model.py", "save_compiled.py", "tune_ahead.py", "tune_with_metaschedule.py"), "tvm"),
}


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    result = subprocess.run(
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=300, env=environment
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def check_tools(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    if name == "tune_passes.py":
        from foretune.errors import UnsupportedError
        from foretune.passes.llvm.toolchain import find_toolchain

        try:
            find_toolchain().tool("clang")
        except UnsupportedError as error:
            if os.environ.get("CI"):
                raise
            pytest.skip(str(error))


def test_all_are_run():
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(CASES)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CASES]
)
def test_examples(name, tmp_path):
    check_tools(name)
    arguments, expected = CASES[name]
    assert expected in run([str(EXAMPLES / name), *arguments], tmp_path)
    if name in AFTERWARDS:
        arguments, expected = AFTERWARDS[name]
        assert expected in run([str(EXAMPLES / name), *arguments], tmp_path)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks(path, tmp_path):
    document = json.loads(path.read_text())
    assert (document["nbformat"], document["metadata"]["kernelspec"]["language"]) == (4, "python")
    cells = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells), (
        "outputs do not belong into the repository"
    )
    script = tmp_path / f"{path.stem}.py"
    script.write_text("\n\n".join("".join(cell["source"]) for cell in cells))
    assert run([str(script)], tmp_path).strip()
