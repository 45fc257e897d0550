"""Warnings that are said once a process, however often their cause comes up again."""

from __future__ import annotations

import logging
from typing import Any

_MOST_SAID = 10_000  # texts that are remembered
_said: set[str] = set()


def warn_once(log: logging.Logger, message: str, *args: Any) -> None:
    """Logs a warning the first time that its text comes up; later it is logged as information."""
    text = message % args if args else message
    is_new = text not in _said
    if is_new and len(_said) < _MOST_SAID:
        _said.add(text)
    log.log(logging.WARNING if is_new else logging.INFO, "%s", text, stacklevel=2)


def forget() -> None:
    """Has all warnings said again; for tests."""
    _said.clear()
