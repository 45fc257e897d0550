"""Collecting labelled modules: generated programs, each lowered as it is and after some random schedules.

Children work on batches of programs: one forked process parses, transforms, compiles and runs a few dozen samples. What
crashes or hangs it becomes a status of the sample at hand, and the next child goes on behind it. llvm-mca is asked once
for a batch.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foretune.costmodel.machine_code.mca import Mca
from foretune.datasets.programs import mlir_samples
from foretune.datasets.programs.mlir_samples import Sample
from foretune.errors import DataError, OptionError, UnsupportedError
from foretune.passes.llvm.toolchain import find_toolchain
from foretune.passes.mlir.costs import observe
from foretune.passes.mlir.programs.generator import ENTRY, FAMILIES, generate
from foretune.target import measure_host
from foretune.workers.process import limit_memory

_SAMPLE_TIMEOUT_SECS = 4.0
_ROWS_PER_FILE = 256
_MEMORY_BYTES = 4 << 30
_MOST_BARREN = 400  # samples on end without a label


@dataclass(frozen=True)
class CollectConfig:
    """What to collect.

    Attributes:
        out: folder of the samples; what is there already counts.
        samples: labelled samples that the folder shall hold in the end.
        schedules: random schedules of each program, beside the plain lowering.
        seed: the first seed of programs.
        batch: samples that a child works on.
        families: of programs; all by default.
        cpus: other processors, as LLVM names them, to one of which in turn each program's plain lowering is compiled,
            too; this machine must be able to run their code.
        counts_only: nothing is timed, and each sample is for one of `cpus` in turn, none for this machine's own
            processor: what LLVM makes for a processor is the same on any machine, and what cannot be run here is
            counted by trip counts.
    """

    out: Path
    samples: int
    schedules: int = 2
    seed: int = 0
    batch: int = 48
    families: tuple[str, ...] = tuple(FAMILIES)
    cpus: tuple[str, ...] = ()
    counts_only: bool = False

    def __post_init__(self) -> None:
        if self.samples < 1 or self.batch < 1 or self.schedules < 0:
            raise OptionError(
                f"samples and batch must be at least 1 and schedules at least 0, but got {self.samples}, {self.batch}"
                f" and {self.schedules}"
            )
        if self.counts_only and not self.cpus:
            raise OptionError("counts without times are for processors that are named, but `cpus` names none")
        unknown = sorted(set(self.families) - set(FAMILIES))
        if unknown:
            raise OptionError(f"unknown families {unknown}; known are {sorted(FAMILIES)}")


@dataclass(frozen=True)
class _Job:
    """A program with the number of its schedule: 0 for none."""

    family: str
    seed: int
    number: int
    cpu: str = ""
    timed: bool = True


def collect(config: CollectConfig, report: Callable[[int, int], None] = lambda done, total: None) -> dict[str, int]:
    """Collects until the folder holds enough.

    Args:
        config: what.
        report: called after each batch: labelled samples there are, and wanted.

    Returns:
        status -> samples in the folder.

    Raises:
        DataError: many samples on end cannot be labelled, so that it would never end.
    """
    from foretune.passes.mlir.costs import labelling  # noqa: F401 - loaded once, before children are forked
    from foretune.passes.mlir.environment import modules  # noqa: F401 - loaded once, before children are forked
    from foretune.passes.mlir.environment.codegen import Codegen
    from foretune.passes.mlir.graph import graph  # noqa: F401 - loaded once, before children are forked

    toolchain = find_toolchain()
    codegen = Codegen(toolchain.library)
    mca = {cpu: Mca(toolchain.tool("llvm-mca"), cpu or codegen.cpu) for cpu in ("", *config.cpus)}
    counts: dict[str, int] = {}
    done: set[tuple[str, int]] = set()
    if not config.counts_only:
        mlir_samples.claim(config.out, measure_host())
    if config.out.is_dir():
        for row in mlir_samples.read(config.out, ["family", "seed", "status"]):
            counts[row["status"]] = counts.get(row["status"], 0) + 1
            done.add((row["family"], row["seed"]))
    pending: list[tuple[Sample, dict]] = []
    jobs, barren = _jobs(config, done), 0
    while counts.get("ok", 0) < config.samples:
        for sample, stages in _label([next(jobs) for _ in range(config.batch)], codegen, mca):
            counts[sample.status] = counts.get(sample.status, 0) + 1
            pending.append((sample, stages))
            barren = 0 if sample.status == "ok" else barren + 1
            if barren == _MOST_BARREN:
                raise DataError(
                    f"none of the last {barren} samples could be labelled, the last one ({sample.family} {sample.seed})"
                    f" for: {sample.error}"
                )
        report(counts.get("ok", 0), config.samples)
        enough = counts.get("ok", 0) >= config.samples
        if enough or len(pending) >= _ROWS_PER_FILE:
            # whole programs only: one that is cut off is collected again
            last = (pending[-1][0].family, pending[-1][0].seed)
            kept = pending if enough else [p for p in pending if (p[0].family, p[0].seed) != last]
            name = mlir_samples.append(config.out, [sample for sample, _ in kept])
            seen = [stages for sample, stages in kept if sample.status == "ok"]
            observe.write_observed(
                config.out,
                name,
                [{"row": i, "stage": stage, **row} for i, stages in enumerate(seen) for stage, row in stages.items()],
            )
            pending = pending[len(kept) :]
    return counts


def _jobs(config: CollectConfig, done: set[tuple[str, int]]) -> Iterator[_Job]:
    seed = config.seed
    while True:
        for family in config.families:
            if (family, seed) in done:
                continue
            if config.counts_only:
                for number in range(1 + config.schedules):
                    yield _Job(family, seed, number, config.cpus[(seed + number) % len(config.cpus)], timed=False)
            else:
                yield from (_Job(family, seed, number) for number in range(1 + config.schedules))
                yield from (_Job(family, seed, 0, cpu) for cpu in config.cpus[seed % max(1, len(config.cpus)) :][:1])
        seed += 1


def _label(jobs: list[_Job], codegen, mca: dict[str, Mca]) -> list[tuple[Sample, dict]]:
    replies: list[dict] = []
    while len(replies) < len(jobs):
        replies += _child(jobs[len(replies) :], codegen)
    compiled = [(job, reply, _compiled(reply)) for job, reply in zip(jobs, replies)]
    for cpu, tool in mca.items():
        tool.look_at(block for job, _, made in compiled if made is not None and job.cpu == cpu for block in made.hot)
    found = []
    for job, reply, made in compiled:
        labels = made.labels(mca[job.cpu]).to_json() if made is not None else {}
        labels = {name: value for name, value in labels.items() if value == value}
        sample = Sample(
            job.family,
            job.seed,
            tuple(reply.get("schedule", ())),
            job.cpu,
            reply["status"],
            reply.get("error", ""),
            reply.get("module", ""),
            labels,
        )
        found.append((sample, reply.get("stages", {})))
    return found


def _compiled(reply: dict):
    from foretune.passes.mlir.costs.labelling import Compiled

    return Compiled.from_json(reply["compiled"]) if reply["status"] == "ok" else None


def _child(jobs: list[_Job], codegen) -> list[dict]:
    """Replies to the first jobs, one at least: a child that ends early gives one to the job that it died of."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        _be_child(jobs, codegen, write)
    os.close(write)
    replies, buffer, killed = [], b"", False
    deadline = time.monotonic() + _SAMPLE_TIMEOUT_SECS
    with selectors.DefaultSelector() as selector:
        selector.register(read, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                os.killpg(child, signal.SIGKILL)
                killed = True
                break
            chunk = os.read(read, 1 << 16)
            if not chunk:
                break
            *lines, buffer = (buffer + chunk).split(b"\n")
            if lines:
                replies += [json.loads(line) for line in lines]
                deadline = time.monotonic() + _SAMPLE_TIMEOUT_SECS
    os.close(read)
    _, code = os.waitpid(child, 0)
    if len(replies) < len(jobs):
        how = (
            f"no end within {_SAMPLE_TIMEOUT_SECS:g} s"
            if killed
            else (
                f"the process was killed by signal {os.WTERMSIG(code)}"
                if os.WIFSIGNALED(code)
                else f"the process ended with {os.WEXITSTATUS(code)}"
            )
        )
        replies.append(
            {
                "status": "build_timeout" if killed else "build_error",
                "error": how,
                "schedule": _schedule_of(jobs[len(replies)]),
            }
        )
    return replies


def _schedule_of(job: _Job) -> list[str]:
    """What is known of the schedule of a sample whose process died: that it was this one of the program."""
    return [f"number {job.number}"] if job.number else []


def _be_child(jobs: list[_Job], codegen, write: int) -> None:
    code = 1
    try:
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for end in (0, 1, 2):
            os.dup2(nothing, end)
        limit_memory(_MEMORY_BYTES)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        from foretune.passes.mlir.costs.labelling import quiet_context

        context = quiet_context()
        for job in jobs:
            reply = json.dumps(_work(job, codegen, context)).encode() + b"\n"
            while reply:
                reply = reply[os.write(write, reply) :]
        code = 0
    finally:
        os._exit(code)


def _work(job: _Job, codegen, context) -> dict:
    from foretune.passes.mlir.costs import labelling
    from foretune.passes.mlir.environment import modules
    from foretune.passes.mlir.grammar.structured import structured_ops
    from foretune.passes.mlir.grammar.variants import random_schedule
    from foretune.passes.mlir.graph.graph import program_graph

    program = generate(job.family, job.seed)
    reply: dict = {"status": "ok", "schedule": []}
    try:
        module = labelling.parse_quietly(program.text, context)
        options = modules.LoweringOptions()
        if job.number:
            rng = np.random.default_rng(
                int.from_bytes(hashlib.sha256(f"{job.family}/{job.seed}/{job.number}".encode()).digest()[:8], "little")
            )
            stage = "affine" if "affine.for" in program.text else "scf" if "scf.for" in program.text else ""
            reply["schedule"] = random_schedule(structured_ops(module), stage, rng)
            before = str(module)
            options, _ = modules.transform(module, reply["schedule"])
            reply["module"] = str(module)
            if reply["module"] == before:
                return {**reply, "status": "illegal", "error": "the schedule changes nothing"}
        stages = reply["stages"] = {"given": observe.graph_row(program_graph(module))}
        look = lambda stage, module: stages.__setitem__(stage, observe.graph_row(program_graph(module)))  # noqa: E731
        if job.timed:
            reply["compiled"] = labelling.compile_and_run(codegen, module, ENTRY, job.cpu, options, look).to_json()
        else:
            reply["compiled"] = labelling.compile_and_count(codegen, module, job.cpu, options).to_json()
            look("llvm", module)
    except (modules.Illegal, UnsupportedError) as error:
        return {**reply, "status": "illegal", "error": str(error)[:200]}
    except labelling.Unlabelled as error:
        return {**reply, "status": error.status, "error": str(error)[:200]}
    return reply
