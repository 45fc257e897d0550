"""Dependencies point one way, folders are small and never import each other, and heavy tools are imported in one place
only.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOUNDATION = {"nouns", "support", "workers"}
ALLOWED = {  # layer -> layers that it may import; `nouns` are the modules of `foretune` itself
    "nouns": {"nouns", "support"},
    "support": {"nouns", "support"},
    "workers": FOUNDATION,
    "datasets": FOUNDATION | {"datasets"},
    "costmodel": FOUNDATION | {"datasets", "costmodel"},
    "tuning": FOUNDATION | {"datasets", "tuning"},
    "compiler": FOUNDATION | {"datasets", "costmodel", "tuning", "compiler"},
    "passes": FOUNDATION | {"datasets", "costmodel", "tuning", "passes"},
    "testing": FOUNDATION | {"datasets", "costmodel", "tuning", "testing"},
}  # the command line, `cli`, is the one place above all of them
HOMES = {
    "tvm": {"compiler"},
    "tvm_ffi": {"compiler"},
    "torch": {"costmodel", "compiler"},
    "mlir": {"passes"},
    "openai": {"passes"},
    "gguf": {"costmodel"},
}
PACKAGES = ("datasets", "costmodel", "compiler", "passes")
FACES = {ROOT / package / "__init__.py" for package in ("foretune", *PACKAGES)} | {
    ROOT / "passes" / "mlir" / "__init__.py"
}  # import when asked
FILES = [
    path for package in ("foretune", *PACKAGES) for path in sorted((ROOT / package).rglob("*.py"))
]  # links are not followed
FOLDERS = sorted({path.parent for path in FILES})
MOST_FILES = 20
MOST_EQUAL_LINES = 5


def layer_of(parts: tuple[str, ...] | list[str]) -> str:
    """The layer of a module, from the parts of its name behind `foretune`."""
    if parts and parts[0] in PACKAGES:
        return parts[0]
    return parts[0] if len(parts) > 1 and parts[0] in ("cli", "support", "workers", "tuning", "testing") else "nouns"


def name_of(path: Path) -> list[str]:
    """The parts of a file's module name behind `foretune`."""
    parts = [*path.relative_to(ROOT).with_suffix("").parts]
    parts = parts[1:] if parts[0] == "foretune" else parts
    return parts[:-1] if parts[-1] == "__init__" else parts


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
    layer = layer_of([*path.relative_to(ROOT).parts[1:]]) if package == "foretune" else package
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "foretune":
            if layer != "cli" and path not in FACES and path.name != "__main__.py":
                assert layer_of(parts[1:]) in ALLOWED[layer], f"{path} imports {name}"
        elif (path.name, parts[0]) != ("torch_frontend.py", "torch"):  # the front end for PyTorch modules
            assert package in HOMES.get(parts[0], {package}), f"{path} imports {name}"


def test_no_two_folders_import_each_other():
    rooms = {".".join(name_of(folder / "__init__.py")) for folder in FOLDERS}
    arrows = set()
    for path in FILES:
        if path in FACES:
            continue
        here = ".".join(name_of(path.parent / "__init__.py"))
        for name in imported(path):
            parts = name.split(".")[1:] if name.startswith("foretune.") else []
            there = next((room for n in range(len(parts), 0, -1) if (room := ".".join(parts[:n])) in rooms), "")
            if parts and there != here and here and there:
                arrows.add((here, there))
    assert [(a, b) for a, b in combinations(sorted(rooms), 2) if (a, b) in arrows and (b, a) in arrows] == []


def private_names_of_torch(tree: ast.AST) -> set[str]:
    """Private modules, and names in them, that a program imports or reaches from `torch`."""

    def dotted(node: ast.AST) -> str:
        if isinstance(node, ast.Name):
            return node.id
        return f"{base}.{node.attr}" if isinstance(node, ast.Attribute) and (base := dotted(node.value)) else ""

    names = {name for node in ast.walk(tree) if isinstance(node, ast.Attribute) and (name := dotted(node))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {
        name
        for name in names
        if name.split(".")[0] == "torch"
        and not name.startswith("torch.ops.")  # operators, whatever their names
        and any(part.startswith("_") and not part.startswith("__") for part in name.split("."))
    }


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("import torch._dynamo", {"torch._dynamo"}),
        ("def f():\n    from torch.utils import _pytree", {"torch.utils._pytree"}),
        ("from torch._inductor.utils import a", {"torch._inductor.utils.a"}),
        ("import torch\ntorch._C.a()", {"torch._C", "torch._C.a"}),
        ("import torch\ntorch.ops.aten._to_copy\ntorch.__version__\nself.torch._x", set()),
    ],
)
def test_private_names_of_torch_are_seen(program: str, names: set[str]):
    assert private_names_of_torch(ast.parse(program)) == names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_one_door_to_the_private_modules_of_torch(path: Path):
    if path != ROOT / "compiler" / "torch_private" / "__init__.py":
        assert private_names_of_torch(ast.parse(path.read_text())) == set()


def code_lines(program: str) -> list[tuple[int, str]]:
    """(number, text) of the lines that say something: no imports, docstrings, comments or pure punctuation."""
    aside: set[int] = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, (ast.Import, ast.ImportFrom)) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        ):
            aside.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate((line.strip() for line in program.splitlines()), 1)
    return [(i, line) for i, line in lines if i not in aside and not line.startswith("#") and re.search(r"\w", line)]


def repeated(programs: dict[Path, str]) -> list[str]:
    """Places in files of different folders where equal lines begin, so many that they should stand once."""
    places: defaultdict[tuple[str, ...], list[tuple[Path, int]]] = defaultdict(list)
    for path, program in programs.items():
        lines = code_lines(program)
        for k in range(len(lines) - MOST_EQUAL_LINES):
            window = lines[k : k + MOST_EQUAL_LINES + 1]
            places[tuple(line for _, line in window)].append((path, window[0][0]))
    found = [spots for spots in places.values() if len({path.parent for path, _ in spots}) > 1]
    return [", ".join(f"{path}:{number}" for path, number in spots) for spots in found]


def test_equal_lines_are_seen():
    same = "\n".join(f"x{i} = {i}" for i in range(6))
    apart, between = "import a\n" + same, same.replace("x3", "# x\n\nx3").replace("x5", '"""Told."""\nx5')
    assert repeated({Path("a/a.py"): apart, Path("b/b.py"): between}) == ["a/a.py:2, b/b.py:1"]
    assert repeated({Path("a/a.py"): same, Path("a/b.py"): same}) == []
    assert repeated({Path("a/a.py"): same, Path("b/b.py"): same.replace("x3", "y3")}) == []


def test_no_code_stands_in_two_folders():
    assert repeated({path.relative_to(ROOT): path.read_text() for path in FILES}) == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: str(p.relative_to(ROOT)))
def test_folders_are_small(folder: Path):
    assert len([*folder.glob("*.py")]) <= MOST_FILES


def test_old_names_say_where_modules_went():
    from foretune.moved import MOVED

    for old, new in MOVED.items():
        with pytest.raises(ModuleNotFoundError, match=rf"{old} has moved to {new}"):
            __import__(old)
        assert (ROOT / "foretune" / Path(*new.split(".")[1:]).with_suffix(".py")).exists()
