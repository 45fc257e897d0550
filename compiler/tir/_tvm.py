"""The one door to TVM: import it through here.

Three traps are closed before TVM is used (tried on 0.27):

- Importing `tvm.s_tir.tensor_intrin` takes 20 s or more by itself, and MetaSchedule imports it. `intrinsics.py` makes
  that import fast, and loads for Foretune's own use only the intrinsics of the target at hand, when a schedule asks for
  them.
- TVM's thread pool pins the calling thread to one core, which cripples every other thread pool of the
  process (PyTorch ran 100 times slower). `TVM_BIND_THREADS=0` is TVM's only switch for that.
- By itself TVM starts one thread; `set_num_threads` sets the pool to the number of usable cores.

Vector forms of exp, tanh and erf (`vector_math.py`) are installed here too, so that every process that
compiles kernels compiles the same ones; and Foretune's errors are made known to TVM, so that they keep their
types where they pass through C++, out of a callback.
"""

from __future__ import annotations

import os

os.environ.setdefault("TVM_BIND_THREADS", "0")

from foretune import errors
from foretune.support.optional import missing
from foretune.target import num_usable_cores

try:
    import tvm
    import tvm.s_tir
    import tvm_ffi
    from tvm.ir.utils import derived_object
    from tvm.s_tir import meta_schedule
except ModuleNotFoundError as _error:
    raise missing("tvm", "scheduling tensor programs", str(_error)) from _error

from foretune.compiler.tir import intrinsics, vector_math

intrinsics.know_frames_without_module()
vector_math.install()

for _error in (errors.ModelError, errors.OptionError, errors.UnsupportedError, errors.WorkerError):
    tvm_ffi.register_error(_error.__name__, _error)


def set_num_threads(num_threads: int | None = None) -> None:
    """Sets the size of TVM's thread pool; by default, one thread for each usable core.

    Without a list of cores TVM ignores the number, and stays at one thread on two cores; the list is only counted here,
    because `TVM_BIND_THREADS` is 0.
    """
    threads_share_cores = -2
    num_threads = num_threads or num_usable_cores()
    tvm.get_global_func("runtime.config_threadpool")(
        threads_share_cores, num_threads, [str(core) for core in range(num_threads)]
    )


__all__ = ["derived_object", "intrinsics", "meta_schedule", "set_num_threads", "tvm"]
