"""Programs that no model was trained on, in sets apart: those of Foretune that are held out, PolyBench/C, and the
single files of LLVM's test suite.

The suites are fetched for the run by whoever runs it, and named by folder. PolyBench is timed without its dump, which
would be most of the time, and checked with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from foretune.errors import ForetuneError
from foretune.passes.llvm.program import BuildOptions, Program, Selection, load, load_programs
from foretune.passes.llvm.suite import FOLDER, categories, held_out
from foretune.support.files import write_text_atomically

OURS, POLYBENCH, TEST_SUITE = "ours", "polybench", "llvm_test_suite"
SETS = (OURS, POLYBENCH, TEST_SUITE)
_NUMERIC = ("dense linear algebra", "sparse", "stencils and images", "simulation and numerics")  # of ours
_NUMERIC_FILES = re.compile(
    r"^(flops|himeno|n-body|nbody|spectral|lpbench|almabench|fftbench|f?fbench|mandel|oourafft|fp-convert|pi$|whetstone|"
    r"FloatMM|RealMM|Oscar|partialsums|smallpt|matrix|ary|oopack|stepanov_v1p2)"
)
_LEFT_OUT = ("Adobe-C++", "Polybench", "Linpack", "aarch64")  # of the test suite: they print times, or are elsewhere
_QUADRATIC = ("atax", "bicg", "deriche", "durbin", "gemver", "gesummv", "jacobi-1d", "mvt", "trisolv")
_DUMP = "POLYBENCH_DUMP_ARRAYS"
CANNOT = "cannot_be_tuned"
"""The only key of a program's row that cannot be tuned: why."""


def keep_row(path: Path, make: Callable[[], dict[str, Any]], label: str, told: str) -> None:
    """Makes a program's row, unless it is there, and writes it; why it cannot be made is a row, too.

    Args:
        path: of the row.
        make: makes it.
        label: of what is printed.
        told: format of that, of the row's values.
    """
    if path.exists():
        return
    try:
        row = make()
        line = told.format(**row)
    except ForetuneError as error:
        row = {CANNOT: str(error)[:400]}
        line = row[CANNOT]
    write_text_atomically(path, json.dumps(row, indent=1) + "\n")
    print(f"{label}: {line}", flush=True)


@dataclass(frozen=True)
class Case:
    """A program of a set.

    Attributes:
        set: of `SETS`.
        name: once in the set.
        is_numeric: whether it computes with floating-point numbers most of the time.
        path: of the source.
        size: of PolyBench's data, such as `MEDIUM_DATASET`.
    """

    set: str
    name: str
    is_numeric: bool
    path: Path
    size: str = ""

    @property
    def key(self) -> str:
        """Of its rows; ours have their own name alone."""
        return self.name if self.set == OURS else f"{self.set}-{self.name}"

    def load(self, folder: Path) -> Program:
        """The program.

        Raises:
            ForetuneError: it cannot be made.
        """
        if self.set == POLYBENCH:
            return self._load_polybench(folder)
        [program] = load_programs(self.path, folder / self.key)
        return replace(program, name=self.name)

    def _load_polybench(self, folder: Path) -> Program:
        utilities = next(parent for parent in self.path.parents if (parent / "utilities").is_dir()) / "utilities"
        made = {}
        for part, defines in (("timed", (self.size,)), ("checked", (self.size, _DUMP))):
            options = BuildOptions(defines, (utilities, self.path.parent))
            words = [str(self.path), str(utilities / "polybench.c")]
            [made[part]] = load(words, folder / self.key / part, options, Selection())
        return replace(made["timed"], name=self.name, checked=made["checked"])


def cases(which: str, folder: Path | None = None, size: str = "") -> list[Case]:
    """The programs of a set, by name.

    Args:
        which: of `SETS`.
        folder: where it was fetched to; ours need none.
        size: of PolyBench's data; by default medium, but large where little is computed.
    """
    if which == OURS:
        kinds = categories()
        return [Case(OURS, name, kinds[name] in _NUMERIC, FOLDER / f"{name}.c") for name in held_out()]
    if folder is None or not folder.is_dir():
        raise ForetuneError(f"the set {which} must be fetched, and its folder given, but got {folder}")
    found = _polybench(folder, size) if which == POLYBENCH else _test_suite(folder)
    return sorted(found, key=lambda case: case.name)


def _polybench(folder: Path, size: str) -> Iterator[Case]:
    for path in folder.rglob("*.c"):
        if path.with_suffix(".h").exists() and path.parent.name != "utilities":
            fits = size or ("EXTRALARGE_DATASET" if path.stem in _QUADRATIC else "MEDIUM_DATASET")
            yield Case(POLYBENCH, path.stem, path.stem not in ("nussinov", "floyd-warshall"), path, fits)


def _test_suite(folder: Path) -> Iterator[Case]:
    root = folder / "SingleSource" / "Benchmarks" if (folder / "SingleSource").is_dir() else folder
    paths = [path for suffix in (".c", ".cpp") for path in root.rglob(f"*{suffix}") if "Large" not in path.parts]
    names = [path.stem for path in paths]
    for path in paths:
        if not any(word in str(path.relative_to(root)) for word in _LEFT_OUT):
            name = path.stem if names.count(path.stem) == 1 else f"{path.parent.name}-{path.stem}"
            yield Case(TEST_SUITE, name, bool(_NUMERIC_FILES.match(path.stem)), path)
