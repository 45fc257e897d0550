"""Compiled programs on PyTorch's threads, so that a graph may go back and forth between TVM and PyTorch."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import cast

from foretune.compiler.tir._tvm import tvm
from foretune.support.scratch import step_folder

_log = logging.getLogger(__name__)
_SOURCES = [str(Path(__file__).with_name(name)) for name in ("openmp_launch.c", "call_sequence.c")]
_HOOKS = {
    "__TVMBackendParallelLaunch": "foretune_parallel_launch",
    "__TVMBackendParallelBarrier": "foretune_parallel_barrier",
}
_TIMEOUT_SECS = 60.0
_built: list[bytes] = []  # content of the launcher's file


def on_openmp(
    executable: tvm.runtime.Executable,
) -> tuple[tvm.runtime.Executable | tvm.runtime.Module, ctypes.CDLL | None, bytes]:
    """The program with its parallel loops on OpenMP's threads, the library that it is then, and the content of its
    file; as it is, without these, where no C compiler is found.
    """
    if launcher() is None:
        return executable, None, b""
    with step_folder() as folder:
        path = folder / "program.so"
        executable.export_library(str(path), workspace_dir=str(folder))
        return *load_library(path), path.read_bytes()


def load_library(path: Path) -> tuple[tvm.runtime.Module, ctypes.CDLL]:
    """A program from its file, which is not needed any more then, for TVM and for C.

    TVM's generated code calls whatever its library's variables `__TVMBackend…` point at, which is TVM's own pool at
    first, and where no C compiler is found.
    """
    module, library = tvm.runtime.load_module(str(path)), ctypes.CDLL(str(path))
    functions = launcher()
    for variable, function in _HOOKS.items() if functions is not None else ():
        try:
            hook = ctypes.c_void_p.in_dll(library, variable)
        except ValueError:  # the program has no such loops
            continue
        hook.value = ctypes.cast(getattr(functions, function), ctypes.c_void_p).value
    return cast("tvm.runtime.Module", module), library


@lru_cache(maxsize=2)
def range_check(bits: int) -> Callable[[int, int, int], int] | None:
    """(address of indices, how many, size) -> whether all are from 0 to below the size; None where no C compiler is
    found.

    Args:
        bits: of an index, 32 or 64.
    """
    functions = launcher()
    if functions is None:
        return None
    function = getattr(functions, f"foretune_in_range_{bits}")
    function.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    return function


@lru_cache(maxsize=1)
def launcher() -> ctypes.CDLL | None:
    """The functions of the C files; OpenMP's library is the one that PyTorch has loaded, since it has the same name."""
    import torch  # noqa: F401 - loads it

    if _built:
        return _loaded(_built[0])
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        _log.info("no C compiler is found; TVM's kernels run on threads of their own")
        return None
    with step_folder() as folder:
        library = folder / "launch.so"
        command = [compiler, "-O2", "-shared", "-fPIC", "-fopenmp", *_SOURCES, "-o", str(library)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_SECS)
            _built.append(library.read_bytes())
            return ctypes.CDLL(str(library))
        except (OSError, subprocess.SubprocessError) as error:
            _log.info("TVM's kernels run on threads of their own: %s", error)
            return None


def launcher_binary() -> bytes:
    """Content of the launcher's file; empty where no C compiler is found."""
    return _built[0] if launcher() is not None else b""


def offer_launcher(binary: bytes) -> None:
    """Spares a process to compile the launcher, if it has not done so.

    Args:
        binary: what `launcher_binary` gave on a machine of the same processor.
    """
    if binary and not _built:
        _built.append(binary)
        launcher.cache_clear()


def _loaded(binary: bytes) -> ctypes.CDLL:
    with step_folder() as folder:
        library = folder / "launch.so"
        library.write_bytes(binary)
        return ctypes.CDLL(str(library))
