"""`TORCH_LOGS="+foretune"`: Foretune's log among those that PyTorch's settings turn on."""

from __future__ import annotations

import logging

from foretune.compiler.torch_private import register_log

LOG = logging.getLogger("foretune")
"""The log above all of Foretune's: what became of each graph, as information in a line, for debugging whole."""


def register() -> None:
    """Makes `foretune` a name of PyTorch's log settings.

    PyTorch reads `TORCH_LOGS` when it is imported itself, and takes the name of an installed package; from here on the
    name stands for one log with all that is below it, as `torch._logging.set_logs` needs it.
    """
    register_log("foretune", LOG.name)
