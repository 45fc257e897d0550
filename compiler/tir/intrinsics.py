"""Tensor intrinsics of TVM, loaded for the target at hand.

MetaSchedule looks intrinsics up by name, and imports those of all targets for that: `tvm.s_tir.tensor_intrin` runs 250
TVMScript parsers. `load` imports only the module of one target, without its package. What was loaded so is the real
module: a later import of the package, by TVM or by the user, takes it and registers the rest.

Each parser also asks `inspect` for the module of every frame that called it. `inspect` scans all modules for a file
that none of them has, as often as it is asked; of 40 s for the whole package 37 went there.
`know_frames_without_module` puts the answer ("none") for Python's import machinery and for TVM's evaluator into the
cache of `inspect`.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

import tvm.s_tir

_PACKAGE = "tvm.s_tir.tensor_intrin"
_NO_MODULE = "<no module>"
_FILES_WITHOUT_MODULE = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>", "<ast>", "<string>")
_ARM = ("dot_product_common", "arm_cpu")
_OF_ARCHITECTURE = {
    "x86_64": ("x86",),
    "i686": ("x86",),
    "aarch64": _ARM,
    "arm64": _ARM,
    "arm": _ARM,
    "riscv64": ("riscv_cpu",),
    "riscv32": ("riscv_cpu",),
}
_OF_KIND = {
    "cuda": ("dot_product_common", "cuda"),
    "rocm": ("dot_product_common", "rocm"),
    "hexagon": ("dot_product_common", "hexagon"),
}
_NONE_NEEDED = frozenset({"c", "opencl", "vulkan", "metal", "webgpu"})


def parts_of(kind: str, architecture: str) -> tuple[str, ...] | None:
    """The modules with the intrinsics that MetaSchedule's rules for a target ask for, in order of import; None if all
    may be needed.

    Args:
        kind: of the target, such as `llvm`.
        architecture: of an `llvm` target, such as `x86_64`.
    """
    if kind in _NONE_NEEDED:
        return ()
    return _OF_ARCHITECTURE.get(architecture) if kind == "llvm" else _OF_KIND.get(kind)


def load(kind: str, architecture: str) -> None:
    """Registers the tensor intrinsics of one target; all of them if the target is not known here."""
    parts = parts_of(kind, architecture)
    if parts is None or not _loaded.load(parts):
        importlib.import_module(_PACKAGE)


def know_frames_without_module() -> None:
    """Tells the cache of `inspect` that no module has these files; it finds the same by itself, slowly, each time."""
    cache = getattr(inspect, "modulesbyfile", None)
    if isinstance(cache, dict):
        for file in _FILES_WITHOUT_MODULE:
            cache.setdefault(file, _NO_MODULE)


class _LoadedModules(MetaPathFinder, Loader):
    """Modules that ran without their package, handed out when the package is imported after all."""

    def __init__(self) -> None:
        self._modules: dict[str, ModuleType] = {}
        self._lock = threading.RLock()
        self._folder = os.path.join(os.path.dirname(tvm.s_tir.__file__), "tensor_intrin")

    def load(self, parts: Sequence[str]) -> bool:
        """Runs modules that have not run yet; False if the package is imported, or just now being imported, by somebody
        else.
        """
        with self._lock:
            for part in parts:
                name = f"{_PACKAGE}.{part}"
                if name in self._modules:
                    continue
                if _PACKAGE in sys.modules:
                    return False
                self._modules[name] = self._run(name, part)
        return True

    def _run(self, name: str, part: str) -> ModuleType:
        """Runs a module while `sys.modules` has those that it imports from, and itself, as for any import."""
        spec = importlib.util.spec_from_file_location(name, os.path.join(self._folder, f"{part}.py"))
        if spec is None or spec.loader is None:
            raise ImportError(f"{part}.py of {_PACKAGE} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        own = {**self._modules, name: module}
        sys.modules.update(own)
        try:
            spec.loader.exec_module(module)
        finally:
            for loaded in own:
                sys.modules.pop(loaded, None)
        return module

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of a module that has run; waits for one that is running."""
        if not fullname.startswith(f"{_PACKAGE}."):
            return None
        with self._lock:
            found = self._modules.get(fullname)
        return importlib.util.spec_from_loader(fullname, self, origin=found.__file__) if found is not None else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module itself."""
        return self._modules[spec.name]

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it has run."""


_loaded = _LoadedModules()
sys.meta_path.insert(0, _loaded)
