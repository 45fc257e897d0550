"""ZooEntry: one program of the workload zoo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn


class Function(nn.Module):
    """A function as a module; `parts` are the modules that it calls."""

    def __init__(self, function: Callable, *parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(parts)

    def forward(self, *inputs):
        return self.function(*inputs)


@dataclass(frozen=True)
class ZooEntry:
    """One program of the zoo; it may give several tasks."""

    name: str
    family: str
    module: nn.Module
    inputs: tuple[torch.Tensor, ...]
