"""A function that runs in a forked child with limits of its own: a crash or a hang of it is a reply, too."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import signal
import time
from collections.abc import Callable

from foretune.support.text import telling_line
from foretune.workers.messages import Malformed, R, Reply, line_of, read_reply

_CHUNK = 1 << 16


def in_child(
    function: Callable[[], R],
    kind: type[R],
    timeout_secs: float,
    memory_bytes: int,
    tool: str = "LLVM",
    failed: str = "build",
) -> R:
    """The reply of a function that runs in a forked child; a crash or a hang of it is a reply, too.

    Args:
        function: what the child does.
        kind: the type of its reply.
        timeout_secs, memory_bytes: its limits.
        tool: whose crash it is, for messages.
        failed: `build` or `run`: the first part of the status of a child that gave no reply.
    """
    read, write = os.pipe()
    errors, errors_end = os.pipe()
    child = os.fork()
    if not child:
        _be_child(function, write, errors_end, timeout_secs, memory_bytes)
    with contextlib.suppress(OSError):  # done here and in the child, because either may be first
        os.setpgid(child, child)
    os.close(write)
    os.close(errors_end)
    parts = {read: bytearray(), errors: bytearray()}
    deadline = time.monotonic() + timeout_secs
    with selectors.DefaultSelector() as selector:
        for end in parts:
            selector.register(end, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                break
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                parts[key.fd] += chunk
                if not chunk:
                    selector.unregister(key.fd)
        finished = not selector.get_map()
    if not finished:
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.killpg(child, signal.SIGKILL)
    _, code = os.waitpid(child, 0)
    for end in parts:
        os.close(end)
    if not finished:
        return kind(f"{failed}_timeout", f"no end within {timeout_secs:g} s")
    with contextlib.suppress(Malformed):  # nothing, or the half that was written before it was killed
        return read_reply(bytes(parts[read]), kind)
    said = telling_line(parts[errors].decode(errors="replace"))
    if os.WIFSIGNALED(code):
        killed = f"{tool} was killed by signal {os.WTERMSIG(code)}"
        return kind(f"{failed}_error", killed + (f": {said}" if said else ""))
    return kind(f"{failed}_error", said or f"{tool} ended with {os.WEXITSTATUS(code)}")


def _be_child(function: Callable[[], Reply], write: int, errors: int, timeout_secs: float, memory_bytes: int) -> None:
    code = 1
    try:
        os.setpgid(0, 0)  # so that what it starts ends with it
        os.dup2(errors, 2)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        seconds = int(timeout_secs) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        reply = line_of(function())
        while reply:
            reply = reply[os.write(write, reply) :]
        code = 0
    except BaseException as error:  # the child's own boundary: its parent reads the last line
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)
