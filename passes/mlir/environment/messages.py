"""What the workers of the MLIR environment (`worker.py`, `runner.py`) are asked, and what they reply."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from foretune.workers.messages import R, Reply, Request


@dataclass(frozen=True)
class Started(Reply):
    """`version` of the code generator's LLVM, and the processor's name, `cpu`, as LLVM knows it."""

    version: tuple[int, ...] = ()
    cpu: str = ""


@dataclass(frozen=True)
class StartBuilder(Request[Started]):
    """The greeting of a process that works on modules.

    Attributes:
        library: path of libLLVM.
        linker: path of a C compiler.
        memory_bytes: address space of each child.
    """

    library: str
    linker: str
    memory_bytes: int


@dataclass(frozen=True)
class StartRunner(Request[Reply]):
    """The greeting of a process that runs programs on one `core`; `memory_bytes` as of `StartBuilder`."""

    core: int
    memory_bytes: int


@dataclass(frozen=True)
class OfModule(Request[R]):
    """Something to do with a module in a child: `source`, its text, within `timeout_secs`.

    Its reply's status is `illegal` where the module or an action is refused, or `build_error`.
    """

    source: str
    timeout_secs: float


@dataclass(frozen=True)
class ModuleReply(Reply):
    """`step`: index of the action that was refused; -1 otherwise."""

    step: int = -1


@dataclass(frozen=True)
class Inspected(ModuleReply):
    """What a module has.

    Attributes:
        text: as MLIR prints it.
        entries: a signature for each public function that can be run, as `Signature.to_json` writes it.
        refused: name -> why one cannot be.
        called: those of both that other functions call.
    """

    text: str = ""
    entries: tuple[Any, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    called: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inspect(OfModule[Inspected]):
    """Parses and verifies a module."""


@dataclass(frozen=True)
class Specialise(OfModule[Inspected]):
    """As `Inspect`, of the module with known extents, `sizes`, for the `?` of the `entry`'s arguments."""

    entry: str | None
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Applied(ModuleReply):
    """`texts`: the module after all actions, or after each of them."""

    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Apply(OfModule[Applied]):
    """Applies `actions` without the default lowering; the text after `each` of them is wanted, or after all."""

    actions: tuple[str, ...]
    each: bool = False


@dataclass(frozen=True)
class Scripted(ModuleReply):
    """`text` of the module afterwards."""

    text: str = ""


@dataclass(frozen=True)
class ApplyScript(OfModule[Scripted]):
    """Applies a transform module, `script`."""

    script: str


@dataclass(frozen=True)
class GraphRead(ModuleReply):
    """The structure of a module.

    Attributes:
        graph: a `ProgramGraph` as JSON data; None where there is none.
        statements: what each of its statements is.
        facts: what the graph leaves out, as `ModuleFacts.to_json` writes it.
        unsupported: why there is no graph.
    """

    graph: Any = None
    statements: tuple[Any, ...] = ()
    facts: Any = None
    unsupported: str = ""


@dataclass(frozen=True)
class ReadGraph(OfModule[GraphRead]):
    """Reads a module as a graph after `actions`; `values` of the integer arguments of functions that are called from
    outside, from left to right.
    """

    actions: tuple[str, ...]
    values: tuple[int, ...] = ()


@dataclass(frozen=True)
class Described(ModuleReply):
    """`ops`, `loops` and `names` as of `modules.describe`."""

    ops: tuple[Any, ...] = ()
    loops: tuple[Any, ...] = ()
    names: Any = None


@dataclass(frozen=True)
class Describe(OfModule[Described]):
    """The structured operations and the loops of a module after `actions`."""

    actions: tuple[str, ...]


@dataclass(frozen=True)
class Built(ModuleReply):
    """`texts` that were wanted, and the entry's `signature`, as `Signature.to_json` writes it."""

    texts: dict[str, str] = field(default_factory=dict)
    signature: Any = None


@dataclass(frozen=True)
class Build(OfModule[Built]):
    """Applies actions, lowers, and generates code.

    Attributes:
        entry: name of the function that is called.
        actions: what to do before the default lowering.
        out: suffix -> path, of `.ll` (before LLVM's passes), `.bc` (after them), `.s`, `.o` and `.so`.
        texts: which are wanted: of the stages `transformed`, `buffers` and `llvm`, and `script`, the schedule as one
            transform module.
        cpu: processor to generate code for; None for this machine's.
    """

    entry: str
    actions: tuple[str, ...]
    out: dict[str, str]
    texts: tuple[str, ...] = ()
    cpu: str | None = None


@dataclass(frozen=True)
class Ran(Reply):
    """What became of a run.

    Attributes:
        run_secs: CPU seconds of one call, for each repeat.
        difference: of the outputs from the reference's, over the largest element. Lower is better.
    """

    run_secs: tuple[float, ...] = ()
    difference: float = 0.0


@dataclass(frozen=True)
class RunEntry(Request[Ran]):
    """Runs a compiled entry function once to check it, then for its time.

    Attributes:
        library: path of the shared library.
        signature: of the entry, as `Signature.to_json` writes it.
        seed: of the inputs.
        repeats: how many times are taken, possibly 0.
        repeat_ms: how long each of them lasts at least.
        timeout_secs: limit.
        reference: file of outputs to compare with (`.npz`); empty for none.
        keep: file to write outputs to; empty for none.
    """

    library: str
    signature: Any
    seed: int
    repeats: int
    repeat_ms: float
    timeout_secs: float
    reference: str = ""
    keep: str = ""
