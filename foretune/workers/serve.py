"""The child's side of `WorkerProcess`: the one loop that reads requests and writes replies.

A worker's module says which requests it knows and what answers each:

    def start(hello: Start) -> Service:
        worker = ...
        return Service(Started(version), {Build: worker.build, Run: worker.run})

    if __name__ == "__main__":
        serve({Start: start})
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from foretune.support.text import telling_line
from foretune.workers.messages import Malformed, Reply, Request, line_of, read_request

Handlers = Mapping[type[Request[Any]], Callable[[Any], Reply]]


@dataclass(frozen=True)
class Service:
    """What a worker is after its start.

    Attributes:
        welcome: the reply to the greeting.
        handlers: kind of request -> what answers it. What a handler raises becomes a reply with the status `error`.
        alarm_secs: ends the process when one request takes so long, even if its parent is gone; 0 for never.
        kept: whatever must live as long as the worker does, such as a temporary folder.
    """

    welcome: Reply
    handlers: Handlers
    alarm_secs: int = 0
    kept: Any = None


def serve(starts: Mapping[type[Request[Any]], Callable[[Any], Service]]) -> None:
    """Greets, and serves requests until standard input ends.

    Standard output is for replies alone: what a library prints there goes to standard error. Forked children do not
    hold it open, so that the parent sees the end of this process whatever they still do.

    Args:
        starts: kind of greeting -> what makes the worker; most have one. What it raises ends the process, and the
            parent shows the last line.
    """
    out = os.dup(1)
    os.dup2(2, 1)
    os.register_at_fork(after_in_child=lambda: os.close(out))
    lines = sys.stdin.buffer
    try:
        greeting = read_request(lines.readline(), {kind.__name__: kind for kind in starts})
    except Malformed as error:
        _write(out, line_of(Reply("error", str(error))))
        return
    service = starts[type(greeting)](greeting)
    kinds = {kind.__name__: kind for kind in service.handlers}
    try:
        _write(out, line_of(service.welcome))
        for line in lines:
            signal.alarm(service.alarm_secs)  # no handler: it ends the process
            reply = _answer(line, kinds, service.handlers)
            signal.alarm(0)
            _write(out, reply)
    except BrokenPipeError:  # nobody waits for replies any more
        return


def _answer(line: bytes, kinds: Mapping[str, type[Request[Any]]], handlers: Handlers) -> bytes:
    try:
        request = read_request(line, kinds)
    except Malformed as error:
        return line_of(Reply("error", str(error)))
    try:
        return line_of(handlers[type(request)](request))
    except Exception as error:  # the worker boundary: becomes a status of whatever was asked about
        return line_of(Reply("error", f"{type(error).__name__}: {telling_line(error)}"))


def _write(out: int, line: bytes) -> None:
    while line:
        line = line[os.write(out, line) :]
