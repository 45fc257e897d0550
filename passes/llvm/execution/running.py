"""One run of a program, with all that it starts: limited and timed.

Programs run with the rights of the user, unless bubblewrap shuts them off. Limits hold for each process through the
system, and for all of them together through a look every 50 ms.
"""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from foretune.errors import UnsupportedError
from foretune.workers.descendants import descendants, resident_bytes
from foretune.workers.messages import Reply, Request

MAX_OUTPUT_BYTES = 64 << 20
_LOOK_SECS = 0.05
_GRACE_CPU_SECS = 2  # from the signal that tells a program to end to the one that does it


@dataclass(frozen=True)
class Ran(Reply):
    """How a run ended.

    Attributes:
        exit: code, of a program that ended by itself.
        cpu_secs: of it and of the processes that it waited for.
    """

    exit: int = 0
    cpu_secs: float = 0.0


@dataclass(frozen=True)
class RunProgram(Request[Ran]):
    """Runs a program once.

    Attributes:
        command: the program's path and its arguments.
        folder: to run in.
        stdin, stdout: paths.
        timeout_secs: limit.
        memory_bytes, max_processes: limits of all its processes together.
    """

    command: tuple[str, ...]
    folder: str
    stdin: str
    stdout: str
    timeout_secs: float
    memory_bytes: int
    max_processes: int


@dataclass(frozen=True)
class _End:
    """How a run ended: by itself if `reason` is empty."""

    code: int
    usage: resource.struct_rusage
    status: str = ""
    reason: str = ""


def run(request: RunProgram, owner: int | None = None) -> Ran:
    """Runs a program once. What it leaves running is for the caller to end; this process must have no children beside
    it.

    Args:
        request: what to run, and its limits.
        owner: a pipe; the run ends when its other end is closed.
    """
    try:
        pid = _start(request)
    except OSError as error:
        return Ran("run_error", f"the program cannot be started: {error}")
    cpu_limit = int(request.timeout_secs) + 1
    _limit(pid, request, cpu_limit)
    end = _wait(pid, request, owner)
    cpu_secs = end.usage.ru_utime + end.usage.ru_stime
    if end.reason:
        return Ran(end.status, end.reason)
    if os.WIFSIGNALED(end.code):
        number = os.WTERMSIG(end.code)
        if number in (signal.SIGXCPU, signal.SIGKILL) and cpu_secs >= cpu_limit - 0.5:
            return Ran("run_timeout", f"no end within {request.timeout_secs:g} s")
        if number == signal.SIGXFSZ:
            return Ran("run_error", _TOO_MUCH)
        return Ran("run_error", f"the program was killed by signal {number}")
    return Ran(exit=os.WEXITSTATUS(end.code), cpu_secs=cpu_secs)


_TOO_MUCH = f"the program wrote more than {MAX_OUTPUT_BYTES >> 20} MiB"


def _start(request: RunProgram) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, request.stdin, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, request.stdout, flags, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    command, environment = request.command, {"PATH": os.defpath, "LC_ALL": "C"}
    # Python ignores SIGPIPE and SIGXFSZ, and what is ignored stays so in a new program
    signals = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
    here = os.getcwd()
    try:
        os.chdir(request.folder)
        return os.posix_spawn(
            command[0], command, environment, file_actions=actions, setpgroup=0, setsigdef=signals, setsigmask=[]
        )
    finally:
        os.chdir(here)


def _limit(pid: int, request: RunProgram, cpu_secs: int) -> None:
    memory, output = request.memory_bytes, MAX_OUTPUT_BYTES
    limits = [
        (resource.RLIMIT_CPU, cpu_secs, cpu_secs + _GRACE_CPU_SECS),
        (resource.RLIMIT_AS, memory, memory),
        (resource.RLIMIT_FSIZE, output, output),
        (resource.RLIMIT_CORE, 0, 0),
    ]
    if os.getuid():  # the system does not limit root, and counts all processes of a user
        most = _processes_of_user() + request.max_processes
        limits.append((resource.RLIMIT_NPROC, most, most))
    for kind, soft, hard in limits:
        with contextlib.suppress(ProcessLookupError, PermissionError, ValueError):
            resource.prlimit(pid, kind, (soft, hard))


def _processes_of_user() -> int:
    """Processes and threads."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if process.stat().st_uid == os.getuid():
                count += len(os.listdir(process / "task"))
    return count


def _wait(pid: int, request: RunProgram, owner: int | None) -> _End:
    deadline = time.monotonic() + request.timeout_secs
    handle = os.pidfd_open(pid)
    status = reason = ""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            if owner is not None:
                selector.register(owner, selectors.EVENT_READ)
            while not reason:
                ready = {key.fd for key, _ in selector.select(max(0.0, min(_LOOK_SECS, deadline - time.monotonic())))}
                if handle in ready:
                    break
                if owner in ready:
                    status, reason = "run_error", "nobody waits for the run any more"
                elif time.monotonic() >= deadline:
                    status, reason = "run_timeout", f"no end within {request.timeout_secs:g} s"
                elif reason := _excess(request):
                    status = "run_error"
    finally:
        os.close(handle)
    if reason:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    _, code, usage = os.wait4(pid, 0)
    return _End(code, usage, status, reason)


def _excess(request: RunProgram) -> str:
    """Which limit the processes of a run exceed together; empty if none."""
    processes = descendants()
    if len(processes) > request.max_processes:
        return f"the program started more than {request.max_processes} processes"
    if len(processes) > 1 and resident_bytes(processes, request.memory_bytes) > request.memory_bytes:
        return f"the program's processes took more than {request.memory_bytes >> 20} MiB together"
    with contextlib.suppress(OSError):
        if os.stat(request.stdout).st_size > MAX_OUTPUT_BYTES:
            return _TOO_MUCH
    return ""


def sandboxed(command: list[str], folder: Path, readable: list[Path]) -> list[str]:
    """A command that bubblewrap runs: without network, with the system read-only, and with one folder to write to.

    Args:
        command: to run.
        folder: that it may write to.
        readable: files and folders that it needs, beside the system's own.

    Raises:
        UnsupportedError: bubblewrap is not installed.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise UnsupportedError(
            "`--sandbox` needs bubblewrap's `bwrap`, which is not installed: install the package `bubblewrap`, or go"
            " without `--sandbox`"
        )
    system = [
        word
        for path in ("/usr", "/bin", "/lib", "/lib64", "/etc/ld.so.cache")
        for word in ("--ro-bind-try", path, path)
    ]
    own = [word for path in readable for word in ("--ro-bind", str(path), str(path))]
    shut = [
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/tmp",
    ]
    return [bwrap, *shut, *system, *own, "--bind", str(folder), str(folder), "--chdir", str(folder), "--", *command]
