"""Programs by hand: indices, legal and not, to read and to write with."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch.nn import functional as F

from foretune.compiler.conformance.kind import b, i, n, x


def indices() -> Iterator[tuple]:
    """Indices that the first call has in range and not negative."""
    w = x(10, 4)
    yield "x[i]", lambda x, i: x[i] * 2, w, i(1, 2)
    yield "x[i, j]", lambda x, i, j: x[i, j] + 1, w, i(1, 2), i(1, 2)
    yield "x[:, i]", lambda x, i: x[:, i] * 2, w, i(1, 2)
    yield "x[i, :2]", lambda x, i: x[i, :2] * 2, w, i(1, 2)
    yield "x[i][j]", lambda x, i, j: x[i][j] * 2, w, i(1, 2), i(1, 0)
    yield "x[i] of one", lambda x, i: x[i] * 2, w, torch.tensor(3)
    yield "x[i32]", lambda x, i: x[i] * 2, w, i(1, 2).int()
    yield "x[mask]", lambda x, m: torch.where(m, x, 0.0), w, b(10, 4)
    yield "x[None, i]", lambda x, i: x[None, i] * 2, w, i(1, 2)
    c, places = x(5, 6, 7), (i(1, 2), i(2, 3))
    yield "x[:, i, j]", lambda x, i, j: x[:, i, j] * 2, c, *places
    yield "x[i, :, j]", lambda x, i, j: x[i, :, j] * 2, c, *places
    yield "x[i, None, j]", lambda x, i, j: x[i, None, j] * 2, c, *places
    yield "x[i, j] of a column and a row", lambda x, i, j: x[i[:, None], j] * 2, c, *places
    yield "x[:, i, j] of a column and a row", lambda x, i, j: x[:, i[:, None], j] * 2, c, *places
    yield "x[..., i]", lambda x, i: x[..., i] * 2, c, i(1, 2)
    yield "x[i, 0]", lambda x, i: x[i, 0] * 2, c, i(1, 2)
    yield "x[i, -1:]", lambda x, i: x[i, -1:] * 2, c, i(1, 2)
    yield "x[mask, 0]", lambda x, m: x[torch.where(m, 1, 0), 0] * 2, c, b(3)
    yield "x[i] of integers", lambda x, i: x[i] * 2, n(10, 4), i(1, 2)
    yield "computed index", lambda x, i: x[i * 2 + 1] * 2, w, i(1, 2)
    yield "take", lambda x, i: torch.take(x, i) * 2, w, i(1, 22)
    yield "embedding", lambda x, i: F.embedding(i, x) * 2, w, i(1, 2)
    yield "embedding of rows", lambda x, i: F.embedding(i, x).sum(1), w, n(3, 2)
    yield "embedding of int32", lambda x, i: F.embedding(i, x) * 2, w, i(1, 2).int()
    yield "embedding with padding", lambda x, i: F.embedding(i, x, padding_idx=0) * 2, w, i(1, 0)
    yield (
        "embedding plus positions",
        lambda x, p, i: F.embedding(i, x) + F.embedding(torch.arange(2), p),
        w,
        x(5, 4),
        i(1, 0),
    )
    yield "index_select", lambda x, i: x.index_select(0, i) * 2, w, i(1, 2)
    yield "index_select of columns", lambda x, i: x.index_select(1, i) * 2, w, i(1, 2)
    yield "gather", lambda x, i: x.gather(1, i) * 2, w, torch.zeros(10, 2).long()
    yield "gather of rows", lambda x, i: x.gather(0, i) * 2, w, torch.ones(2, 4).long()
    yield "take_along_dim", lambda x, i: torch.take_along_dim(x, i, 1) * 2, w, torch.zeros(10, 2).long()
    yield "cross entropy", lambda x, t: F.cross_entropy(x, t) * 1.0, w, torch.zeros(10).long()
    yield "cross entropy, each", lambda x, t: F.cross_entropy(x, t, reduction="none"), w, torch.ones(10).long()
    yield "cross entropy of images", lambda x, t: F.cross_entropy(x, t), x(2, 3, 4), torch.ones(2, 4).long()
    yield "nll", lambda x, t: F.nll_loss(x, t), w, torch.ones(10).long()
    yield "nll, ignoring 1", lambda x, t: F.nll_loss(x, t, ignore_index=1), w, torch.arange(10) % 3
    yield "one hot", lambda i: F.one_hot(i, 5) * 2, i(1, 2, 4)
    yield "bucketize", lambda x, e: torch.bucketize(x, e) + 1, x(3, 4), torch.arange(5.0)
    yield "searchsorted", lambda x, e: torch.searchsorted(e, x) + 1, x(3, 4), torch.arange(5.0)
    yield "isin", lambda i, e: torch.isin(i, e), n(3, 4), n(3)
    yield "embedding bag", lambda x, i: F.embedding_bag(i, x, mode="sum") * 2, w, n(3, 2)
    yield "index of a product", lambda x, i: (x @ x.t())[i] * 2, w, i(1, 2)


def scattering() -> Iterator[tuple]:
    """Writing to places that a tensor holds."""
    w, p = x(10, 4), torch.zeros(10, 2).long()
    yield "scatter of a value", lambda x, i: x.scatter(1, i, 5.0) * 2, w, p
    yield "scatter", lambda x, i, s: x.scatter(1, i, s) * 2, w, p[:, :1], x(10, 1)
    yield "scatter_add", lambda x, i, s: x.scatter_add(1, i, s) * 2, w, p, x(10, 2)
    yield "scatter_reduce", lambda x, i, s: x.scatter_reduce(1, i, s, "amax") * 2, w, p, x(10, 2)
    yield "index_copy of a row", lambda x, i, s: x.index_copy(0, i, s) * 2, w, i(1), x(1, 4)
    yield "index_copy", lambda x, i, s: x.index_copy(0, i, s) * 2, w, i(1, 2), x(2, 4)
    yield "index_add", lambda x, i, s: x.index_add(0, i, s) * 2, w, i(1, 2), x(2, 4)
    yield "index_fill", lambda x, i: x.index_fill(0, i, 3.0) * 2, w, i(1, 2)
    yield "index_put", lambda x, i, s: x.index_put((i,), s) * 2, w, i(1, 2), x(2, 4)
    yield "index_put of two", lambda x, i, j, s: x.index_put((i, j), s) * 2, w, i(1, 2), i(1, 2), x(2)
    yield "index_put, adding", lambda x, i, s: x.index_put((i,), s, accumulate=True) * 2, w, i(1, 2), x(2, 4)
    yield "index_put of columns", lambda x, i, s: x.index_put((None, i), s) * 2, w, i(1, 2), x(10, 2)
    yield "masked_fill", lambda x, m: x.masked_fill(m, -math.inf).softmax(-1), w, b(10, 4)
    yield "masked_scatter", lambda x, m, s: x.masked_scatter(m, s) * 2, w, b(10, 4), x(10, 4)
    yield "slice_scatter", lambda x, s: x.slice_scatter(s, 0, 2, 5) * 2, w, x(3, 4)
    yield "select_scatter", lambda x, s: x.select_scatter(s, 0, -1) * 2, w, x(4)

    def cache(k, new, i):
        k.index_copy_(0, i, new)
        return k * 2

    def assign(x, i, s):
        x[i] = s
        return x * 2

    yield "cache", cache, w, x(1, 4), i(3)
    yield "assignment", assign, w, i(1, 2), x(2, 4)
