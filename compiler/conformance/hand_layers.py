"""Programs by hand: whole layers, attention and pooling."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch.nn import functional as F

from foretune.compiler.conformance.kind import b, n, x


def layers() -> Iterator[tuple]:
    """Whole layers."""
    yield "linear", lambda x, w, b: F.linear(x, w, b), x(3, 8), x(6, 8), x(6)
    yield "linear, relu", lambda x, w, b: F.relu(F.linear(x, w, b)), x(3, 8), x(6, 8), x(6)
    yield "linear, gelu, linear", lambda x, v, w: F.linear(F.gelu(F.linear(x, v)), w), x(3, 8), x(6, 8), x(8, 6)
    yield "conv1d", lambda x, w: F.conv1d(x, w, padding=1), x(1, 3, 8), x(4, 3, 3)
    yield "conv2d", lambda x, w, b: F.relu(F.conv2d(x, w, b, padding=1)), x(1, 3, 6, 6), x(4, 3, 3, 3), x(4)
    yield "conv2d of groups", lambda x, w: F.conv2d(x, w, groups=2, stride=2), x(1, 4, 6, 6), x(4, 2, 3, 3)
    yield "conv2d, dilated", lambda x, w: F.conv2d(x, w, dilation=2), x(1, 3, 6, 6), x(4, 3, 2, 2)
    yield "conv3d", lambda x, w: F.conv3d(x, w), x(1, 2, 4, 4, 4), x(3, 2, 2, 2, 2)
    yield (
        "conv_transpose2d",
        lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1),
        x(1, 3, 4, 4),
        x(3, 4, 3, 3),
    )
    yield "layer norm", lambda x, w, b: F.layer_norm(x, (8,), w, b), x(3, 8), x(8), x(8)
    yield "group norm", lambda x, w, b: F.group_norm(x, 2, w, b), x(2, 4, 3, 3), x(4), x(4)
    yield "instance norm", lambda x: F.instance_norm(x), x(2, 4, 3, 3)
    yield "rms norm", lambda x, w: F.rms_norm(x, (8,), w), x(3, 8), x(8)
    yield "batch norm", lambda x, m, v: F.batch_norm(x, m, v.abs()), x(2, 4, 3, 3), x(4), x(4)

    def training(x, mean, variance):
        return F.batch_norm(x, mean, variance, training=True, momentum=0.1)

    yield "batch norm in training", training, x(4, 3, 3, 3), x(3), x(3).abs()
    yield (
        "conv, batch norm, relu",
        lambda x, w, m, v: F.relu(F.batch_norm(F.conv2d(x, w), m, v.abs())),
        x(1, 3, 6, 6),
        x(4, 3, 3, 3),
        x(4),
        x(4),
    )
    yield "local response norm", lambda x: F.local_response_norm(x, 2), x(2, 4, 3, 3)
    yield "glu", lambda x: (F.glu(x), F.silu(x[:, :4]) * x[:, 4:]), x(3, 8)
    yield "rotary", lambda x, c, s: x * c + torch.cat([-x[..., 4:], x[..., :4]], -1) * s, x(2, 3, 8), x(3, 8), x(3, 8)
    yield (
        "pad",
        lambda x: (F.pad(x, (1, 2)), F.pad(x, (-1, 1), value=2.0), F.pad(x, (1, 1, 1, 0), value=-math.inf)),
        x(3, 8),
    )
    yield (
        "pad by reflection",
        lambda x: (F.pad(x, (1, 1), "reflect"), F.pad(x, (1, 1), "replicate"), F.pad(x, (1, 1), "circular")),
        x(2, 3, 8),
    )
    yield (
        "interpolate",
        lambda x: (F.interpolate(x, scale_factor=2), F.interpolate(x, size=(5, 7), mode="bilinear")),
        x(1, 2, 4, 4),
    )
    yield (
        "interpolate, cubic",
        lambda x: (F.interpolate(x, size=(7, 5), mode="bicubic"), F.interpolate(x, scale_factor=0.5)),
        x(1, 2, 4, 4),
    )
    yield (
        "interpolate, corners",
        lambda x: F.interpolate(x, size=(7, 5), mode="bilinear", align_corners=True),
        x(1, 2, 4, 4),
    )
    yield "pixel shuffle", lambda x: (F.pixel_shuffle(x, 2), F.pixel_unshuffle(x, 2)), x(1, 4, 4, 4)
    yield "unfold", lambda x: F.unfold(x, 2), x(1, 2, 4, 4)
    yield "affine grid", lambda t: F.affine_grid(t, [1, 1, 3, 4], align_corners=False), x(1, 2, 3)
    yield "grid sample", lambda x, g: F.grid_sample(x, g, align_corners=False), x(1, 2, 4, 4), x(1, 3, 3, 2)
    yield "lstm cell", _lstm_cell, x(2, 4), x(2, 4), x(2, 4), x(16, 4), x(16, 4)
    yield "meshgrid", lambda x, y: torch.meshgrid(x, y, indexing="ij"), x(3), x(4)
    yield (
        "shapes",
        lambda x: (x.repeat(2, 3), x.repeat_interleave(2, 0), x.roll(1, 0), x.flip(0), x.unfold(0, 2, 1)),
        x(3, 4),
    )
    yield (
        "cat and stack",
        lambda x, y: (torch.cat([x, y]), torch.stack([x, y], 1), torch.cat([x, y, x], -1)),
        x(3, 4),
        x(3, 4),
    )
    yield "cat of types", lambda x, y: torch.cat([x, y]) * 2, x(3, 4), n(3, 4)


def _lstm_cell(x, h, c, w, v):
    a, f, g, o = (F.linear(x, w) + F.linear(h, v)).chunk(4, 1)
    c = f.sigmoid() * c + a.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def attention() -> Iterator[tuple]:
    """Rows without any key give zeros."""
    q, k, v = x(1, 2, 4, 8), x(1, 2, 5, 8), x(1, 2, 5, 8)
    attend = F.scaled_dot_product_attention
    yield "plain", lambda q, k, v: attend(q, k, v), q, k, v
    yield "causal", lambda q, k, v: attend(q, k, v, is_causal=True), q, q, q
    yield "mask of bools", lambda q, k, v, m: attend(q, k, v, m), q, k, v, b(4, 5)
    yield "mask of floats", lambda q, k, v, m: attend(q, k, v, m), q, k, v, x(4, 5)
    yield "keys of bools", lambda q, k, v, m: attend(q, k, v, m[:, None, None]), q, k, v, b(1, 5)
    yield "scaled", lambda q, k, v: attend(q, k, v, scale=0.5), q, k, v
    yield "grouped", lambda q, k, v: attend(q, k, v, enable_gqa=True), x(1, 4, 4, 8), k, v
    yield "by hand", lambda q, k, v, m: (q @ k.mT / 8**0.5).masked_fill(m, -math.inf).softmax(-1) @ v, q, k, v, b(4, 5)
    yield (
        "by hand, safe",
        lambda q, k, m: (q @ k.mT).masked_fill(m, -math.inf).softmax(-1).nan_to_num(0.0),
        q,
        k,
        b(4, 5),
    )


def pools() -> Iterator[tuple]:
    """Pooling of NaN and -inf, in corners and padding."""
    p = x(1, 2, 6, 6)
    yield "max_pool2d", lambda x: F.max_pool2d(x, 2), p
    yield "max_pool2d, padded", lambda x: F.max_pool2d(x, 3, 2, 1), p
    yield "max_pool2d, ceil", lambda x: F.max_pool2d(x, 4, 3, ceil_mode=True), p
    yield "max_pool2d with indices", lambda x: F.max_pool2d(x, 2, return_indices=True), p
    yield "max_pool1d", lambda x: F.max_pool1d(x, 2), x(1, 2, 6)
    yield "max_pool3d", lambda x: F.max_pool3d(x, 2), x(1, 2, 4, 4, 4)
    yield "max_pool2d, dilated", lambda x: F.max_pool2d(x, 2, dilation=2), p
    yield "avg_pool2d", lambda x: F.avg_pool2d(x, 2), p
    yield "avg_pool2d, padded", lambda x: F.avg_pool2d(x, 3, 2, 1), p
    yield "avg_pool2d, ceil", lambda x: F.avg_pool2d(x, 4, 3, 1, ceil_mode=True, count_include_pad=False), p
    yield "avg_pool1d", lambda x: F.avg_pool1d(x, 3, 2, 1), x(1, 2, 6)
    yield "avg_pool3d", lambda x: F.avg_pool3d(x, 2), x(1, 2, 4, 4, 4)
    yield "adaptive_avg_pool2d", lambda x: (F.adaptive_avg_pool2d(x, 1), F.adaptive_avg_pool2d(x, (4, 5))), p
    yield "adaptive_max_pool2d", lambda x: F.adaptive_max_pool2d(x, 2), p
    yield "adaptive_avg_pool1d", lambda x: F.adaptive_avg_pool1d(x, 4), x(1, 2, 6)
    yield "lp_pool2d", lambda x: F.lp_pool2d(x, 2, 2), p
