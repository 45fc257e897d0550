"""`foretune collect`: the zoo, measured on this machine into a data set."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foretune.compiler.environment import TvmEnvironment
from foretune.compiler.measure import Measurer
from foretune.compiler.progress import progress_bar
from foretune.compiler.target import detect_target
from foretune.datasets.collect import CollectConfig, collect
from foretune.datasets.store import RecordStore
from foretune.files import write_text_atomically
from foretune.record import MeasureSettings
from foretune.target import Target
from foretune.task import Task

SETTINGS = MeasureSettings(repeat=3, min_repeat_ms=5.0)


@dataclass(frozen=True)
class CollectionConfig:
    """What to collect.

    Attributes:
        out: folder of the data set.
        num_records: records it shall hold in the end.
        families: of the zoo; None for all.
        seed: of the sampling.
        progress: show a progress bar.
    """

    out: Path
    num_records: int
    families: tuple[str, ...] | None = None
    seed: int = 0
    progress: bool = True


def run(config: CollectionConfig) -> dict[str, Any]:
    """Collects until the data set is large enough.

    Returns:
        `{"num_records", "num_tasks"}`.
    """
    target = detect_target()
    limits = CollectConfig(config.num_records, seed=config.seed)
    with RecordStore(config.out, writable=True) as store, Measurer(SETTINGS, store_features=True) as measurer:
        tasks = _tasks(config, target)
        with progress_bar("collecting", config.progress) as show:
            done = collect(tasks, TvmEnvironment(measurer), store, limits, show)
        store.compact()
    return {"num_records": done, "num_tasks": len(tasks)}


def _tasks(config: CollectionConfig, target: Target) -> list[Task]:
    """The zoo's tasks; importing them takes a minute, so they are kept beside the data."""
    from foretune.compiler.zoo import FAMILIES, zoo_tasks

    families = config.families or FAMILIES
    kept = config.out / "tasks.json"
    if kept.exists():
        data = json.loads(kept.read_text())
        if data["families"] == list(families) and data["target"] == target.to_dict():
            return [Task.from_json(t) for t in data["tasks"]]
    tasks = zoo_tasks(target, families)
    write_text_atomically(kept, json.dumps({"families": list(families), "target": target.to_dict(), "tasks": [t.to_json() for t in tasks]}))
    return tasks
