"""A PyTorch network from the arrays of a model file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


def network_of(make: Callable[[], N], arrays: Mapping[str, np.ndarray]) -> N:
    """A network with the weights of a file. Names and shapes are compared before memory is taken: a file that states a
    huge network, but does not hold one, is refused at once.

    Args:
        make: makes it with fresh weights.
        arrays: name -> weights; those of half precision are widened.

    Raises:
        ValueError: names or shapes differ.
    """
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in make().state_dict().items()}
    found = {name: array.shape for name, array in arrays.items()}
    if wanted != found:
        name = min(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise ValueError(f"`{name}` must have the shape {wanted.get(name)}, but got {found.get(name)}")
    network = make()
    network.load_state_dict({name: torch.from_numpy(_widened(array)) for name, array in arrays.items()})
    return network


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float16 else array
