"""Programs by hand: order, extremes, sums and products."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch.nn import functional as F

from foretune.compiler.conformance.kind import b, n, x


def order() -> Iterator[tuple]:
    """Order, extremes and positions, with ties and NaN."""
    yield "argmax", lambda x: (x.argmax(), x.argmax(1), x.argmax(0, keepdim=True)), x(4, 6)
    yield "argmin", lambda x: (x.argmin(), x.argmin(1), x.argmin(0, keepdim=True)), x(4, 6)
    yield "max", lambda x: (x.max(), *x.max(1), *x.max(0)), x(4, 6)
    yield "min", lambda x: (x.min(), *x.min(1), *x.min(0)), x(4, 6)
    yield "max values only", lambda x: x.max(1).values * 2, x(4, 6)
    yield "amax and amin", lambda x: (x.amax(), x.amax(1), x.amin((0, 1)), x.amin(0), *x.aminmax()), x(4, 6)
    yield "sort", lambda x: (*x.sort(1), *x.sort(0, descending=True)), x(4, 6)
    yield "stable sort", lambda x: (*x.sort(1, stable=True), x.argsort(1, stable=True)), x(4, 6)
    yield "topk", lambda x: (*x.topk(3), *x.topk(2, largest=False)), x(4, 6)
    yield "topk values", lambda x: x.topk(3).values * 2, x(4, 6)
    yield "median", lambda x: (x.median(), *x.median(1)), x(4, 6)
    yield "nanmedian", lambda x: x.nanmedian(), x(4, 6)
    yield "kthvalue", lambda x: x.kthvalue(2), x(4, 6)
    yield "mode", lambda x: x.mode(1), n(4, 6)
    yield "cummax", lambda x: (*x.cummax(1), *x.cummin(0)), x(4, 6)
    yield "integers' order", lambda x: (x.argmax(1), *x.max(1), *x.sort(1, stable=True), *x.topk(2)), n(4, 6)
    yield "count_nonzero", lambda x: (x.count_nonzero(), x.count_nonzero(1)), x(4, 6)
    yield "any and all", lambda x: (x.any(), x.all(), x.any(1), x.all(0)), x(4, 6)
    yield "unique_consecutive flags", lambda x: x[:, 1:] != x[:, :-1], x(4, 6)
    yield "max of computed", lambda x, y: (x * y).max(1), x(4, 6), x(4, 6)


def sums() -> Iterator[tuple]:
    """Reductions and statistics."""
    yield "sum", lambda x: (x.sum(), x.sum(1), x.sum((0, 1)), x.sum(0, keepdim=True)), x(4, 6)
    yield "mean", lambda x: (x.mean(), x.mean(1), x.mean((0, 1), keepdim=True)), x(4, 6)
    yield "nansum", lambda x: (x.nansum(), x.nanmean(1)), x(4, 6)
    yield "std", lambda x: (x.std(), x.std(1), x.std(0, correction=0)), x(4, 6)
    yield "var", lambda x: (x.var(), x.var(1), x.var(0, correction=0), *torch.var_mean(x, 1)), x(4, 6)
    yield "std of a row", lambda x: (x.std(0), x.var(0)), x(1, 6)
    yield "prod", lambda x: (x.prod(), x.prod(1)), x(4, 6)
    yield (
        "norm",
        lambda x: (x.norm(), x.norm(dim=1), torch.linalg.vector_norm(x, math.inf), torch.linalg.vector_norm(x, 1, 0)),
        x(4, 6),
    )
    yield (
        "norm by zeros",
        lambda x: (torch.linalg.vector_norm(x, 0), torch.linalg.vector_norm(x, -math.inf, 1)),
        x(4, 6),
    )
    yield "logsumexp", lambda x: (x.logsumexp(1), x.logsumexp((0, 1))), x(4, 6)
    yield "softmax", lambda x: (x.softmax(-1), x.log_softmax(-1), x.softmax(0)), x(4, 6)
    yield "softmin", lambda x: F.softmin(x, -1), x(4, 6)
    yield "normalize", lambda x: F.normalize(x, dim=1), x(4, 6)
    yield "cosine", lambda x, y: F.cosine_similarity(x, y, 1), x(4, 6), x(4, 6)
    yield (
        "losses",
        lambda x, y: (F.mse_loss(x, y), F.l1_loss(x, y), F.smooth_l1_loss(x, y), F.huber_loss(x, y)),
        x(4, 6),
        x(4, 6),
    )
    yield (
        "more losses",
        lambda x, y: (F.binary_cross_entropy_with_logits(x, y), F.kl_div(x, y), F.soft_margin_loss(x, y)),
        x(4, 6),
        x(4, 6),
    )
    yield "cumsum", lambda x: (x.cumsum(0), x.cumsum(1), x.cumprod(0), x.logcumsumexp(1)), x(4, 6)
    yield "trace", lambda x: (x.trace(), x.diagonal().sum(), x.tril().sum(), x.triu(1).sum()), x(4, 4)
    yield "products", lambda x, y: (x @ y, x.t() @ x, torch.outer(x[0], y[0]), torch.dot(x[0], x[1])), x(4, 4), x(4, 4)
    yield (
        "baddbmm",
        lambda x, y, z: (torch.baddbmm(z, x, y), torch.baddbmm(z, x, y, beta=0), torch.baddbmm(z, x, y, alpha=0.5)),
        x(2, 3, 4),
        x(2, 4, 3),
        x(2, 3, 3),
    )
    yield (
        "addmm",
        lambda x, y, z: (torch.addmm(z, x, y), torch.addmm(z, x, y, beta=0), torch.addmm(z, x, y, alpha=0)),
        x(3, 4),
        x(4, 3),
        x(3, 3),
    )
    yield (
        "einsum",
        lambda x, y: (torch.einsum("ij,kj->ik", x, y), torch.einsum("ij,ij->i", x, y), torch.einsum("ii->i", x)),
        x(4, 4),
        x(4, 4),
    )
    yield "product with itself", lambda x: (x @ x.t(), x.t() @ x), x(4, 6)
    yield "masked mean", lambda x, m: (x * m).sum(1) / m.sum(1), x(4, 6), b(4, 6)
