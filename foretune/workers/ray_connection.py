"""Connecting to a Ray cluster. Ray is imported when a cluster is asked for, not before."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from foretune.errors import OptionError
from foretune.support.optional import require
from foretune.target import num_usable_cores

_CONNECT_SECS = 30.0


def connect(address: str, store_bytes: int = 100 << 20) -> Any:
    """Ray itself, connected to a cluster.

    Args:
        address: `local` starts a cluster here, bound to the loopback address; `auto` or HOST:PORT joins one that this
            machine is a node of.
        store_bytes: memory for objects of a cluster that is started here.

    Raises:
        UnsupportedError: Ray is not installed.
        OptionError: no cluster answers at the address.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == "local":
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = (
            "0"  # Ray's only switch that binds a cluster to the loopback address
        )
    ray = require("ray", "a cluster")
    handler = signal.getsignal(signal.SIGTERM)
    options = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address == "local":
        ray.init(
            "local", num_cpus=num_usable_cores(), object_store_memory=store_bytes, include_dashboard=False, **options
        )
    else:
        _check_reachable(address)
        ray.init(address, **options)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)  # Ray has put its own in place
    return ray


def _check_reachable(address: str) -> None:
    """Joins the cluster from another process first, because Ray itself waits for minutes, or ends the process."""
    probe = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR')"
    try:
        result = subprocess.run(
            [sys.executable, "-c", probe, address], capture_output=True, text=True, timeout=_CONNECT_SECS
        )
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_CONNECT_SECS:g} s"
    else:
        if result.returncode == 0:
            return
    raise OptionError(
        f"no Ray cluster can be joined at {address!r}: {reason}; this machine must be a node of it (`ray start"
        " --address HOST:PORT`)"
    )
