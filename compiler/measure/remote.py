"""Remote devices: candidates built here are timed there, through TVM's own RPC tracker.

On the device runs `python -m tvm.exec.rpc_server --tracker HOST:PORT --key KEY`. A candidate has a session of its own,
so that the server's process for it ends with it, whatever it did.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from foretune.compiler.measure.messages import Timed
from foretune.compiler.measure.timing import repeats
from foretune.compiler.tir._tvm import tvm
from foretune.errors import OptionError
from foretune.support.text import telling_line


@dataclass(frozen=True)
class Device:
    """Devices of one kind, as a tracker knows them.

    Attributes:
        host, port: of the tracker.
        key: of the devices.
    """

    host: str
    port: int
    key: str

    @classmethod
    def parse(cls, text: str) -> Device:
        """Reads `HOST:PORT:KEY`; an IPv6 address stands in brackets.

        Raises:
            OptionError: the text has another form.
        """
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+):(\d{1,5}):([\w.-]+)", text, re.ASCII)
        if match is None or not 1 <= int(match[2]) <= 65535:
            raise OptionError(
                f"expected HOST:PORT:KEY of an RPC tracker, such as 192.168.1.5:9190:rasp4, but got {text!r}"
            )
        return cls(match[1].strip("[]"), int(match[2]), match[3])

    def __str__(self) -> str:
        return f"{self.key!r} of the RPC tracker at {self.host}:{self.port}"


@dataclass(frozen=True)
class Outcome:
    """What a run on a device came to.

    Attributes:
        status: `ok`, or how it ended; `lost` if the device is gone.
        error: what went wrong.
        arrays: the arguments as they are then.
    """

    status: str = "ok"
    error: str = ""
    arrays: Sequence[np.ndarray] = ()


class Session:
    """One free device, held until this object goes.

    Args:
        device: which; waits until one is free.
        limit_secs: the device ends the session after so long.
    """

    def __init__(self, device: Device, limit_secs: float) -> None:
        from tvm import rpc

        self._session = rpc.connect_tracker(device.host, device.port).request(
            device.key, session_timeout=cast("int", limit_secs), max_retry=1
        )
        self.num_threads = int(self._session.get_function("runtime.NumThreads")())

    def time(self, library: str, inputs: Sequence[np.ndarray], repeat: int, min_repeat_ms: float) -> Timed:
        """Uploads a shared library, times its `main`, and removes it; the status is `lost` if the device is gone."""
        found: list[float] = []
        outcome = self._with(library, lambda module: found.extend(self._time(module, inputs, repeat, min_repeat_ms)))
        return Timed(outcome.status, outcome.error, tuple(found))

    def run(self, library: str, inputs: Sequence[np.ndarray]) -> Outcome:
        """Uploads a shared library, runs its `main` once, and removes it."""
        found: list[np.ndarray] = []

        def run(module: tvm.runtime.Module) -> None:
            arguments = [tvm.runtime.tensor(a, self._session.cpu()) for a in inputs]
            module["main"](*arguments)
            found.extend(a.numpy() for a in arguments)

        return replace(self._with(library, run), arrays=found)

    def _with(self, library: str, work: Callable[[tvm.runtime.Module], None]) -> Outcome:
        name = os.path.basename(library)
        try:
            self._session.upload(library)
            work(self._session.load_module(name))
        except Exception as error:  # the boundary to the device: becomes a status on the candidate's record
            if isinstance(error, tvm.error.RPCSessionTimeoutError):
                return Outcome("run_timeout", telling_line(error))
            status = "run_error" if self._alive() else "lost"
            return Outcome(status, f"{type(error).__name__}: {telling_line(error)}")
        finally:
            with contextlib.suppress(Exception):
                self._session.remove(name)
        return Outcome()

    def _time(
        self, module: tvm.runtime.Module, inputs: Sequence[np.ndarray], repeat: int, min_repeat_ms: float
    ) -> list[float]:
        cpu = self._session.cpu()
        arguments = [tvm.runtime.tensor(a, cpu) for a in inputs]

        def seconds(number: int, repeat: int) -> list[float]:
            return [
                float(t) for t in module.time_evaluator("main", cpu, number=number, repeat=repeat)(*arguments).results
            ]

        number, repeat = repeats(lambda runs: seconds(runs, 1)[0] * 1e3, repeat, min_repeat_ms)
        return seconds(number, repeat)

    def _alive(self) -> bool:
        try:
            return int(self._session.get_function("runtime.NumThreads")()) > 0
        except Exception:
            return False
