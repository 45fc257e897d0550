"""The machine code that TVM makes of a scheduled program: compiled for any processor, never loaded or run."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.target import tvm_target
from foretune.costmodel.machine_code.counters import hot_code
from foretune.costmodel.machine_code.mca import Mca
from foretune.errors import UnsupportedError
from foretune.target import Target


def listing(mod: tvm.IRModule, target: Target) -> str:
    """The assembly of a scheduled program.

    Raises:
        UnsupportedError: TVM made no code of its own for it.
    """
    executable: Any = tvm.compile(mod, target=tvm_target(target))
    for module in _modules(getattr(executable, "mod", executable)):
        if str(getattr(module, "kind", "")) == "llvm":
            return str(module.inspect_source("asm"))
    raise UnsupportedError(f"TVM made no machine code for target {target}; only targets of kind llvm can be looked at")


def mca_cycles(text: str, tool: str, target: Target) -> float:
    """llvm-mca's cycles of the blocks that run most, for each element that arithmetic is done on; NaN if it could look
    at none.
    """
    hot, lanes = hot_code(text)
    mca = _mca(tool, str(dict(target.attrs).get("mcpu", "native")))
    mca.look_at(hot)
    return mca.labels(hot)["mca_cycles"] / lanes


@lru_cache(maxsize=4)
def _mca(tool: str, cpu: str) -> Mca:
    return Mca(Path(tool), cpu)


def _modules(module: Any) -> Iterator[Any]:
    """A module and those that it imports."""
    yield module
    for imported in list(getattr(module, "imports", None) or []):
        yield from _modules(imported)
