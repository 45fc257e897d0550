"""Ahead-of-time tuning: a program with its schedules in one file, which `foretune.load` runs without measuring anything.

The file is a zip archive of the exported program (PyTorch's `.pt2`), the measured records of its kernels and a manifest. It holds no
machine code: kernels are built from the schedules when it is loaded, for the same kind of processor that they were tuned on.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from foretune.compiler.pytorch.backend import Backend
from foretune.compiler.pytorch.graph_report import CompileReport, compiled_graphs
from foretune.compiler.pytorch.options import BackendOptions
from foretune.compiler.tir.target import parse_target
from foretune.datasets.records.database import Database
from foretune.errors import DataError, OptionError, TargetError
from foretune.support.files import sha256_of, write_atomically

SCHEMA = "foretune-artifact-1"
_PROGRAM, _RECORDS, _MANIFEST = "program.pt2", "records.db", "manifest.json"
_MOST_BYTES = {_PROGRAM: 1 << 36, _RECORDS: 1 << 32, _MANIFEST: 1 << 20}


@dataclass(frozen=True)
class TuneReport:
    """What tuning ahead of time did.

    Attributes:
        out: the file.
        graph: what compiling the program did.
    """

    out: Path
    graph: CompileReport

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {"out": str(self.out), **self.graph.to_json()}


def read_program(source: str) -> torch.export.ExportedProgram:
    """A program to tune.

    Args:
        source: file of an exported program (`.pt2`), or `MODULE:FUNCTION`, where the function returns a model and a tuple of inputs.
            The module is imported, as Python would from the current folder.

    Raises:
        OptionError: the source is neither, or the function returns something else.
        DataError: the file cannot be read.
    """
    if source.endswith(".pt2"):
        if not Path(source).is_file():
            raise OptionError(f"there is no file {source}")
        try:
            return torch.export.load(source)
        except Exception as error:  # PyTorch raises errors of many kinds
            raise DataError(f"{source} is no exported program that PyTorch {torch.__version__} reads: {type(error).__name__}: {error}") from error
    module_name, colon, function_name = source.partition(":")
    if not colon or not all(part.isidentifier() for part in module_name.split(".")) or not function_name.isidentifier():
        raise OptionError(f"what to tune must be MODULE:FUNCTION or a .pt2 file, but got {source!r}")
    sys.path.insert(0, os.getcwd())
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise OptionError(f"{source} cannot be imported: {error}") from error
    finally:
        sys.path.remove(os.getcwd())
    made = function()
    if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], torch.nn.Module) and isinstance(made[1], tuple)):
        raise OptionError(f"{source} must return (model, tuple of inputs), but returned {type(made).__name__}")
    model, inputs = made
    with torch.no_grad():
        return torch.export.export(model.eval(), inputs)


def tune(source: str, out: Path, options: BackendOptions) -> TuneReport:
    """Tunes a program and writes it with its schedules.

    Args:
        source: see `read_program`.
        out: the file to write.
        options: of the backend; what is measured goes into its database, too.

    Raises:
        OptionError, DataError, DatabaseError: see `read_program` and `Backend`.
    """
    backend = Backend(options)
    program = read_program(source)
    if program.example_inputs is None:
        raise DataError(f"{source} has no example inputs; export it with them")
    args, kwargs = program.example_inputs
    num_before = len(compiled_graphs())
    with torch.no_grad():
        torch.compile(program.module(), backend=backend.compile, fullgraph=True)(*args, **kwargs)
    report = compiled_graphs()[num_before].report
    with tempfile.TemporaryDirectory() as folder:
        program_path, records_path = Path(folder) / _PROGRAM, Path(folder) / _RECORDS
        torch.export.save(program, program_path)
        with Database(records_path) as records:
            records.merge(options.database, {kernel.workload for kernel in report.kernels})
        manifest = {
            "schema": SCHEMA, "target": backend.target.key, "run_by": report.choice.name, "options": replace(options, database=_RECORDS).to_json(),
            "torch": torch.__version__, "sha256": {path.name: sha256_of(path) for path in (program_path, records_path)},
        }  # fmt: skip

        def write(whole: Path) -> None:
            with zipfile.ZipFile(whole, "w") as archive:
                archive.writestr(_MANIFEST, json.dumps(manifest, indent=1))
                for path in (program_path, records_path):
                    archive.write(path, path.name)

        write_atomically(out, write)
    return TuneReport(out, report)


_NO_TIME = 1e-9  # seconds to measure in: what has no record is left to the model


def load(path: str | Path) -> Callable:
    """A program that `foretune tune` wrote, ready to be called with inputs like those it was tuned for.

    Args:
        path: the file. PyTorch reads the program in it; take files from people whom you trust.

    Returns:
        The compiled program. Nothing is measured: the kernels are built from the schedules in the file, at once.

    Raises:
        DataError: the file is missing, damaged, or no such archive.
        TargetError: it was tuned for another kind of processor.
    """
    with tempfile.TemporaryDirectory() as folder:
        manifest = _extract(Path(path).expanduser(), Path(folder))
        options = {**manifest["options"], "database": str(Path(folder) / _RECORDS), "progress": False, "seconds": _NO_TIME}
        backend = Backend(BackendOptions.from_dict(options), only=manifest["run_by"])
        if backend.target.key != manifest["target"]:
            raise TargetError(f"{path} was tuned for {manifest['target']}, but this is {parse_target('auto').key}; tune it here")
        program = torch.export.load(Path(folder) / _PROGRAM)
        args, kwargs = program.example_inputs
        compiled = torch.compile(program.module(), backend=backend.compile, fullgraph=True)
        with torch.no_grad():
            compiled(*args, **kwargs)
        backend.database.close()
    return compiled


def _extract(path: Path, folder: Path) -> dict[str, Any]:
    try:
        with zipfile.ZipFile(path) as archive:
            for name, most in _MOST_BYTES.items():
                info = archive.getinfo(name)
                if info.file_size > most:
                    raise DataError(f"{path}: {name} is {info.file_size} bytes long, more than the {most} that are read")
                archive.extract(info, folder)
            manifest = json.loads((folder / _MANIFEST).read_text())
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no file of `foretune tune`: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise DataError(f"{path} has another schema than {SCHEMA}; tune it again")
    for name in (_PROGRAM, _RECORDS):
        if manifest["sha256"].get(name) != sha256_of(folder / name):
            raise DataError(f"{path} is damaged: {name} has another hash than was written")
    return manifest
