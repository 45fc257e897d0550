"""Programs that others wrote, such as linkers, run to their end."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path


def run_tool(
    command: Sequence[str], timeout_secs: float, given: str = "", directory: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a command without a shell; what it prints is kept, with broken characters replaced.

    Args:
        command: to run.
        timeout_secs: limit.
        given: its standard input.
        directory: that it runs in; None for this process's.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was killed.
        FileNotFoundError: there is no such program.
    """
    return subprocess.run(
        command,
        input=given,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_secs,
        cwd=directory,
    )
