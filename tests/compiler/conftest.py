"""Shared by the tests of the compiler bridges."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """What is built beside Inductor is waited for, however busy the machine is."""
    monkeypatch.setattr("foretune.compiler.pytorch.beside._FEWEST_SECS", 300.0)


@pytest.fixture
def fresh_inductor():
    """Dynamo and Inductor know no graph, and random numbers begin anew."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    with torch._inductor.config.patch(fx_graph_cache=False):
        yield
