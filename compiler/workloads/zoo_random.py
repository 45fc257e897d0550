"""Random workloads: operators over shapes drawn from the ranges that real models have.

A cost model learns more from many workloads than from many schedules of few. The same seed gives the same
workloads; each has at most `MAX_FLOPS`, so that its slow schedules are still measured in no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from foretune.compiler.workloads.zoo_entry import Function, ZooEntry

MAX_FLOPS = 1.5e8


class _Draw:
    """Draws sizes and kinds."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def one_of(self, *values):
        return values[self._rng.integers(len(values))]

    def size(self, low: int, high: int) -> int:
        """A size on a logarithmic scale, rounded the way that models' sizes are: mostly to multiples of 8, now and then
        not at all.
        """
        value = float(np.exp(self._rng.uniform(np.log(low), np.log(high))))
        multiple = self.one_of(1, 4, 8, 8, 16, 16, 32)
        return int(min(high, max(low, multiple * round(value / multiple))))


def _activation(draw: _Draw) -> nn.Module:
    return draw.one_of(nn.ReLU(), nn.GELU(), nn.Sigmoid(), nn.Tanh(), nn.SiLU(), nn.Identity(), nn.Identity())


def _dense(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    m, k, n = draw.size(1, 512), draw.size(16, 1536), draw.size(16, 1536)
    kind = draw.one_of("linear", "linear", "no_bias", "matmul", "residual")
    x = torch.randn(m, k)
    if kind == "matmul":
        return 2.0 * m * k * n, Function(torch.matmul), (x, torch.randn(k, n))
    if kind == "residual":
        linear = nn.Linear(k, n)
        return 2.0 * m * k * n, Function(lambda x, y: linear(x) + y, linear), (x, torch.randn(m, n))
    return 2.0 * m * k * n, nn.Sequential(nn.Linear(k, n, bias=kind == "linear"), _activation(draw)), (x,)


def _batch_matmul(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    b, m, k, n = draw.size(2, 32), draw.size(8, 256), draw.size(16, 256), draw.size(8, 256)
    x = torch.randn(b, m, k)
    if draw.one_of(True, False):
        return 2.0 * b * m * k * n, Function(torch.bmm), (x, torch.randn(b, k, n))
    return (
        2.0 * b * m * k * n,
        Function(lambda x, y: torch.bmm(x, y.transpose(1, 2)) * 0.125),
        (x, torch.randn(b, n, k)),
    )


def _conv(
    draw: _Draw, make: type, dims: int, channels: tuple[int, int], space: tuple[int, int], groups: int = 1
) -> tuple[float, nn.Module, tuple]:
    step = groups if groups > 1 else 1
    c, o = (step * max(1, draw.size(*channels) // step) for _ in range(2))
    size, kernel, stride = draw.size(*space), draw.one_of(1, 3, 3, 3, 5, 7), draw.one_of(1, 1, 1, 2)
    dilation = draw.one_of(1, 1, 1, 1, 2) if kernel == 3 else 1
    conv = make(c, o, kernel, stride, dilation * (kernel // 2), dilation, groups=groups)
    x = torch.randn(draw.one_of(1, 1, 1, 2, 4), c, *[size] * dims)
    flops = 2.0 * x.shape[0] * c * o / groups * kernel**dims * (size / stride) ** dims
    return flops, nn.Sequential(conv, draw.one_of(nn.ReLU(), nn.ReLU6(), nn.SiLU(), nn.Identity())), (x,)


def _conv2d(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    return _conv(draw, nn.Conv2d, 2, (3, 256), (6, 96))


def _group_conv2d(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    return _conv(draw, nn.Conv2d, 2, (16, 128), (7, 56), draw.one_of(2, 4, 8, 16))


def _conv1d(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    return _conv(draw, nn.Conv1d, 1, (8, 192), (32, 512))


def _conv3d(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    return _conv(draw, nn.Conv3d, 3, (3, 32), (5, 24))


def _depthwise_conv2d(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    c, size, kernel, stride = draw.size(8, 384), draw.size(6, 80), draw.one_of(3, 3, 5, 7), draw.one_of(1, 1, 2)
    conv = nn.Conv2d(c, c, kernel, stride, kernel // 2, groups=c)
    module = nn.Sequential(conv, draw.one_of(nn.ReLU6(), nn.ReLU(), nn.SiLU(), nn.Identity()))
    return 2.0 * c * kernel**2 * (size / stride) ** 2, module, (torch.randn(1, c, size, size),)


def _conv_transpose(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    c, o, size, (kernel, stride) = (
        draw.size(8, 96),
        draw.size(8, 64),
        draw.size(5, 28),
        draw.one_of((2, 2), (4, 2), (3, 2), (3, 1)),
    )
    return (
        2.0 * c * o * kernel**2 * size**2 * stride,
        nn.ConvTranspose2d(c, o, kernel, stride),
        (torch.randn(1, c, size, size),),
    )


def _pooling(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    c, size, kernel, stride = draw.size(8, 256), draw.size(8, 112), draw.one_of(2, 3, 5), draw.one_of(1, 2)
    return (
        float(c * size**2 * kernel**2),
        draw.one_of(nn.MaxPool2d, nn.AvgPool2d)(kernel, stride),
        (torch.randn(1, c, size, size),),
    )


def _softmax(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    rows, columns = draw.size(4, 2048), draw.size(16, 4096)
    function = draw.one_of(torch.softmax, torch.softmax, torch.log_softmax)
    return 20.0 * rows * columns, Function(lambda x: function(x, -1)), (torch.randn(rows, columns),)


def _norm(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    if draw.one_of(True, True, False):
        rows, width = draw.size(4, 1024), draw.size(32, 1536)
        return 20.0 * rows * width, nn.LayerNorm(width), (torch.randn(rows, width),)
    groups = draw.one_of(4, 8, 16)
    channels, size = groups * draw.one_of(1, 2, 4, 8), draw.size(6, 48)
    return 20.0 * channels * size**2, nn.GroupNorm(groups, channels), (torch.randn(1, channels, size, size),)


def _attention(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    heads, length, width = draw.size(2, 16), draw.size(16, 256), draw.one_of(16, 32, 48, 64, 80)
    inputs = tuple(torch.randn(1, heads, length, width) for _ in range(3))
    return 4.0 * heads * length**2 * width, Function(F.scaled_dot_product_attention), inputs


def _reduction(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    kind = draw.one_of("sum", "amax", "mean", "squares")
    if draw.one_of(True, True, False):
        shape, axis = (draw.size(8, 4096), draw.size(8, 4096)), draw.one_of(0, 1, 1)
    else:
        shape, axis = (1, draw.size(16, 512), draw.one_of(7, 8, 14, 16, 28), draw.one_of(7, 8, 14, 16, 28)), (2, 3)
    functions = {"sum": torch.sum, "amax": torch.amax, "mean": torch.mean, "squares": lambda x, axis: (x * x).sum(axis)}
    function = functions[kind]
    return 8.0 * float(np.prod(shape)), Function(lambda x: function(x, axis)), (torch.randn(shape),)


def _elementwise(draw: _Draw) -> tuple[float, nn.Module, tuple]:
    chain = draw.one_of(
        lambda x, y: F.gelu(x + y) * y,
        lambda x, y: torch.sigmoid(x) * torch.tanh(y),
        lambda x, y: F.silu(x) * y,
        lambda x, y: F.relu(x - y) + 1,
        lambda x, y: (x * y).clamp(-1, 1),
        lambda x, y: torch.exp(-x.abs()) / (1 + y * y),
    )
    shape = draw.one_of(
        (draw.size(4, 1024), draw.size(16, 1024)), (1, draw.size(8, 128), draw.size(7, 56), draw.size(7, 56))
    )
    return 20.0 * float(np.prod(shape)), Function(chain), (torch.randn(shape), torch.randn(shape))


# family -> (weight, how to draw)
_FAMILIES: dict[str, tuple[int, Callable[[_Draw], tuple[float, nn.Module, tuple]]]] = {
    "dense": (22, _dense),
    "conv2d": (22, _conv2d),
    "batch_matmul": (7, _batch_matmul),
    "depthwise_conv2d": (8, _depthwise_conv2d),
    "group_conv2d": (4, _group_conv2d),
    "conv1d": (4, _conv1d),
    "conv3d": (4, _conv3d),
    "conv_transpose": (4, _conv_transpose),
    "pooling": (7, _pooling),
    "softmax": (7, _softmax),
    "norm": (8, _norm),
    "attention": (4, _attention),
    "reduction": (10, _reduction),
    "elementwise": (3, _elementwise),
}


def random_entries(num: int, seed: int, families: tuple[str, ...]) -> Iterator[ZooEntry]:
    """Random workloads of the families that can be drawn from.

    Args:
        num: how many.
        seed: of the shapes; a larger `num` goes on where a smaller one ends.
        families: to draw from; none are drawn if none of them can be.
    """
    known = [f for f in _FAMILIES if f in families]
    if not known:
        return
    weights = np.array([_FAMILIES[f][0] for f in known], float)
    rng = np.random.default_rng(seed)
    for i in range(num):
        family = known[rng.choice(len(known), p=weights / weights.sum())]
        flops = np.inf
        while flops > MAX_FLOPS:
            flops, module, inputs = _FAMILIES[family][1](_Draw(rng))
        yield ZooEntry(f"{family}/random{seed}_{i}", family, module.eval(), inputs)
