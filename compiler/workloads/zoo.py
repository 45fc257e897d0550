"""The workload zoo: operators of many families over several shapes, and the subgraphs of small models.

Every entry goes the way of a user's graph (export, decompose, fuse), so that its tasks are the ones that
tuning meets.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from foretune.compiler.pytorch import importer
from foretune.compiler.workloads.models import ZOO_MODELS
from foretune.compiler.workloads.zoo_entry import Function, ZooEntry
from foretune.compiler.workloads.zoo_random import random_entries
from foretune.errors import OptionError, UnsupportedError
from foretune.target import Target
from foretune.task import Task

_log = logging.getLogger(__name__)


def _dense() -> Iterator[tuple]:
    shapes = [
        (1, 512, 512), (1, 256, 1024), (4, 384, 384), (8, 1024, 256), (16, 256, 768), (32, 512, 128), (64, 128, 512),
        (64, 768, 192), (96, 96, 96), (128, 128, 128), (128, 256, 384), (192, 320, 64), (256, 256, 256), (48, 640, 320),
    ]  # fmt: skip
    for i, (m, k, n) in enumerate(shapes):
        activation = (nn.ReLU(), nn.GELU(), nn.Identity(), nn.Sigmoid())[i % 4]
        yield f"m{m}k{k}n{n}", nn.Sequential(nn.Linear(k, n), activation), (torch.randn(m, k),)
    for m, k, n in [(64, 64, 64), (128, 192, 256), (384, 384, 384), (512, 64, 512), (40, 1000, 56)]:
        yield f"nn_m{m}k{k}n{n}", Function(torch.matmul), (torch.randn(m, k), torch.randn(k, n))


def _batch_matmul() -> Iterator[tuple]:
    for b, m, k, n in [
        (4, 64, 32, 64),
        (8, 32, 64, 128),
        (12, 128, 64, 128),
        (6, 49, 32, 49),
        (16, 16, 128, 16),
        (2, 200, 96, 56),
        (3, 256, 64, 64),
    ]:
        yield f"b{b}m{m}k{k}n{n}", Function(torch.bmm), (torch.randn(b, m, k), torch.randn(b, k, n))


def _conv2d() -> Iterator[tuple]:
    shapes = [  # batch, channels in, size, channels out, kernel, stride, dilation
        (1, 3, 64, 32, 3, 1, 1),
        (1, 16, 56, 32, 3, 1, 1),
        (1, 32, 28, 64, 3, 2, 1),
        (1, 64, 28, 64, 3, 1, 1),
        (1, 64, 14, 128, 1, 1, 1),
        (1, 128, 14, 128, 3, 1, 1),
        (1, 3, 112, 16, 7, 2, 1),
        (1, 48, 20, 96, 5, 1, 1),
        (1, 256, 7, 256, 1, 1, 1),
        (2, 24, 32, 48, 3, 2, 1),
        (4, 32, 16, 32, 3, 1, 1),
        (1, 32, 30, 32, 3, 1, 2),
        (1, 64, 24, 32, 3, 1, 4),
        (1, 96, 12, 64, 1, 2, 1),
        (1, 20, 40, 40, 3, 1, 1),
    ]
    for b, c, s, o, k, stride, dilation in shapes:
        conv = nn.Conv2d(c, o, k, stride, dilation * (k // 2), dilation)
        yield f"b{b}c{c}s{s}o{o}k{k}x{stride}d{dilation}", nn.Sequential(conv, nn.ReLU()), (torch.randn(b, c, s, s),)


def _group_conv2d() -> Iterator[tuple]:
    for c, s, o, groups, stride in [(32, 28, 64, 4, 1), (64, 14, 64, 8, 1), (48, 20, 96, 2, 2), (64, 24, 32, 16, 1)]:
        yield (
            f"c{c}s{s}o{o}g{groups}x{stride}",
            nn.Conv2d(c, o, 3, stride, 1, groups=groups),
            (torch.randn(1, c, s, s),),
        )


def _depthwise_conv2d() -> Iterator[tuple]:
    for c, s, k, stride in [
        (32, 56, 3, 1),
        (96, 28, 3, 2),
        (144, 14, 5, 1),
        (64, 40, 3, 1),
        (240, 10, 3, 1),
        (24, 64, 7, 2),
    ]:
        yield (
            f"c{c}s{s}k{k}x{stride}",
            nn.Sequential(nn.Conv2d(c, c, k, stride, k // 2, groups=c), nn.ReLU6()),
            (torch.randn(1, c, s, s),),
        )


def _conv1d() -> Iterator[tuple]:
    for c, s, o, k, stride in [
        (16, 256, 32, 3, 1),
        (64, 128, 64, 5, 1),
        (32, 400, 64, 9, 2),
        (80, 100, 96, 3, 1),
        (128, 64, 128, 1, 1),
    ]:
        yield (
            f"c{c}s{s}o{o}k{k}x{stride}",
            nn.Sequential(nn.Conv1d(c, o, k, stride, k // 2), nn.ReLU()),
            (torch.randn(1, c, s),),
        )


def _conv3d() -> Iterator[tuple]:
    for c, d, s, o, k in [(3, 8, 24, 16, 3), (16, 8, 14, 16, 3), (8, 4, 28, 16, 1), (16, 6, 10, 32, 3)]:
        yield f"c{c}d{d}s{s}o{o}k{k}", nn.Conv3d(c, o, k, 1, k // 2), (torch.randn(1, c, d, s, s),)


def _conv_transpose() -> Iterator[tuple]:
    for c, s, o, k, stride in [
        (32, 14, 16, 2, 2),
        (64, 8, 32, 4, 2),
        (16, 28, 8, 3, 2),
        (24, 20, 24, 3, 1),
        (48, 10, 24, 2, 2),
    ]:
        yield f"c{c}s{s}o{o}k{k}x{stride}", nn.ConvTranspose2d(c, o, k, stride), (torch.randn(1, c, s, s),)


def _pooling() -> Iterator[tuple]:
    for c, s, k, stride in [(32, 56, 2, 2), (64, 28, 3, 2), (128, 14, 2, 2), (24, 96, 3, 1)]:
        yield f"max_c{c}s{s}k{k}x{stride}", nn.MaxPool2d(k, stride), (torch.randn(1, c, s, s),)
        yield f"avg_c{c}s{s}k{k}x{stride}", nn.AvgPool2d(k, stride), (torch.randn(1, c, s, s),)


def _softmax() -> Iterator[tuple]:
    for rows, columns in [(64, 64), (256, 128), (512, 49), (96, 1000), (1024, 32), (8, 4096), (384, 384)]:
        yield f"{rows}x{columns}", Function(lambda x: torch.softmax(x, -1)), (torch.randn(rows, columns),)


def _norm() -> Iterator[tuple]:
    for rows, width in [(64, 128), (196, 96), (512, 256), (50, 768), (1000, 64), (16, 1024)]:
        yield f"layer_{rows}x{width}", nn.LayerNorm(width), (torch.randn(rows, width),)
    for channels, size in [(32, 16), (64, 32)]:
        yield f"group_c{channels}s{size}", nn.GroupNorm(8, channels), (torch.randn(1, channels, size, size),)


def _attention() -> Iterator[tuple]:
    for heads, length, width in [(4, 64, 32), (6, 48, 32), (8, 128, 64), (2, 200, 48), (12, 32, 64)]:
        qkv = tuple(torch.randn(1, heads, length, width) for _ in range(3))
        yield f"h{heads}l{length}w{width}", Function(F.scaled_dot_product_attention), qkv


def _reduction() -> Iterator[tuple]:
    for i, (rows, columns) in enumerate([(64, 1024), (1024, 64), (256, 256), (16, 8192), (2000, 100)]):
        yield f"sum{i % 2}_{rows}x{columns}", Function(lambda x, axis=i % 2: x.sum(axis)), (torch.randn(rows, columns),)
        yield f"max_{rows}x{columns}", Function(lambda x: x.amax(1)), (torch.randn(rows, columns),)
    yield "mean_hw", Function(lambda x: x.mean((2, 3))), (torch.randn(1, 256, 14, 14),)
    yield "sum_of_squares", Function(lambda x: (x * x).sum()), (torch.randn(300, 300),)


def _elementwise() -> Iterator[tuple]:
    chains = [
        lambda x, y: F.gelu(x + y) * y,
        lambda x, y: torch.sigmoid(x) * torch.tanh(y) + x,
        lambda x, y: torch.exp(-x.abs()) / (1 + y * y),
        lambda x, y: F.relu(x - y),
        lambda x, y: torch.where(x > y, x, y * 0.1).clamp(-1, 1),
    ]
    shapes = [(64, 128), (1000, 300), (1, 32, 56, 56), (512, 512), (7, 11, 13)]
    for i, (chain, shape) in enumerate(zip(chains, shapes)):
        yield f"chain{i}", Function(chain), (torch.randn(shape), torch.randn(shape))
        yield f"chain{i}b", Function(chain), (torch.randn(shapes[(i + 2) % 5]), torch.randn(shapes[(i + 2) % 5]))


def _gather() -> Iterator[tuple]:
    for rows, width, count in [(1000, 64, 128), (5000, 32, 512), (512, 256, 64), (30000, 16, 2048)]:
        yield f"r{rows}w{width}n{count}", nn.Embedding(rows, width), (torch.randint(0, rows, (count,)),)


def _layout() -> Iterator[tuple]:
    yield "transpose", Function(lambda x: x.transpose(0, 1) * 2.0), (torch.randn(512, 384),)
    yield "permute", Function(lambda x: x.permute(0, 2, 3, 1).contiguous()), (torch.randn(1, 64, 28, 28),)
    yield "concat", Function(lambda x, y: torch.cat([x, y], 1)), (torch.randn(64, 100), torch.randn(64, 156))


_FAMILIES: dict[str, Callable[[], Iterator[tuple]]] = {
    "dense": _dense, "batch_matmul": _batch_matmul, "conv2d": _conv2d, "group_conv2d": _group_conv2d,
    "depthwise_conv2d": _depthwise_conv2d, "conv1d": _conv1d, "conv3d": _conv3d, "conv_transpose": _conv_transpose,
    "pooling": _pooling, "softmax": _softmax, "norm": _norm, "attention": _attention, "reduction": _reduction,
    "elementwise": _elementwise, "gather": _gather, "layout": _layout,
}  # fmt: skip

FAMILIES = (*_FAMILIES, "models")


def check_families(families: tuple[str, ...]) -> None:
    """Checks names of families.

    Raises:
        OptionError: a family is unknown.
    """
    unknown = sorted(set(families) - set(FAMILIES))
    if unknown:
        raise OptionError(f"unknown workload families {unknown}; known are {list(FAMILIES)}")


def zoo_entries(families: tuple[str, ...] = FAMILIES, num_random: int = 0, seed: int = 0) -> Iterator[ZooEntry]:
    """The programs of some families.

    Args:
        families: of the zoo.
        num_random: so many random workloads of these families in their place.
        seed: of the random shapes.

    Raises:
        OptionError: a family is unknown.
    """
    check_families(families)
    if num_random:
        yield from random_entries(num_random, seed, families)
        return
    for family in families:
        for name, module, inputs in _FAMILIES.get(family, lambda: iter(()))():
            yield ZooEntry(f"{family}/{name}", family, module.eval(), inputs)
        if family == "models":
            for case in ZOO_MODELS:
                yield ZooEntry(f"models/{case.name}", "", case.make().eval(), case.inputs())


def zoo_tasks(target: Target, families: tuple[str, ...] = FAMILIES, num_random: int = 0, seed: int = 0) -> list[Task]:
    """The distinct tuning tasks of the zoo, in a fixed order; a program that cannot be imported is logged and left out.

    Each entry is a network, and a task knows all networks that it is a part of.
    """
    found: dict[str, Task] = {}
    for entry in zoo_entries(families, num_random, seed):
        try:
            graph_tasks = importer.module_tasks(entry.module, entry.inputs, target, entry.family)
        except UnsupportedError as error:
            _log.warning("%s is left out: %s", entry.name, error)
            continue
        for graph_task in graph_tasks:
            task = graph_task.task
            known = found.get(task.workload.hash)
            network = (entry.name, task.weight)
            found[task.workload.hash] = (
                replace(task, networks=(network,))
                if known is None
                else replace(known, weight=known.weight + task.weight, networks=(*known.networks, network))
            )
    return list(found.values())
