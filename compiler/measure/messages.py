"""What the worker that builds and runs candidates (`worker.py`) is asked, and what it replies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foretune.workers.messages import Reply, Request


@dataclass(frozen=True)
class Started(Reply):
    """`tvm`: its version."""

    tvm: str = ""


@dataclass(frozen=True)
class Start(Request[Started]):
    """The greeting.

    Attributes:
        num_threads: of the measured kernels.
        memory_bytes: address space of the process.
        alarm_secs: of one request, after which the process ends itself.
    """

    num_threads: int
    memory_bytes: int
    alarm_secs: int


@dataclass(frozen=True)
class Built(Reply):
    """What became of a candidate before it ran.

    Attributes:
        trace: as TVM understood it; None if it could not be replayed.
        program_hash: of the scheduled program.
        features: a row for each store; empty if not asked for.
        library: file that was exported, if asked for.
        build_secs: seconds of compiling alone.
    """

    trace: Any = None
    program_hash: str = ""
    features: tuple[tuple[float, ...], ...] = ()
    library: str = ""
    build_secs: float = 0.0


@dataclass(frozen=True)
class Build(Request[Built]):
    """Replays, post-processes and compiles one candidate.

    Attributes:
        id: to call it by in later requests.
        workload: hash of the program.
        program: it, as JSON text of TVM's.
        target: as `Target.to_dict` writes it.
        trace: as `Trace.to_json` writes it.
        seed: of decisions that the trace leaves open.
        features: whether static features are extracted.
        library: file to export to, without suffix; empty to keep the build in the process.
    """

    id: int
    workload: str
    program: str
    target: dict[str, Any]
    trace: Any
    seed: int
    features: bool = False
    library: str = ""


@dataclass(frozen=True)
class Looked(Reply):
    """What the machine code of a candidate looks like.

    Attributes:
        program_hash: of the scheduled program.
        counters: of the machine code, by the names of `foretune.costmodel.machine_code.counters.NAMES`.
        mca_cycles: llvm-mca's, for each element that arithmetic is done on; None where it was not asked.
        build_secs: seconds of compiling alone.
    """

    program_hash: str = ""
    counters: tuple[float, ...] = ()
    mca_cycles: float | None = None
    build_secs: float = 0.0


@dataclass(frozen=True)
class Look(Request[Looked]):
    """Compiles a candidate as `Build` does, reads its machine code, and forgets it.

    Attributes:
        workload, program, target, trace, seed: as of `Build`.
        mca: path of llvm-mca; empty to do without it.
    """

    workload: str
    program: str
    target: dict[str, Any]
    trace: Any
    seed: int
    mca: str = ""


@dataclass(frozen=True)
class Timed(Reply):
    """`run_secs`: mean seconds of one run, for each repeat."""

    run_secs: tuple[float, ...] = ()


@dataclass(frozen=True)
class Run(Request[Timed]):
    """Times a candidate that was built and kept: `id`; the rest as of `Build` and `MeasureSettings`."""

    id: int
    workload: str
    program: str
    repeat: int
    min_repeat_ms: float


@dataclass(frozen=True)
class RunRemotely(Request[Timed]):
    """Times an exported `library` on the connected device, which is given back; the rest as of `Run`."""

    library: str
    workload: str
    program: str
    repeat: int
    min_repeat_ms: float


@dataclass(frozen=True)
class Checked(Reply):
    """`max_rel_error`: largest difference from the unscheduled program, relative to its largest output; infinite if
    it could not be compared. Lower is better.
    """

    max_rel_error: float = float("inf")


@dataclass(frozen=True)
class Check(Request[Checked]):
    """Compares a candidate with the unscheduled program on the same random inputs: the kept build `id`, or the exported
    `library`, which runs on the connected device.
    """

    id: int
    program: str
    target: dict[str, Any]
    seed: int
    library: str = ""


@dataclass(frozen=True)
class Connected(Reply):
    """`num_threads`: that a kernel gets on the device."""

    num_threads: int = 0


@dataclass(frozen=True)
class Connect(Request[Connected]):
    """Waits for a remote device that is free, for the next candidate: any of those with `key` that the tracker at
    `host` and `port` knows; held for `session_secs` at most.
    """

    host: str
    port: int
    key: str
    session_secs: float


@dataclass(frozen=True)
class Disconnect(Request[Reply]):
    """Gives the remote device back."""


@dataclass(frozen=True)
class Drop(Request[Reply]):
    """Forgets builds that were kept: `ids`."""

    ids: tuple[int, ...]
