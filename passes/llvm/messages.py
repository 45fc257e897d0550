"""What the worker that runs passes (`worker.py`) is asked, and what it replies; `execution/running.py` has the run of a
program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foretune.workers.messages import R, Reply, Request


@dataclass(frozen=True)
class Started(Reply):
    """`version` of LLVM, and the processor's name, `cpu`, as LLVM knows it."""

    version: tuple[int, ...] = ()
    cpu: str = ""


@dataclass(frozen=True)
class Start(Request[Started]):
    """The greeting.

    Attributes:
        library: path of libLLVM.
        memory_bytes: address space of each child that works on a module.
        core: that the process and what it starts run on; None for any.
    """

    library: str
    memory_bytes: int
    core: int | None = None


@dataclass(frozen=True)
class OfModule(Request[R]):
    """Something to do with a module in a child: `source`, its path."""

    source: str


@dataclass(frozen=True)
class Compiled(Reply):
    """What became of a module.

    Attributes:
        before, after: as `observe.observe` saw it; None where it was not looked at.
    """

    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


@dataclass(frozen=True)
class Compile(OfModule[Compiled]):
    """Runs passes over a module and writes what is asked for.

    Attributes:
        out: path of an object file, assembly (`.s`) or bitcode (`.bc`).
        timeout_secs: limit.
        pipeline: passes, as LLVM's text.
        flags: of LLVM's command line.
        features: to be added to each function's.
        hints: (name, its options) of those of `hints.py`, which come before the passes.
        opt: path of the tool that shall run the passes instead of the library; empty for the library.
        observe: whether to look at the module before and after.
        weigh: whether to set the weights of `trips.py` after the passes, for a module that is only counted.
        known: hashes of machine code that nothing more needs to be told of.
    """

    out: str
    timeout_secs: float
    pipeline: str = ""
    flags: tuple[str, ...] = ()
    features: str = ""
    hints: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()
    opt: str = ""
    observe: bool = False
    weigh: bool = False
    known: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signatures(Reply):
    """`signatures`: (name, type of the result, types of the parameters) of each function."""

    signatures: tuple[tuple[str, str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class ReadSignatures(OfModule[Signatures]):
    """The functions of the module `source` that can be called from outside."""

    timeout_secs: float


@dataclass(frozen=True)
class StepLook:
    """What a module looks like at one point of a pipeline.

    Attributes:
        features: counts, in the order of `observe.FEATURES`.
        embedding: as of `embedding.embed`.
        assembly: path of its assembly.
    """

    features: tuple[float, ...]
    embedding: tuple[float, ...]
    assembly: str


@dataclass(frozen=True)
class Steps(Reply):
    """`looks`: one before the pipeline and one after each element; fewer where a step failed, and `error`."""

    looks: tuple[StepLook, ...] = ()


@dataclass(frozen=True)
class ObserveSteps(OfModule[Steps]):
    """Looks at a module before a pipeline, and after each of its elements.

    Attributes:
        elements: the pipeline.
        flags, features: as of `Compile`.
        folder: for the assembly of each step.
        timeout_secs: limit.
    """

    elements: tuple[str, ...]
    flags: tuple[str, ...]
    features: str
    folder: str
    timeout_secs: float


@dataclass(frozen=True)
class Triplets(Reply):
    """`triplets`: as `embedding.triplet_rows` writes them."""

    triplets: Any = None


@dataclass(frozen=True)
class ReadTriplets(OfModule[Triplets]):
    """What stands in which relation to an opcode in the module `source`, after `pipeline`."""

    pipeline: str
    timeout_secs: float
