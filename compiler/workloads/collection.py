"""`foretune collect`: the zoo, measured into a data set here, on remote devices or on a Ray cluster."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from foretune.compiler.measure.environment import TvmEnvironment
from foretune.compiler.measure.measurer import Measurer
from foretune.compiler.measure.remote import Device
from foretune.compiler.tir.target import parse_target
from foretune.compiler.workloads.guide import ModelGuide
from foretune.costmodel.latent.model import LatentCostModel
from foretune.datasets.records.collect import CollectConfig, Environment, collect
from foretune.datasets.records.store import RecordStore
from foretune.errors import ForetuneError, OptionError
from foretune.record import MeasureSettings
from foretune.support.files import write_text_atomically
from foretune.support.progress import progress_bar
from foretune.target import HardwareFeatures, Target
from foretune.task import Task

SETTINGS = MeasureSettings(repeat=3, min_repeat_ms=5.0)
_TASKS_VERSION = 3
_QUIET_WAIT_SECS = 60.0


@dataclass(frozen=True)
class CollectionConfig:
    """What to collect, and where.

    Attributes:
        out: folder of the data set.
        num_records: records it shall hold in the end.
        families: of the zoo; None for all.
        seed: of the sampling, and of the random workloads.
        num_random: so many random workloads of the families in place of the zoo's own.
        target: what to build for; `auto` for the machine that measures.
        ray: address of a Ray cluster that measures: `local`, `auto` or HOST:PORT.
        rpc: HOST:PORT:KEY of an RPC tracker and its devices that measure.
        cost_model: file of weights that guide the sampling; `bundled`, or `none`.
        progress: show progress.
    """

    out: Path
    num_records: int
    families: tuple[str, ...] | None = None
    seed: int = 0
    num_random: int = 0
    target: str = "auto"
    ray: str = ""
    rpc: str = ""
    cost_model: str = "bundled"
    progress: bool = True

    def __post_init__(self) -> None:
        if self.num_random < 0:
            raise OptionError(f"`random workloads >= 0` must hold, but got {self.num_random}")
        if self.ray and self.rpc:
            raise OptionError(f"only one of --ray and --rpc can be used, but got {self.ray!r} and {self.rpc!r}")
        if self.ray and self.target != "auto":
            raise OptionError(f"with --ray every node detects its own target, but got --target {self.target!r}")


def run(config: CollectionConfig) -> dict[str, Any]:
    """Collects until the data set is large enough.

    Returns:
        `{"num_records", "num_tasks"}`.

    Raises:
        ForetuneError: it was stopped by SIGINT or SIGTERM.
    """
    limits = CollectConfig(config.num_records, seed=config.seed)
    device = Device.parse(config.rpc) if config.rpc else None
    families = _families(config)
    target = parse_target(config.target)
    guide = _guide(config)
    try:
        with _ended_by_signals(), RecordStore(config.out, writable=True) as store:
            with (
                _environment(config, target, device) as (environment, target),
                progress_bar("collecting", config.progress) as show,
            ):
                tasks = _tasks(config, families, target)
                done = collect(tasks, environment, store, limits, show, guide)
            store.compact()
            return {"num_records": done, "num_tasks": len(tasks)}
    except KeyboardInterrupt:
        raise ForetuneError(
            f"stopped; what was measured is in {config.out}, and the same command goes on from there"
        ) from None


@contextlib.contextmanager
def _environment(
    config: CollectionConfig, target: Target, device: Device | None
) -> Iterator[tuple[Environment, Target]]:
    """Where to measure, and the target of what is measured there."""
    if config.ray:
        from foretune.compiler.measure.ray_cluster import RayEnvironment

        with RayEnvironment(config.ray, SETTINGS) as environment:
            yield environment, target
        return
    cores = cast("int | None", dict(target.attrs).get("num-cores")) if device is None else None
    with Measurer(
        SETTINGS, num_threads=cores, store_features=True, device=device, quiet_wait_secs=_QUIET_WAIT_SECS
    ) as measurer:
        if device is not None:
            target = _device_target(config.target, target, measurer.num_device_threads())
        yield TvmEnvironment(measurer), target


def _device_target(text: str, target: Target, num_threads: int) -> Target:
    """The target of remote devices: as stated, or this machine's with the device's number of threads."""
    if text == "auto":
        hardware = replace(target.hardware, cores=num_threads)
        return Target.from_dict({**target.to_dict(), "num-cores": num_threads}, hardware)
    stated = Target.parse(text)
    if dict(stated.attrs).get("num-cores", num_threads) != num_threads:
        raise OptionError(
            f"the remote devices run {num_threads} threads, but the target says {stated}; change its num-cores, or"
            " start the servers with TVM_NUM_THREADS set"
        )
    return Target.from_dict({**stated.to_dict(), "num-cores": num_threads}, HardwareFeatures(cores=num_threads))


def _guide(config: CollectionConfig) -> ModelGuide | None:
    if config.cost_model == "none":
        return None
    model = (
        LatentCostModel.bundled() if config.cost_model == "bundled" else LatentCostModel.load(Path(config.cost_model))
    )
    return ModelGuide(model, config.seed)


def _families(config: CollectionConfig) -> tuple[str, ...]:
    from foretune.compiler.workloads.zoo import FAMILIES, check_families

    check_families(config.families or FAMILIES)
    return config.families or FAMILIES


def _tasks(config: CollectionConfig, families: tuple[str, ...], target: Target) -> list[Task]:
    """The zoo's tasks; importing them takes a minute, so they are kept beside the data."""
    from foretune.compiler.workloads.zoo import zoo_tasks

    kept = config.out / "tasks.json"
    key = {
        "version": _TASKS_VERSION,
        "families": list(families),
        "target": target.to_dict(),
        "random": [config.num_random, config.seed] if config.num_random else [],
    }
    if kept.exists():
        data = json.loads(kept.read_text())
        if {name: data.get(name) for name in key} == key:
            return [replace(Task.from_json(t), target=target) for t in data["tasks"]]
    tasks = zoo_tasks(target, families, config.num_random, config.seed)
    write_text_atomically(kept, json.dumps({**key, "tasks": [t.to_json() for t in tasks]}))
    return tasks


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Within the context SIGTERM does what Ctrl-C does; a second signal ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before):
            signal.signal(number, handler)
