"""Kind values, on which programs are compiled."""

from __future__ import annotations

import torch


def x(*shape: int) -> torch.Tensor:
    """Kind values in float32."""
    return torch.randn(shape)


def n(*shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    """Kind integers: neither zero nor large."""
    return torch.randint(1, 5, shape, dtype=dtype)


def i(*indices: int) -> torch.Tensor:
    """Legal indices."""
    return torch.tensor(indices)


def b(*shape: int) -> torch.Tensor:
    """True and False."""
    return torch.rand(shape) > 0.5


def work(y: torch.Tensor) -> torch.Tensor:
    """Something for TVM to do, right for every value."""
    return torch.exp(y) + 2
