"""Sweeps: the latent model trained with every combination of some settings; the best on the validation tasks stays."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from foretune.costmodel.latent.training import TrainConfig
from foretune.errors import OptionError
from foretune.support.files import write_atomically
from foretune.support.scratch import step_folder

MAX_TRIALS = 256
_PARTS = ("network", "losses")


@dataclass(frozen=True)
class Setting:
    """One field of a `TrainConfig`, `network.` and `losses.` before those of its parts, and the value that it takes."""

    name: str
    value: float | int | bool


def parse_sweep(texts: Sequence[str]) -> list[tuple[Setting, ...]]:
    """All combinations of `NAME=VALUE,VALUE,...`.

    Raises:
        OptionError: a name is no number of the training, a value does not fit, or there are too many combinations.
    """
    axes = []
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not values.strip():
            raise OptionError(f"a sweep is NAME=VALUE,VALUE,... but got {text!r}")
        axes.append([Setting(name.strip(), _parsed(name.strip(), value.strip())) for value in values.split(",")])
    if len({axis[0].name for axis in axes}) < len(axes):
        raise OptionError(f"a setting can be swept once, but got {list(texts)}")
    trials = list(itertools.product(*axes))
    if len(trials) > MAX_TRIALS:
        raise OptionError(f"a sweep has at most {MAX_TRIALS} trials, but {list(texts)} makes {len(trials)}")
    for trial in trials:
        configured(TrainConfig(), trial)
    return trials


def configured(config: TrainConfig, settings: Sequence[Setting]) -> TrainConfig:
    """A configuration with some settings changed.

    Raises:
        OptionError: a value is out of its range.
    """
    for setting in settings:
        part, dot, name = setting.name.rpartition(".")
        value = replace(getattr(config, part), **{name: setting.value}) if dot else setting.value
        config = replace(config, **{part or name: value})
    return config


def _parsed(name: str, text: str) -> float | int | bool:
    known = dict(_numbers(TrainConfig()))
    if name not in known:
        raise OptionError(f"unknown setting {name!r} of the training; known are {sorted(known)}")
    try:
        if isinstance(known[name], bool):
            return {"true": True, "false": False}[text.lower()]
        return type(known[name])(text)
    except (ValueError, KeyError):
        raise OptionError(f"{name} must be a {type(known[name]).__name__}, but got {text!r}") from None


def _numbers(config: Any, prefix: str = "") -> Iterator[tuple[str, float | int | bool]]:
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in _PARTS:
            yield from _numbers(value, f"{field.name}.")
        else:
            yield prefix + field.name, value


def run_sweep(run: Any, trials: Sequence[tuple[Setting, ...]], ray_address: str = "") -> dict[str, Any]:
    """Trains once for each trial and keeps the weights of the best.

    Args:
        run: an `offline.TrainingRun`; on a cluster, every node must find its data at the same paths.
        trials: what differs.
        ray_address: of the cluster that trains, one trial for each CPU at a time; here, one after the other, if empty.

    Returns:
        The report of the best trial, with `trials`: settings and report of each, in order.
    """
    reports: list[dict[str, Any]] = []
    best = float("-inf")
    for i, report, weights in _on_ray(run, trials, ray_address) if ray_address else _here(run, trials):
        settings = {s.name: s.value for s in trials[i]}
        reports.append({"settings": settings, **report})
        score = report["top1"] + report["top5"] + report["pairwise"]
        print(
            f"{settings}: top-1 {report['top1']:.3f}, top-5 {report['top5']:.3f}, pairs {report['pairwise']:.3f}",
            file=sys.stderr,
        )
        if score > best:
            best, chosen = score, reports[-1]
            write_atomically(run.out, lambda temporary, weights=weights: temporary.write_bytes(weights))
    order = [{s.name: s.value for s in trial} for trial in trials]
    return {**chosen, "trials": sorted(reports, key=lambda r: order.index(r["settings"]))}


def _train(run: Any, trial: Sequence[Setting]) -> tuple[dict[str, Any], bytes]:
    from foretune.costmodel.evaluation.runs import run_training

    with step_folder() as folder:
        out = folder / "weights.safetensors"
        report = run_training(replace(run, out=out, settings=tuple(trial)))
        return report, out.read_bytes()


def _here(run: Any, trials: Sequence[tuple[Setting, ...]]) -> Iterator[tuple[int, dict[str, Any], bytes]]:
    for i, trial in enumerate(trials):
        yield i, *_train(run, trial)


def _on_ray(
    run: Any, trials: Sequence[tuple[Setting, ...]], address: str
) -> Iterator[tuple[int, dict[str, Any], bytes]]:
    from foretune.workers.ray_connection import connect

    ray = connect(address, store_bytes=512 << 20)

    def train_on_one_cpu(trial: Sequence[Setting]) -> tuple[str, bytes]:
        import torch

        torch.set_num_threads(1)
        report, weights = _train(run, trial)
        return json.dumps(report), weights

    try:
        remote = ray.remote(num_cpus=1, max_retries=2)(train_on_one_cpu)
        running = {remote.remote(trial): i for i, trial in enumerate(trials)}
        while running:
            (done, *_), _ = ray.wait(list(running))
            report, weights = ray.get(done)
            yield running.pop(done), json.loads(report), weights
    finally:
        ray.shutdown()
