"""Fixtures of the MLIR tests: they need the bindings and LLVM, and skip without them, but fail in CI."""

from __future__ import annotations

import importlib.util
import os

import pytest

from foretune.errors import UnsupportedError
from foretune.passes.llvm.toolchain import find_toolchain
from foretune.passes.mlir.environment.session import MlirSession, SessionSettings
from foretune.passes.mlir.tuning.measure import MlirMeasurer, MlirMeasureSettings


@pytest.fixture(scope="session")
def session():
    try:
        if importlib.util.find_spec("mlir") is None:
            raise UnsupportedError("MLIR's Python bindings are not installed")
        find_toolchain()
    except UnsupportedError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    with MlirSession(SessionSettings(build_timeout_secs=120, run_timeout_secs=120)) as made:
        yield made


@pytest.fixture(scope="session")
def counting(session):
    from foretune.passes.mlir.costs.exact import ExactSession

    with ExactSession(SessionSettings(build_timeout_secs=120, run_timeout_secs=120)) as made:
        yield made


@pytest.fixture(scope="session")
def measurer(session):
    return MlirMeasurer(session, MlirMeasureSettings(repeats=2, repeat_ms=2))
