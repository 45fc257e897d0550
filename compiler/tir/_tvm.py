"""The one door to TVM: import it through here.

Three traps are closed before TVM is used (tried on 0.27):

- Importing `tvm.s_tir.tensor_intrin` runs TVMScript parsers for all targets and takes 20 s or more,
  and MetaSchedule imports it. Only its x86 part is loaded here; `load_intrinsics` adds others. Each parser reads the
  source of every frame that called it, 4 s for an import from deep within a program: they run in a thread, which has few.
- TVM's thread pool pins the calling thread to one core, which cripples every other thread pool of the
  process (PyTorch ran 100 times slower). `TVM_BIND_THREADS=0` is TVM's only switch for that.
- By itself TVM starts one thread; `set_num_threads` sets the pool to the number of usable cores.

Vector forms of exp, tanh and erf (`vector_math.py`) are installed here too, so that every process that
compiles kernels compiles the same ones; and Foretune's errors are made known to TVM, so that they keep their
types where they pass through C++, out of a callback.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("TVM_BIND_THREADS", "0")

from foretune import errors
from foretune.support.optional import missing
from foretune.target import num_usable_cores

try:
    import tvm
    import tvm.s_tir
    import tvm_ffi
except ModuleNotFoundError as _error:
    raise missing("tvm", "scheduling tensor programs", str(_error)) from _error

_INTRINSICS = "tvm.s_tir.tensor_intrin"


def _load_x86_intrinsics_only() -> None:
    if _INTRINSICS in sys.modules:
        return
    package = types.ModuleType(_INTRINSICS)
    package.__path__ = [os.path.join(os.path.dirname(tvm.s_tir.__file__), "tensor_intrin")]
    sys.modules[_INTRINSICS] = package
    _import_in_a_thread(f"{_INTRINSICS}.x86")


def _import_in_a_thread(module: str) -> None:
    with ThreadPoolExecutor(1) as threads:
        threads.submit(importlib.import_module, module).result()


_load_x86_intrinsics_only()

from tvm.s_tir import meta_schedule  # noqa: E402

from foretune.compiler.tir import vector_math  # noqa: E402

vector_math.install()

for _error in (errors.ModelError, errors.OptionError, errors.UnsupportedError, errors.WorkerError):
    tvm_ffi.register_error(_error.__name__, _error)


def load_intrinsics(architecture: str) -> None:
    """Registers the tensor intrinsics that MetaSchedule asks for when it schedules for an architecture, such as `aarch64`."""
    parts = {"aarch64": "arm_cpu", "arm": "arm_cpu", "riscv64": "riscv_cpu"}
    if architecture in parts:
        _import_in_a_thread(f"{_INTRINSICS}.{parts[architecture]}")


def set_num_threads(num_threads: int | None = None) -> None:
    """Sets the size of TVM's thread pool; by default, one thread for each usable core.

    Without a list of cores TVM ignores the number, and stays at one thread on two cores; the list is only counted here,
    because `TVM_BIND_THREADS` is 0.
    """
    threads_share_cores = -2
    num_threads = num_threads or num_usable_cores()
    tvm.get_global_func("runtime.config_threadpool")(threads_share_cores, num_threads, [str(core) for core in range(num_threads)])


__all__ = ["load_intrinsics", "meta_schedule", "set_num_threads", "tvm"]
