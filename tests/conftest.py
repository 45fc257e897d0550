"""Shared fixtures: a tiny task, a measurer, and a model trained on a few records."""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that spin would take the cores from other processes


@pytest.fixture(autouse=True)
def warnings_are_said_again():
    """Each test sees the warnings that others had before."""
    from foretune.support import once

    once.forget()


@pytest.fixture(scope="session")
def target():
    from foretune.compiler.tir.target import detect_target

    return detect_target()


@pytest.fixture(scope="session")
def matmul_task(target):
    from foretune.compiler.tir.workload import task_from_module
    from tests.programs import matmul_module

    return task_from_module(matmul_module(64), target, "matmul64", "dense")


@pytest.fixture(scope="session")
def measurer():
    from foretune.compiler.measure.measurer import Measurer
    from foretune.record import MeasureSettings

    with Measurer(MeasureSettings(repeat=2, min_repeat_ms=1.0, run_timeout_sec=10.0), store_features=True) as made:
        yield made


@pytest.fixture(scope="session")
def trajectories(matmul_task, measurer):
    """Twelve measured trajectories of one task."""
    import numpy as np

    from foretune.compiler.measure.environment import TvmEnvironment
    from foretune.task import Candidate

    environment = TvmEnvironment(measurer)
    rng = np.random.default_rng(0)
    spaces = environment.design_spaces(matmul_task)
    candidates = [Candidate(matmul_task, space.decode(point)) for space in spaces[:3] for point in space.sample(rng, 4)]
    return environment.measure(candidates)
