"""Wheel and source distribution: the same files, each once, and both install."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from foretune import __version__

ROOT = Path(__file__).parent.parent
BUILD = "import sys, setuptools.build_meta as b; print(getattr(b, 'build_' + sys.argv[1])(sys.argv[2]))"


def build(tree: Path, kind: str, out: Path) -> Path:
    """A wheel or sdist of a source tree, as an installer would build it."""
    out.mkdir(exist_ok=True)
    result = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(out)], cwd=tree, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return out / result.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a copy of the tracked files, so that nothing is built inside the repository."""
    folder = tmp_path_factory.mktemp("distribution")
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    (folder / "names").write_text(names)
    (folder / "tree").mkdir()
    subprocess.run(
        ["tar", "-c", "--null", "-T", str(folder / "names"), "-f", str(folder / "tree.tar")],
        cwd=ROOT,
        check=True,
        timeout=120,
    )
    subprocess.run(["tar", "-x", "-f", str(folder / "tree.tar")], cwd=folder / "tree", check=True, timeout=120)
    return folder


@pytest.fixture(scope="module")
def sdist(folder):
    return build(folder / "tree", "sdist", folder / "sdist")


@pytest.fixture(scope="module")
def wheel(folder):
    return build(folder / "tree", "wheel", folder / "wheel")


def test_one_version(wheel):
    assert wheel.name == f"foretune-{__version__}-py3-none-any.whl"
    metadata = zipfile.ZipFile(wheel).read(f"foretune-{__version__}.dist-info/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata and "pydantic" not in metadata


def names_of(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_the_sdist_holds_every_file_once(sdist, wheel):
    with tarfile.open(sdist) as archive:
        assert not [m.name for m in archive.getmembers() if m.issym() or m.islnk()]
        inside = [m.name.partition("/")[2] for m in archive.getmembers() if m.isfile()]
    assert len(set(inside)) == len(inside) and names_of(wheel) <= set(inside)
    assert {"LICENSE", "CHANGELOG.md", "README.md", "pyproject.toml"} <= set(inside)
    assert not [
        name
        for name in inside
        if name.split("/")[0] in ("compiler", "costmodel", "passes", "datasets", "tests", "benchmarks")
    ]


def test_a_wheel_of_the_sdist_is_the_same(folder, sdist, wheel):
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    again = build(next((folder / "unpacked").iterdir()), "wheel", folder / "again")
    assert names_of(again) == names_of(wheel)


def test_what_the_packages_need_at_run_time_is_in_the_wheel(wheel):
    tracked = subprocess.run(
        ["git", "ls-files", "compiler", "costmodel", "passes", "datasets"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {f"foretune/{name}" for name in tracked} - names_of(wheel) == set()


@pytest.mark.slow
def test_the_sdist_installs(folder, sdist):
    place = folder / "installed"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--target",
        str(place),
        str(sdist),
    ]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-2000:]
    code = (
        f"import sys; sys.path.insert(0, {str(place)!r}); import foretune; from foretune.costmodel import"
        " LatentCostModel; from foretune.datasets import BUNDLED;LatentCostModel.bundled();"
        " print(foretune.__version__, foretune.__file__, BUNDLED.is_dir())"
    )
    ran = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=120, cwd=folder)
    assert ran.stdout.split() == [__version__, str(place / "foretune" / "__init__.py"), "True"], ran.stderr[-2000:]
