"""A worker process that may crash or hang without harm to its parent, and the memory of forked children."""

from __future__ import annotations

import contextlib
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time
from typing import IO, Generic, TypeVar, cast

from foretune.errors import WorkerError
from foretune.workers.messages import Malformed, R, Reply, Request, line_of, read_reply, reply_type

W = TypeVar("W", bound=Reply)


class Silence(Exception):
    """A worker did not answer in time."""


class Death(Exception):
    """A worker ended, or was ended because it said something that is no reply; the message says how."""


def limit_memory(num_bytes: int) -> None:
    """Limits this process, a forked child say, to so many bytes of address space beyond what it has mapped already."""
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + num_bytes, mapped + num_bytes))


class WorkerProcess(Generic[W]):
    """One worker: messages over pipes, a time limit on each reply, killed and restarted on demand.

    Args:
        module: Python module to run with `-m`, or the path of a script.
        hello: the first message to each new process; its reply is a `W`.
        start_timeout_secs: limit of the reply to it.
        grace_secs: how long it may take to end by itself, when its input ends; it is killed then.

    Attributes:
        welcome: the newest process's reply to the hello; its defaults before the first one.
        generation: grows whenever a process starts or ends; what one held is lost when it has grown.
    """

    def __init__(
        self, module: str, hello: Request[W], start_timeout_secs: float = 120.0, grace_secs: float = 0.0
    ) -> None:
        # -P: files of the folder that it is called from, say a json.py, are not imported by it
        self._command = [sys.executable, module] if module.endswith(".py") else [sys.executable, "-P", "-m", module]
        self._hello, self._start_timeout_secs, self._grace_secs = hello, start_timeout_secs, grace_secs
        self._process: subprocess.Popen | None = None
        self._buffer = b""
        self.generation = 0
        self.welcome: W = reply_type(type(hello))()

    def request(self, message: Request[R], timeout_secs: float) -> R:
        """Sends one request and waits for its reply; its status is `error` where the worker did not understand it.

        Raises:
            Silence, Death: no reply; the process is gone and the next request starts another.
            WorkerError: no process can be started.
        """
        self.start()
        return self._exchange(message, timeout_secs)

    @property
    def pid(self) -> int | None:
        """The process's id; None if none runs."""
        return self._process.pid if self._process is not None else None

    def kill(self) -> None:
        """Ends the process from another thread; a request that waits for it raises `Death`."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """Ends the process; safe to call twice."""
        if self._process is not None:
            with contextlib.suppress(OSError):
                cast("IO[bytes]", self._process.stdin).close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace_secs)
            self._process.kill()
            self._process.wait()
            for pipe in filter(None, (self._process.stdin, self._process.stdout, self._process.stderr)):
                with contextlib.suppress(OSError):
                    pipe.close()
            self._process = None
            self.generation += 1  # what it held is lost now, not only when the next one starts
        self._buffer = b""

    def start(self) -> None:
        """Starts the process unless it runs.

        Raises:
            WorkerError: it ends, stays silent or does not understand the hello.
        """
        if self._process is not None:
            return
        self.generation += 1
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
        )
        self._process.stderr = stderr
        try:
            self.welcome = self._exchange(self._hello, self._start_timeout_secs)
        except (Silence, Death) as error:
            raise self._not_started(str(error)) from error
        if self.welcome.status == "error":
            self.close()
            raise self._not_started(self.welcome.error)

    def _not_started(self, reason: str) -> WorkerError:
        return WorkerError(f"a worker process could not be started with {' '.join(self._command)}: {reason}")

    def _exchange(self, message: Request[R], timeout_secs: float) -> R:
        process = cast("subprocess.Popen[bytes]", self._process)  # `start` comes first
        stdin, stdout = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
        try:
            stdin.write(line_of(message))
            stdin.flush()
        except OSError:
            raise Death(self._post_mortem()) from None
        deadline = time.monotonic() + timeout_secs
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self.close()
                    raise Silence(f"no answer within {timeout_secs:g} s")
                chunk = os.read(stdout.fileno(), 1 << 16)
                if not chunk:
                    raise Death(self._post_mortem())
                self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            return read_reply(line, reply_type(type(message)))
        except Malformed as error:
            self.close()  # whatever it says next belongs to nothing that was asked
            raise Death(f"the worker process gave no reply: {error}") from None

    def _post_mortem(self) -> str:
        process = cast("subprocess.Popen[bytes]", self._process)
        code, stderr = process.wait(), cast("IO[bytes]", process.stderr)
        stderr.seek(0, os.SEEK_END)
        size = stderr.tell()
        stderr.seek(max(0, size - 400))
        tail = stderr.read().decode(errors="replace").strip().splitlines()
        self.close()
        how = f"was killed by signal {-code}" if code < 0 else f"exited with code {code}"
        return f"the worker process {how}" + (f": {tail[-1]}" if tail else "")
