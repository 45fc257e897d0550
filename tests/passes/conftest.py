"""Fixtures of the pass tests: they need LLVM, and skip without it, but fail in CI."""

from __future__ import annotations

import os

import pytest

from foretune.errors import UnsupportedError
from foretune.passes.llvm.measure import PassMeasurer, PassMeasureSettings
from foretune.passes.llvm.toolchain import find_toolchain


@pytest.fixture(scope="session")
def toolchain():
    try:
        found = find_toolchain()
        found.tool("clang"), found.tool("opt")
    except UnsupportedError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    return found


@pytest.fixture(scope="module")
def measurer(toolchain):
    with PassMeasurer(PassMeasureSettings(repeats=2, build_timeout_secs=10, run_timeout_secs=5)) as made:
        yield made
