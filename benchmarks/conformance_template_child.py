"""Runs tests of a file of PyTorch's, one a request. Started by `conformance.py`."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import re
import sys
import tempfile
import unittest
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from conformance_template_messages import Result, RunTest, Start, Started

from foretune.workers.serve import Service, serve

_MOST_MISSING = 50


_LACKS = "this version of PyTorch lacks what the test calls"


def absent(*args: Any, **kwargs: Any) -> Any:
    """Stands for a name of another version of PyTorch's: tests that it decorates, or that call it, are skipped."""
    if len(args) == 1 and callable(args[0]) and not kwargs:
        return unittest.skip(_LACKS)(args[0])
    raise unittest.SkipTest(_LACKS)


def load(file: str) -> ModuleType:
    """The tests as a module. Names that it imports and this version of PyTorch lacks are made up.

    Raises:
        ImportError: a whole module is missing.
    """
    sys.path.insert(0, os.path.dirname(file))
    for _ in range(_MOST_MISSING):
        spec = importlib.util.spec_from_file_location("common_template", file)
        module = importlib.util.module_from_spec(spec)
        sys.modules["common_template"] = module
        try:
            spec.loader.exec_module(module)
        except ImportError as error:
            missing = re.match(r"cannot import name '(\w+)' from '([\w.]+)'", str(error))
            if not missing:
                raise
            setattr(importlib.import_module(missing[2]), missing[1], absent)
        else:
            return module
    raise ImportError(f"{file} imports more than {_MOST_MISSING} names that PyTorch {torch.__version__} lacks")


def test_class(module: ModuleType) -> type[unittest.TestCase]:
    """The tests on CPUs."""
    made = type("CpuTests", (module.TestCase,), {"common": module.check_model, "device": "cpu"})
    module.copy_tests(module.CommonTemplate, made, "cpu")
    return made


def redirect(module: ModuleType, other: Callable) -> None:
    """Lets the tests compile with another backend where they ask for Inductor's."""
    compile_, optimize = torch.compile, torch._dynamo.optimize

    def compile_with_other(model: Callable | None = None, *, backend: Any = "inductor", **kwargs: Any) -> Any:
        if backend == "inductor":
            backend = other
            kwargs = {key: value for key, value in kwargs.items() if key not in ("options", "mode")}
        return compile_(model, backend=backend, **kwargs)

    def optimize_with_other(backend: Any = "inductor", *args: Any, **kwargs: Any) -> Any:
        return optimize(other if backend == "inductor" else backend, *args, **kwargs)

    torch.compile, torch._dynamo.optimize = compile_with_other, optimize_with_other
    module.compile_fx = other


def backend_of(name: str, folder: str) -> Callable | None:
    """What compiles; None for Inductor."""
    if name == "eager":
        return lambda gm, inputs: gm.forward
    if name == "inductor":
        return None
    from foretune.compiler.pytorch.backend import foretune_backend

    options = {"trials": 0, "database": f"{folder}/records.db", "progress": False, "guard": False}
    return lambda gm, inputs: foretune_backend(gm, inputs, options=options)


def run(case: unittest.TestCase) -> Result:
    """The result of one test."""
    result = unittest.TestResult()
    unittest.TestSuite([case]).run(result)
    for name, found in (("failed", result.failures), ("error", result.errors)):
        if found:
            return Result(result=name, message=_telling(found[0][1]))
    return Result(result="skipped" if result.skipped else "ok")


def _telling(trace: str) -> str:
    lines = [line for line in trace.strip().splitlines() if line and not line.startswith(" ")]
    telling = [
        line for line in lines if re.match(r"[\w.]+(Error|Exception|Failed|Warning)\b", line) or "elements" in line
    ]
    return " | ".join(telling[-3:] or lines[-3:])[:600]


def start(hello: Start) -> Service:
    """The worker, with a folder for records."""
    warnings.simplefilter("ignore")
    logging.getLogger("foretune").propagate = False
    torch.set_num_threads(1)
    folder = tempfile.TemporaryDirectory()
    module = load(hello.file)
    backend = backend_of(hello.backend, folder.name)
    if backend is not None:
        redirect(module, backend)
    tests = test_class(module)

    def answer(request: RunTest) -> Result:
        return run(tests(request.test))

    names = tuple(sorted(name for name in dir(tests) if name.startswith("test_")))
    return Service(Started(tests=names), {RunTest: answer}, kept=folder)


if __name__ == "__main__":
    serve({Start: start})
