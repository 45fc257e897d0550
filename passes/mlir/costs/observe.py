"""Graphs of collected samples, for training: the module as it was given and after the default lowering.

MLIR's parser and passes may crash, so that graphs are made in forked children, some dozens in each. Observations are
kept beside the samples and made only once.

    DIR/observed/NAME.parquet   rows for DIR/NAME.parquet
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from foretune import datasets
from foretune.costmodel.mlir.encoding import EncodedProgram, encode
from foretune.datasets.programs.mlir_samples import Sample, append, claim, machine_of, samples_of
from foretune.errors import DataError, ForetuneError
from foretune.passes.mlir.programs.generator import generate
from foretune.program import ProgramGraph
from foretune.support.files import write_atomically
from foretune.target import HardwareFeatures
from foretune.workers.process import limit_memory

BUNDLED = Path(datasets.__file__).parent / "bundled" / "mlir"
"""The samples that come with Foretune."""
STAGES = ("given", "llvm")
VERSION = "5"
_CHUNK = 32
_MEMORY_BYTES = 4 << 30
_SECS = 60


@dataclass(frozen=True)
class Observation:
    """One sample at one stage.

    Attributes:
        sample: it, with its labels.
        stage: one of `STAGES`.
        program: its structure.
        text: the module's text as it was given.
        hardware: of the machine that it was labelled on; None if nobody said.
    """

    sample: Sample
    stage: str
    program: EncodedProgram
    text: str
    hardware: HardwareFeatures | None = None

    @property
    def labels(self) -> dict[str, float]:
        """Of the sample; only labelled ones are observed."""
        return cast("dict[str, float]", self.sample.labels)


def observe(folder: Path, report: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Makes the observations of all samples that have none yet."""
    files = sorted(folder.glob("part-*.parquet"))
    for done, path in enumerate(files):
        target = folder / "observed" / path.name
        if not target.exists() or (pq.read_schema(target).metadata or {}).get(b"version") != VERSION.encode():
            rows = []
            kept = [s for s in samples_of(path) if s.status == "ok"]
            for start in range(0, len(kept), _CHUNK):
                rows += _observe_chunk(kept[start : start + _CHUNK], start)
            write_observed(folder, path.name, rows)
        report(done + 1, len(files))


_SCHEMA = pa.schema(
    [
        ("row", pa.int32()),
        ("stage", pa.string()),
        ("statements", pa.list_(pa.float32())),
        ("nest", pa.list_(pa.int32())),
        ("parent", pa.list_(pa.int32())),
    ],
    metadata={"version": VERSION},
)


def observations(folder: Path) -> Iterator[Observation]:
    """Streams what `observe` made, with the samples; files that it has not seen yet are left out.

    Raises:
        DataError: a file is damaged, or nothing was observed.
    """
    files = sorted((folder / "observed").glob("part-*.parquet"))
    if not files:
        raise DataError(f"nothing of {folder} is observed yet")
    hardware = machine_of(folder)
    for target in files:
        path = folder / target.name
        kept = [s for s in samples_of(path) if s.status == "ok"]
        try:
            table = pq.read_table(target)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{target} cannot be read ({error}); `observe` makes it") from error
        for row in table.to_pylist():
            nest = np.array(row["nest"], np.int64)
            program = EncodedProgram(
                np.array(row["statements"], np.float32).reshape(len(nest), -1), nest, np.array(row["parent"], np.int64)
            )
            sample = kept[row["row"]]
            text = (sample.module or generate(sample.family, sample.seed).text) if row["stage"] == "given" else ""
            yield Observation(sample, row["stage"], program, text, hardware)


def compact(folder: Path, out: Path) -> int:
    """Writes the labelled samples of a folder, with their observations, as one file each, small enough to ship; how
    many there are.

    Samples that failed are left out. `out` must not have samples yet.

    Raises:
        DataError: it has.
    """
    if list(out.glob("part-*.parquet")):
        raise DataError(f"{out} has samples already")
    kept: dict[tuple, Sample] = {}
    rows: dict[tuple, list[dict[str, Any]]] = {}
    for target in sorted((folder / "observed").glob("part-*.parquet")):
        ok = [s for s in samples_of(folder / target.name) if s.status == "ok"]
        for row in pq.read_table(target, columns=["row", "stage", "statements", "nest", "parent"]).to_pylist():
            sample = ok[row["row"]]
            kept[sample.key] = sample
            rows.setdefault(sample.key, []).append(row)
    if (hardware := machine_of(folder)) is not None:
        claim(out, hardware)
    order = sorted(kept)
    name = append(out, [kept[key] for key in order], level=19)
    write_observed(out, name, [{**row, "row": i} for i, key in enumerate(order) for row in rows[key]], level=19)
    return len(order)


def _observe_chunk(samples: list[Sample], first: int) -> list[dict[str, Any]]:
    """Rows of some samples; those whose child died are left out."""
    rows: list[dict[str, Any]] = []
    at = 0
    while at < len(samples):
        replies = _child(samples[at:])
        for i, reply in enumerate(replies):
            for stage, program in (reply or {}).get("stages", {}).items():
                rows.append({"row": first + at + i, "stage": stage, **program})
        at += len(replies)
    return rows


def _child(samples: list[Sample]) -> list[dict[str, Any] | None]:
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        _be_child(samples, write)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        lines = file.read().split(b"\n")[:-1]
    os.waitpid(child, 0)
    replies: list[dict[str, Any] | None] = [json.loads(line) for line in lines]
    return replies if len(replies) == len(samples) else [*replies, None]


def _be_child(samples: list[Sample], write: int) -> None:
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 2)
        limit_memory(_MEMORY_BYTES)
        resource.setrlimit(resource.RLIMIT_CPU, (_SECS, _SECS))
        from foretune.passes.mlir.costs.labelling import quiet_context

        context = quiet_context()
        for sample in samples:
            reply = json.dumps(_stages(sample, context)).encode() + b"\n"
            while reply:
                reply = reply[os.write(write, reply) :]
    finally:
        os._exit(0)


def write_observed(folder: Path, name: str, rows: list[dict[str, Any]], level: int = 3) -> None:
    """Writes the observations of one file of samples; `row` counts those that are ok."""
    table = pa.Table.from_pylist(rows, _SCHEMA)
    write_atomically(
        folder / "observed" / name,
        lambda temporary: pq.write_table(table, temporary, compression="zstd", compression_level=level),
    )


def _stages(sample: Sample, context: Any) -> dict[str, Any]:
    from foretune.passes.mlir.costs import labelling
    from foretune.passes.mlir.environment import lowering
    from foretune.passes.mlir.grammar.actions import Schedule
    from foretune.passes.mlir.grammar.types import MLIRError
    from foretune.passes.mlir.graph.graph import program_graph

    text = sample.module or generate(sample.family, sample.seed).text
    stages: dict[str, Any] = {}
    try:
        module = labelling.parse_quietly(text, context)
        stages["given"] = graph_row(program_graph(module))
        lowering.lower(module, Schedule.of(*sample.schedule).lowering)
        stages["llvm"] = graph_row(program_graph(module))
    except (MLIRError, ValueError, RuntimeError, ForetuneError) as error:
        return {"stages": stages, "error": str(error)[:200]}
    return {"stages": stages}


def graph_row(graph: ProgramGraph) -> dict[str, Any]:
    """A graph as columns of the table."""
    program = encode(graph)
    return {
        "statements": np.round(program.statements, 4).ravel().tolist(),
        "nest": program.nest.tolist(),
        "parent": program.parent.tolist(),
    }
