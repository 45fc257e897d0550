"""README and documents: commands exist as they are shown and do what is said, programs parse, public names are in the
reference, pages build.
"""

from __future__ import annotations

import ast
import gzip
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from itertools import islice
from pathlib import Path

import pytest
import typer

from foretune.cli.app import app
from foretune.datasets import BUNDLED, Database, RecordStore
from foretune.support.optional import require
from foretune.testing.synthetic import synthetic_trajectories
from tests.documents import DOCUMENTS, ROOT, blocks, commands, spans
from tests.foretune.test_faces import FACES
from tests.passes import sources
from tests.passes.mlir.sources import matmul

COMMAND = typer.main.get_command(app)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
OTHER_PROGRAMS = {"docker"}  # shown, and not ours to check
OTHER_MODULES = {"tvm.exec.rpc_tracker", "tvm.exec.rpc_server"}
LOGS = ROOT / "tests" / "datasets" / "logs"


def ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def check(words: list[str], whole: bool) -> None:
    """Fails if a command cannot be run as it stands; of one that is cut short, only what is there is looked at."""
    if words[0] == "foretune":
        check_verb(words[1:], whole)
    elif words[0] == "make":
        assert set(words[1:]) <= TARGETS, f"{words}: no such target of make"
    elif words[0] == "python" and words[1] == "-m":
        assert words[2] in OTHER_MODULES or importlib.util.find_spec(words[2]), words
    elif words[0] == "python":
        text = (ROOT / words[1]).read_text()
        for option in (w for w in words[2:] if w.startswith("--")):
            assert f'"{option.partition("=")[0]}"' in text, f"{words[1]} has no option {option}"
    elif words[0] == "pip":
        for extra in re.findall(r"\[([\w,]+)\]", words[-1]):
            assert set(extra.split(",")) <= set(EXTRAS), f"{words}: no such extra"
    else:
        assert words[0] in OTHER_PROGRAMS, f"unknown program: {words}"


def check_verb(words: list[str], whole: bool) -> None:
    command = COMMAND
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    if whole and words[:1] not in (["--version"], ["--help"], ["--install-completion"]):
        assert not hasattr(command, "commands"), f"no verb {words}"
        command.make_context(command.name, list(words))  # raises on unknown options, bad values and missing arguments
        return
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {
        "--help"
    }
    if hasattr(command, "commands") and words:
        assert words[0] in known or words[0] in ("...", "VERB"), f"no verb {words}"
    for option in (w for w in words if w.startswith("--")):
        assert option.partition("=")[0] in known, f"{command.name} has no option {option}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_commands_exist(path):
    for words in commands(path):
        check(words, whole="..." not in words)
    for words in spans(path):
        check(words, whole=False)


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_programs_parse_and_import_what_is_there(path):
    for block in blocks(path, "python"):
        for node in ast.walk(ast.parse(block.text)):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module.startswith("foretune")
                and "ForetuneAnsorModel" not in block.text
            ):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "foretune":
                assert hasattr(importlib.import_module("foretune"), node.attr), ast.unparse(node)


def test_files_that_are_named_exist():
    named = re.compile(
        r"`((?:compiler|costmodel|datasets|passes|foretune|benchmarks|examples|tests|docs)/[\w./]*\.(?:py|md|ipynb|json|html))`"
    )
    missing = {
        f"{ids(path)}: {name}"
        for path in DOCUMENTS
        for name in named.findall(path.read_text())
        if not (ROOT / name).exists()
    }
    assert missing == set()


def test_links_of_files_outside_the_site():
    for path in (p for p in DOCUMENTS if p.parent == ROOT):
        for link in re.findall(r"\]\(([^)#]+)", path.read_text()):
            assert link.startswith("https://") or (ROOT / link).exists(), f"{path.name}: {link}"


def test_the_readme_is_one_page():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120 and max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", FACES)
def test_every_public_name_is_in_the_reference(name):
    face = importlib.import_module(name)
    text = "\n".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    listed = set(re.findall(r"^::: (\S+)", text, re.MULTILINE))
    for public in face.__all__:
        home = face._HOMES.get(public) or getattr(face, public).__module__
        full = home.replace(":", ".") if ":" in home else f"{home}.{public}"
        assert full in listed, f"::: {full} is not in docs/reference"


@pytest.mark.parametrize("name", FACES)
def test_stability_is_told(name):
    face = importlib.import_module(name)
    table = (ROOT / "docs" / "reference" / "stability.md").read_text()
    [row] = [line for line in table.splitlines() if line.startswith(f"| `{name}` |")]
    stable, experimental = (
        set(re.findall(r"`(\w+)`", cell)) if cell.strip() != "all" else {"all"} for cell in row.split("|")[2:4]
    )
    public = set(face.__all__)
    assert stable == ({"all"} if public and not face.EXPERIMENTAL else public - face.EXPERIMENTAL)
    assert experimental == ({"all"} if public == face.EXPERIMENTAL else face.EXPERIMENTAL)


def test_the_site_builds_without_warnings(tmp_path):
    if not os.environ.get("CI"):
        pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
        pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, env=environment)
    assert (result.returncode, result.stderr.strip()) == (0, "")
    assert "foretune passes observe" in (tmp_path / "site" / "reference" / "cli" / "index.html").read_text()


# -- running them ------------------------------------------------------------------------------------

SMALL = {  # option -> a value that makes a command short
    "--budget": "4",
    "--trials": "1",
    "--records": "24",
    "--epochs": "1",
    "--samples": "160",
    "--models": "ridge,random",
    "--searches": "random,greedy",
    "--seconds": "30",
}
MORE = {  # verb -> options that make it short
    "tune": ["--trials", "1"],
    "passes tune": ["--budget", "4"],
    "mlir tune": ["--budget", "4"],
    "collect": ["--workloads", "dense"],
    "train": ["--epochs", "1"],
    "evaluate": ["--shares", "0.02"],
    "mlir train": ["--epochs", "1", "--members", "1"],
    "passes replay": ["--repeats", "3"],
    "passes explain": ["--repeats", "3"],
    "mlir replay": ["--turns", "3"],
}
NOT_RUN = {  # word of a command -> why the tests do not run it
    "http://127.0.0.1:8080/v1": "needs an endpoint",
    "local": "needs a download of 1.1 GB, or a cluster",
    "fetch-model": "downloads 1.1 GB",
    "finetune": "needs a language model",
    "auto": "needs a cluster",
    "--rpc": "needs a device",
    "--sweep": "trains four models",
    "--random-workloads": "waits for a quiet machine; `tests/compiler/workloads/test_collection.py` has it",
}
SLOW = (
    "README.md",
    "docs/figures.md",
    "docs/howto/ahead-of-time.md",
    "docs/howto/databases.md",
    "docs/howto/language-models.md",
    "docs/howto/mlir-costs.md",
    "docs/howto/timings.md",
    "docs/quickstart/passes.md",
    "docs/quickstart/training.md",
)
SAXPY = "void saxpy(float *x, float *y, float a, int n) { for (int i = 0; i < n; i++) y[i] += a * x[i]; }\n"
DYNAMIC = """func.func @main(%x: tensor<?x?xf32>) -> tensor<?x?xf32> {
  %y = linalg.exp ins(%x : tensor<?x?xf32>) outs(%x : tensor<?x?xf32>) -> tensor<?x?xf32>
  return %y : tensor<?x?xf32>
}
"""
MODELS = """import torch

def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(24, 24), torch.nn.ReLU()), (torch.randn(8, 24),)
"""


@pytest.fixture
def folder(tmp_path):
    """With the files that the documents speak of."""
    (tmp_path / "ansor.json.gz").write_bytes(gzip.compress((LOGS / "ansor.json").read_bytes()))
    (tmp_path / "tophub").mkdir()
    shutil.copy(LOGS / "autotvm.log", tmp_path / "tophub")
    for kind in ("tuning_record", "workload"):
        (tmp_path / f"database_{kind}.json").write_bytes(
            gzip.decompress((LOGS / f"tvm019_database_{kind}.json.gz").read_bytes())
        )
    write_measured(tmp_path / "measured", 2, 12)
    write_measured(tmp_path / "more", 3, 30)
    write_measured(tmp_path / "data", 12, 600)  # as if it had been collected long ago; `collect` finds it complete
    for name in ("mine.db", "theirs.db"):
        with Database(tmp_path / name) as database:
            database.add([t.record for t in synthetic_trajectories(6, seed=len(name))])
    (tmp_path / "matmul.mlir").write_text(matmul(64, 48, 32))
    (tmp_path / "any.mlir").write_text(DYNAMIC)
    (tmp_path / "suite").mkdir()
    for place in (tmp_path, tmp_path / "suite"):
        (place / "program.c").write_text(sources.SUM)
    (tmp_path / "kernels.c").write_text(SAXPY)
    (tmp_path / "input.txt").write_text("1 2 3\n")
    (tmp_path / "mymodels.py").write_text(MODELS)
    return tmp_path


def write_measured(folder: Path, num_workloads: int, num_records: int) -> None:
    """Some measured schedules, as `foretune collect` writes them."""
    bundled = RecordStore(BUNDLED)
    trajectories = list(islice(bundled.trajectories(sorted(bundled.split().test)[:num_workloads]), num_records))
    with RecordStore(folder, writable=True) as store:
        store.append_workloads([t.record.candidate.task for t in trajectories])
        store.append(trajectories)


def short(words: list[str]) -> list[str]:
    """A command of Foretune with small budgets."""
    words = [
        "0" if before == "--trials" and "demo" in words else SMALL.get(before, word)
        for before, word in zip(["", *words], words)
    ]
    for verb, more in MORE.items():
        if words[1 : 1 + len(verb.split())] == verb.split():
            words += [] if more[0] in words or "--folds" in words else more  # folds have no shares
    return words


@pytest.mark.parametrize(
    "name",
    [pytest.param(ids(p), marks=pytest.mark.slow) if ids(p) in SLOW else ids(p) for p in DOCUMENTS if commands(p)],
)
def test_commands_of_a_page_run_in_order(name, folder):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}",
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder),
    }
    for words in commands(ROOT / name):
        if words[0] != "foretune" or set(words) & set(NOT_RUN):
            continue
        if words[1] in ("passes", "mlir"):
            need_tools(words[1])
        command = [sys.executable, "-m", "foretune", *short(words)[1:]]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=400, env=environment)
        assert result.returncode == 0, f"{' '.join(short(words))}: {result.stdout[-500:]}{result.stderr[-1500:]}"


def need_tools(domain: str) -> None:
    from foretune.errors import UnsupportedError
    from foretune.passes.llvm.toolchain import find_toolchain

    try:
        find_toolchain().tool("clang" if domain == "passes" else "llc")
        require("mlir", "the documents")
    except UnsupportedError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


def test_operators_page_says_what_the_table_says():
    pytest.importorskip("tvm")
    from foretune.compiler.graphs.operators import LEFT, TAKEN

    by_reason: dict[str, list[str]] = {}
    for name, why in LEFT.items():
        by_reason.setdefault(why, []).append(f"`{name}`")
    lines = [
        "",
        "## Taken by TVM",
        "",
        ", ".join(f"`{name}`" for name in sorted(TAKEN)) + ".",
        "",
        "## Left with PyTorch",
        "",
    ]
    lines += [f"- {', '.join(names)}: {why}." for why, names in by_reason.items()]
    lines += ["- all others: no lowering that was checked.", ""]
    page = (ROOT / "docs" / "reference" / "operators.md").read_text()
    _, _, found = page.partition("something else -->\n")
    assert found == "\n".join(lines), "write this below the marker:\n" + "\n".join(lines)
