"""Compiled graphs in PyTorch's own files: `torch.compile(...).aot_compile`, `save_compiled_function` and
`torch.compiler.load_compiled_function`.

PyTorch writes a pickle, and asks each backend for bytes in it. Of graphs that TVM's kernels run these are a zip
archive: the graph as JSON, the kernels as they were built, and what they were built of, so that loading neither
measures nor compiles. Machine code serves the processor and the release of TVM that it was built by; for others the
kernels are built again from the schedules. As any pickle, such a file is to be taken from people whom one trusts; what
`foretune.load` reads is data alone.

Graphs that PyTorch or Inductor run are written by PyTorch.
"""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import safetensors.torch
import torch

from foretune.compiler.contest.choice import PYTORCH, Choice
from foretune.compiler.contest.comparison import asks_for_gradients, largest_error, observe
from foretune.compiler.exported.graph_json import graph_from_json, graph_to_json, value_from_json, value_to_json
from foretune.compiler.exported.json_data import parse_json
from foretune.compiler.exported.program_text import operator_named
from foretune.compiler.libraries.products import WAYS, LibraryProduct, Product
from foretune.compiler.pytorch import importer
from foretune.compiler.pytorch.region import CompiledRegion, Signature, runner_of
from foretune.compiler.pytorch.static_inputs import StaticInputs
from foretune.compiler.tir._tvm import tvm
from foretune.compiler.tir.openmp import launcher_binary, load_library, offer_launcher
from foretune.compiler.tir.program import Code, Program, build
from foretune.compiler.tir.sequence_json import sequence_from_json, sequence_to_json
from foretune.compiler.tir.target import host_processor, unmeasured_target
from foretune.compiler.tir.workload import module_from_program, program_text
from foretune.compiler.torch_private import GraphModuleSerializableCallable, SerializableCallable
from foretune.errors import DataError, IllegalActionError, UnsupportedError
from foretune.support.once import warn_once
from foretune.support.scratch import step_folder
from foretune.target import Target
from foretune.trace import Trace

if TYPE_CHECKING:  # loading needs no tuner
    from foretune.compiler.pytorch.regions import RegionGraph

_log = logging.getLogger("foretune")

SCHEMA = "foretune-kernels-1"
_MANIFEST, _CONSTANTS, _LAUNCHER = "manifest.json", "constants.safetensors", "launcher.so"


class KernelGraph(SerializableCallable):
    """A graph that TVM's kernels run.

    Args:
        run: runs it.
        data: the same as bytes.
    """

    def __init__(self, run: Callable, data: bytes) -> None:
        self._run, self._data = run, data

    @classmethod
    def serialize_compile_artifacts(cls, fn: KernelGraph) -> bytes:
        """What PyTorch writes."""
        return fn._data

    @classmethod
    def deserialize_compile_artifacts(cls, data: bytes) -> KernelGraph:
        """The graph again; nothing is measured, and nothing compiled where its machine code can run.

        Raises:
            DataError: the bytes are damaged.
        """
        return cls(_read(data), data)

    def __call__(self, *inputs: Any) -> Any:
        """Runs the graph."""
        return self._run(*inputs)


def to_be_saved(
    run: Callable, choice: Choice, gm: torch.fx.GraphModule, inputs: Sequence[Any], tolerance: float | None
) -> Callable:
    """What runs a graph, as PyTorch can write it.

    Args:
        run: what was chosen.
        choice: how; it is changed if that gives other answers than PyTorch.
        gm: the graph.
        inputs: example inputs; they are not changed.
        tolerance: largest error accepted of a graph that TVM's kernels run; None if a contest has looked at it.
    """
    if isinstance(run, KernelGraph) and tolerance is not None:
        trains = asks_for_gradients(inputs)
        expected = observe(gm.forward, inputs, trains)
        error = largest_error(expected, observe(run, inputs, trains, expected.changed))
        if error > tolerance:
            choice.refused[choice.name] = f"differs from PyTorch by {error:.3g} (tolerance {tolerance:.3g})"
            choice.name = PYTORCH
            warn_once(
                _log,
                "the compiled graph differs from PyTorch's by %.3g (tolerance %.3g); PyTorch's is used instead",
                error,
                tolerance,
            )
    return GraphModuleSerializableCallable(gm) if choice.name == PYTORCH else run


# -- writing -----------------------------------------------------------------------------------------


def kernel_graph(run: Callable, graph: RegionGraph, target: Target, asked: str) -> KernelGraph:
    """A graph that PyTorch can write.

    Args:
        run: runs it.
        graph: what it runs.
        target: that the kernels were built for.
        asked: the target as the user named it, such as `auto`.

    Raises:
        UnsupportedError: a part of it cannot be written.
    """
    archive = _Writer(target, asked)
    return KernelGraph(run, archive.write(graph))


class _Writer:
    """Collects the parts of an archive."""

    def __init__(self, target: Target, asked: str) -> None:
        self._about = {
            "schema": SCHEMA,
            "asked": asked,
            "target": target.key,
            "cpu": host_processor(),
            "tvm": tvm.__version__,
        }
        self._constants: dict[str, torch.Tensor] = {}
        self._codes: list[Code] = []
        self._programs: list[str] = []

    def write(self, graph: RegionGraph) -> bytes:
        fused, regions, products = graph.fused, {}, {}
        for name, module in fused.named_children():
            if isinstance(module, CompiledRegion):
                regions[name] = self._region(name, module, graph)
            elif isinstance(module, LibraryProduct):
                products[name] = _product_to_json(module)
            elif any(node.target == name for node in fused.graph.find_nodes(op="call_module")):
                raise UnsupportedError(f"the part {name} of the graph cannot be written to a file")
        for node in fused.graph.find_nodes(op="get_attr"):
            value = getattr(fused, str(node.target), None)
            if not isinstance(value, torch.Tensor):
                raise UnsupportedError(f"the part {node.target} of the graph cannot be written to a file")
            self._constants[f"graph.{node.target}"] = value
        chosen = {key: trace.to_json() for key, trace in graph.chosen.items()}
        manifest = {
            **self._about,
            "frozen": graph.frozen,
            "graph": graph_to_json(fused.graph),
            "regions": regions,
            "products": products,
            "codes": [self._code(number, code) for number, code in enumerate(self._codes)],
            "chosen": chosen,
        }
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(_MANIFEST, json.dumps(manifest, allow_nan=False))
            archive.writestr(_CONSTANTS, safetensors.torch.save(_contiguous(self._constants)))
            archive.writestr(_LAUNCHER, launcher_binary())
            for number, code in enumerate(self._codes):
                archive.writestr(_library(number), code.binary)
        return made.getvalue()

    def _region(self, name: str, region: CompiledRegion, graph: RegionGraph) -> dict[str, Any]:
        code = graph.codes[name]
        number = next((i for i, known in enumerate(self._codes) if known is code), len(self._codes))
        if number == len(self._codes):
            self._codes.append(code)
            self._programs.append(program_text(graph.module(name)))
        reference = cast("torch.fx.GraphModule", region.reference)
        for node in reference.graph.find_nodes(op="get_attr"):
            raise UnsupportedError(f"the constant {node.target} of a region cannot be written to a file")
        return {
            "code": number,
            "label": region.label,
            "signature": _signature_to_json(region.signature),
            "reference": graph_to_json(reference.graph),
        }

    def _code(self, number: int, code: Code) -> dict[str, Any]:
        sequence = None
        if code.sequence is not None:
            sequence, constants = sequence_to_json(code.sequence)
            self._constants |= {f"code.{number}.{i}": constant for i, constant in enumerate(constants)}
        return {"program": self._programs[number], "sequence": sequence}


def _contiguous(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def _library(number: int) -> str:
    return f"kernels_{number}.so"


def _signature_to_json(signature: Signature) -> dict[str, Any]:
    return {
        **asdict(signature),
        "static_inputs": sorted(signature.static_inputs),
        "escaping": sorted(signature.escaping),
        "strides": [[position, list(strides)] for position, strides in signature.strides.items()],
        "indices": [[position, size] for position, size in signature.indices.items()],
    }


def _product_to_json(product: LibraryProduct) -> dict[str, Any]:
    made = product.product
    return {
        "operator": f"torch.ops.{made.target}",
        "rest": value_to_json(made.rest, str(made.target)),
        "post": list(made.post),
        "way": product.way,
    }


# -- reading -----------------------------------------------------------------------------------------


def _read(data: bytes) -> Callable:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            manifest = parse_json(archive.read(_MANIFEST), "the manifest of a compiled graph")
            constants = safetensors.torch.load(archive.read(_CONSTANTS))
            if manifest["schema"] != SCHEMA:
                raise DataError(f"it has another schema than {SCHEMA}; compile it again")
            codes = _codes(manifest, constants, archive)
            return _graph(manifest, constants, codes)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, zipfile.BadZipFile) as error:
        raise DataError(f"a compiled graph is damaged: {type(error).__name__}: {str(error)[:200]}") from error


def _codes(manifest: Any, constants: Mapping[str, torch.Tensor], archive: zipfile.ZipFile) -> list[Code]:
    """The kernels, as they were built or, where these cannot run here, built again."""
    target = unmeasured_target(manifest["asked"])
    here = {"target": target.key, "cpu": host_processor(), "tvm": tvm.__version__}
    other = {name: (manifest[name], value) for name, value in here.items() if manifest[name] != value}
    libraries = [archive.read(_library(number)) for number in range(len(manifest["codes"]))]
    if other or not all(libraries):
        why = ", ".join(f"{name} {there} and not {value}" for name, (there, value) in other.items())
        _log.info("kernels are built again, because they were built for %s", why or "no C compiler")
        return _built_again(manifest, target)
    offer_launcher(archive.read(_LAUNCHER))
    found = []
    with step_folder() as folder:
        for number, (row, library) in enumerate(zip(manifest["codes"], libraries)):
            path = folder / _library(number)
            path.write_bytes(library)
            own = {
                int(name.rpartition(".")[2]): value
                for name, value in constants.items()
                if name.startswith(f"code.{number}.")
            }
            sequence = sequence_from_json(row["sequence"], own) if row["sequence"] is not None else None
            found.append(Code(*load_library(path), sequence, library))
    return found


def _built_again(manifest: Any, target: Target) -> list[Code]:
    try:
        chosen = {key: Trace.from_json(trace) for key, trace in manifest["chosen"].items()}
    except IllegalActionError as error:
        raise DataError(f"a schedule of a compiled graph is damaged: {error}") from error
    mods = [module_from_program(row["program"]) for row in manifest["codes"]]
    tasks = importer.first_of_equal([task for mod in mods for task in importer.extract_tasks(mod, target)])
    schedules = importer.schedule_database(tasks, chosen, target)
    return [build(importer.apply_schedules(mod, schedules, target), target) for mod in mods]


def _graph(manifest: Any, constants: Mapping[str, torch.Tensor], codes: Sequence[Code]) -> Callable:
    frozen = bool(manifest["frozen"])
    modules: dict[str, torch.nn.Module] = {}
    for name, row in manifest["regions"].items():
        program, reference = Program(codes[row["code"]]), graph_from_json(row["reference"])
        modules[name] = CompiledRegion(program, _signature(row["signature"]), reference, frozen, row["label"])
    for name, row in manifest["products"].items():
        modules[name] = _product(row, frozen)
    values = {name.partition(".")[2]: value for name, value in constants.items() if name.startswith("graph.")}
    return runner_of(graph_from_json(manifest["graph"], modules, values), list(manifest["regions"]))


def _signature(row: Any) -> Signature:
    return Signature(
        int(row["num_inputs"]),
        frozenset(map(int, row["static_inputs"])),
        bool(row["single"]),
        {int(position): tuple(map(int, strides)) for position, strides in row["strides"]},
        frozenset(map(int, row["escaping"])),
        {int(position): int(size) for position, size in row["indices"]},
    )


def _product(row: Any, frozen: bool) -> LibraryProduct:
    post, algorithm = row["post"]
    if row["way"] not in WAYS:
        raise DataError(f"there is no way {row['way'][:40]!r} to compute a product; known are {[*WAYS]}")
    rest = tuple(value_from_json(value) for value in row["rest"])
    product = Product(operator_named(row["operator"]), rest, (str(post), str(algorithm)))
    return LibraryProduct(product, row["way"], StaticInputs(frozen))
