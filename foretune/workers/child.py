"""A function that runs in a forked child with limits of its own: a crash or a hang of it is a reply, too."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import signal
import time
from collections.abc import Callable
from typing import Any

from foretune.support.text import telling_line

_CHUNK = 1 << 16


def in_child(
    function: Callable[[], dict[str, Any]],
    timeout_secs: float,
    memory_bytes: int,
    tool: str = "LLVM",
    failed: str = "build",
) -> dict[str, Any]:
    """The reply of a function that runs in a forked child; a crash or a hang of it is a reply, too.

    Args:
        function: what the child does.
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
        return {"status": f"{failed}_timeout", "error": f"no end within {timeout_secs:g} s"}
    if parts[read]:
        return json.loads(parts[read])
    said = telling_line(parts[errors].decode(errors="replace"))
    if os.WIFSIGNALED(code):
        return {
            "status": f"{failed}_error",
            "error": f"{tool} was killed by signal {os.WTERMSIG(code)}" + (f": {said}" if said else ""),
        }
    return {"status": f"{failed}_error", "error": said or f"{tool} ended with {os.WEXITSTATUS(code)}"}


def _be_child(
    function: Callable[[], dict[str, Any]], write: int, errors: int, timeout_secs: float, memory_bytes: int
) -> None:
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
        reply = json.dumps(function()).encode()
        while reply:
            reply = reply[os.write(write, reply) :]
        code = 0
    except BaseException as error:  # the child's own boundary: its parent reads the last line
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)
