"""Shared by the tests of the compiler bridges."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """What is built beside Inductor is waited for, however busy the machine is."""
    monkeypatch.setattr("foretune.compiler.pytorch.beside._FEWEST_SECS", 300.0)
