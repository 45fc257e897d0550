"""Ahead-of-time tuning: a program with its schedules in one file, which `foretune.load` runs without measuring
anything.

The file is a zip archive of the exported program (PyTorch's `.pt2`), the measured records of its kernels and a
manifest. It holds no machine code: kernels are built from the schedules when it is loaded, for the same kind of
processor that they were tuned on.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from foretune.compiler.exported.archive import members_of
from foretune.compiler.exported.loaded import LoadedProgram
from foretune.compiler.exported.manifest import SCHEMA, Manifest
from foretune.compiler.exported.reader import check_exported, load_exported
from foretune.compiler.pytorch.graph_report import CompileReport, compiled_graphs
from foretune.datasets.records.database import Database
from foretune.errors import DatabaseError, DataError, OptionError, TargetError
from foretune.support.files import sha256_of, write_atomically
from foretune.support.scratch import step_folder

if TYPE_CHECKING:
    from foretune.compiler.pytorch.options import BackendOptions

__all__ = ["SCHEMA", "TuneReport", "load", "read_program", "tune"]

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


def read_program(source: str, operators: Collection[str] = ()) -> torch.export.ExportedProgram:
    """A program to tune.

    Args:
        source: file of an exported program (`.pt2`), which is read without executing anything that it says; or
            `MODULE:FUNCTION`, where the function returns a model and a tuple of inputs. The module is imported, as
            Python would from the current folder.
        operators: namespaces of custom operators that the program in a file may call.

    Raises:
        OptionError: the source is neither, or the function returns something else.
        DataError: the file is damaged, or reading it would execute something.
    """
    if source.endswith(".pt2"):
        if not Path(source).is_file():
            raise OptionError(f"there is no file {source}")
        return load_exported(Path(source), namespaces=operators)
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
    if not (
        isinstance(made, tuple)
        and len(made) == 2
        and isinstance(made[0], torch.nn.Module)
        and isinstance(made[1], tuple)
    ):
        raise OptionError(f"{source} must return (model, tuple of inputs), but returned {type(made).__name__}")
    model, inputs = made
    with torch.no_grad():
        return torch.export.export(model.eval(), inputs)


def tune(source: str, out: Path, options: BackendOptions, operators: Collection[str] = ()) -> TuneReport:
    """Tunes a program and writes it with its schedules.

    Args:
        source: see `read_program`.
        out: the file to write.
        options: of the backend; what is measured goes into its database, too.
        operators: see `read_program`; `load` must be given them, too.

    Raises:
        OptionError, DataError, DatabaseError: see `read_program` and `Backend`.
    """
    from foretune.compiler.pytorch.backend import Backend

    backend = Backend(options)
    program = read_program(source, operators)
    if program.example_inputs is None:
        raise DataError(f"{source} has no example inputs; export it with them")
    args, kwargs = program.example_inputs
    with step_folder() as folder:
        program_path, records_path = folder / _PROGRAM, folder / _RECORDS
        torch.export.save(program, program_path)  # before a run changes its buffers
        check_exported(program_path, operators, source)
        before = compiled_graphs()
        with torch.no_grad():
            torch.compile(program.module(check_guards=False), backend=backend.compile, fullgraph=True)(*args, **kwargs)
        report = next(
            (graph.report for graph in compiled_graphs() if not any(graph is known for known in before)),
            CompileReport(),
        )
        with Database(records_path) as records:
            records.merge(options.database, {kernel.workload for kernel in report.kernels})
        hashes = {path.name: sha256_of(path) for path in (program_path, records_path)}
        manifest = Manifest.of(options.to_json(), backend.target.key, report.choice.name, hashes)

        def write(whole: Path) -> None:
            with zipfile.ZipFile(whole, "w") as archive:
                archive.writestr(_MANIFEST, manifest.to_text())
                for path in (program_path, records_path):
                    archive.write(path, path.name)

        write_atomically(out, write)
    return TuneReport(out, report)


_NO_TIME = 1e-9  # seconds to measure in: what has no record is left to the model


def load(path: str | Path, operators: Collection[str] = ()) -> LoadedProgram:
    """A program that `foretune tune` wrote, ready to be called with inputs like those it was tuned for.

    Args:
        path: the file. It is data alone: nothing that it says is executed, and a file that asks for more is refused.
        operators: namespaces of custom operators that the program may call, such as `mylib`.

    Returns:
        The compiled program. Nothing is measured: the kernels are built from the schedules in the file, at once.

    Raises:
        DataError: the file is missing, damaged, or no such archive.
        TargetError: it was tuned for another kind of processor.
        UnsupportedError: TVM is not installed.
    """
    path = Path(path).expanduser()
    with step_folder() as folder:
        manifest = _extract(path, folder)
        from foretune.compiler.pytorch.backend import CONTENDERS, Backend
        from foretune.compiler.pytorch.options import BackendOptions

        if manifest.run_by not in CONTENDERS:
            raise DataError(f"{path} says that {manifest.run_by[:80]!r} runs the program; known are {list(CONTENDERS)}")
        program = load_exported(folder / _PROGRAM, f"the program in {path}", operators)
        if program.example_inputs is None:
            raise DataError(f"the program in {path} has no example inputs; tune it again")
        try:
            options = BackendOptions.from_dict(
                {**manifest.chosen, "database": folder / _RECORDS, "progress": False, "seconds": _NO_TIME}
            )
            backend = Backend(options, only=manifest.run_by)
        except OptionError as error:
            raise DataError(f"the options in {path} cannot be used: {error}") from error
        except DatabaseError as error:
            raise DataError(f"the records in {path} cannot be read: {error}") from error
        with contextlib.closing(backend.database):
            if backend.target.key != manifest.target:
                raise TargetError(
                    f"{path} was tuned for {manifest.target}, but this is {backend.target.key}; tune it here"
                )
            return LoadedProgram(program, program.module(check_guards=False), backend.compile)


def _extract(path: Path, folder: Path) -> Manifest:
    """Unpacks the three files and reads the manifest."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = members_of(archive)
            for name, most in _MOST_BYTES.items():
                if (info := members.get(name)) is None:
                    raise DataError(f"it has no {name}")
                if info.file_size > most:
                    raise DataError(f"its {name} is {info.file_size} bytes long, more than the {most} that are read")
                archive.extract(info, folder)
        manifest = Manifest.from_text((folder / _MANIFEST).read_bytes())
        for name in (_PROGRAM, _RECORDS):
            if manifest.sha256.get(name) != sha256_of(folder / name):
                raise DataError(f"it is damaged: {name} has another hash than was written")
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no file of `foretune tune`: {error}") from error
    except DataError as error:
        raise DataError(f"{path} is no file of `foretune tune`: {error}") from None
    return manifest
