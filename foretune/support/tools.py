"""Programs that others wrote, such as linkers, run to their end."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence


def run_tool(command: Sequence[str], timeout_secs: float) -> subprocess.CompletedProcess[str]:
    """Runs a command without a shell and without input; what it prints is kept, with broken characters replaced.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was killed.
        FileNotFoundError: there is no such program.
    """
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_secs,
    )
