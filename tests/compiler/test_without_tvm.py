"""What works where TVM is not installed, and what says how to install it."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = "import sys; sys.modules['tvm'] = sys.modules['tvm_ffi'] = None\n"
MODEL = """
import torch
def make():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU()).eval(), (torch.randn(2, 4),)
"""


def run(code: str, folder, *args: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code, *args], cwd=folder, capture_output=True, text=True, timeout=300
    )


def command(folder, *args: str) -> subprocess.CompletedProcess:
    (folder / "some_model.py").write_text(MODEL)
    return run("from foretune.cli.app import main\nmain()", folder, *args)


def test_modules_that_need_no_tvm(tmp_path):
    names = (
        "contest.guard",
        "pytorch.background",
        "pytorch.artifact",
        "pytorch.explain",
        "measure.one_thread",
        "exported.reader",
    )
    done = run("\n".join(f"import foretune.compiler.{name}" for name in names), tmp_path)
    assert done.returncode == 0, done.stderr


def test_bad_archives_are_told_apart_without_tvm(tmp_path):
    (tmp_path / "x").write_text("no archive")
    done = run(
        "import foretune\ntry:\n    foretune.load('x')\nexcept foretune.DataError as error:\n    print(error)", tmp_path
    )
    assert done.stdout.startswith("x is no file of `foretune tune`"), done.stderr


@pytest.mark.parametrize("verb", [("tune", "some_model:make", "--out", "x.foretune"), ("demo", "--trials", "0")])
def test_verbs_say_what_to_install(tmp_path, verb):
    done = command(tmp_path, *verb)
    assert done.returncode == 1 and "pip install 'foretune[tvm]'" in done.stderr and "Traceback" not in done.stderr


def test_mlir_programs_come_from_pytorch(tmp_path):
    pytest.importorskip("torch_mlir")
    done = command(tmp_path, "mlir", "predict", "some_model:make", "--json")
    assert done.returncode == 0 and '"secs"' in done.stdout, done.stderr
