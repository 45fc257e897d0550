"""Models of real sizes that are trained, each with a loss and a batch; weights and data are random."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from foretune.compiler.workloads.models import ResidualBlock, TransformerEncoder

Batch = tuple[torch.Tensor, torch.Tensor]


class LanguageModel(nn.Module):
    """Embedded tokens, a stack of transformer blocks, and scores of the next or the hidden token; no dropout, which
    would have Foretune leave the graph with Inductor.
    """

    def __init__(self, width: int, heads: int, layers: int, length: int, vocabulary: int, causal: bool) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.body = TransformerEncoder(width, heads, layers, causal)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores [B, L, V] of tokens [B, L]."""
        places = torch.arange(x.shape[1], device=x.device)
        return self.head(self.body(self.tokens(x) + self.positions(places)))


class ResNet18(nn.Module):
    """ResNet v1 with two blocks in each of four stages."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        widths = [width * 2**i for i in range(4)]
        self.blocks = nn.Sequential(
            *[
                ResidualBlock(widths[max(0, i - 1)] if j == 0 else w, w, 2 if i and j == 0 else 1)
                for i, w in enumerate(widths)
                for j in range(2)
            ]
        )
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores [B, C] of images [B, 3, H, W]."""
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


@dataclass(frozen=True)
class TrainingCase:
    """A model and a batch.

    Attributes:
        name: of the case.
        make: builds the model; seed torch first.
        make_batch: inputs and the classes that they should get.
    """

    name: str
    make: Callable[[], nn.Module]
    make_batch: Callable[[], Batch]

    @staticmethod
    def loss(scores: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """Cross entropy over all but the last dimension; lower is better."""
        return F.cross_entropy(scores.flatten(0, -2), classes.flatten())


def _texts(batch: int, length: int, vocabulary: int) -> Callable[[], Batch]:
    return lambda: (torch.randint(vocabulary, (batch, length)), torch.randint(vocabulary, (batch, length)))


def _images(batch: int, size: int, num_classes: int) -> Callable[[], Batch]:
    return lambda: (torch.randn(batch, 3, size, size), torch.randint(num_classes, (batch,)))


SIZES = {
    "real": (
        TrainingCase("bert-4", lambda: LanguageModel(768, 12, 4, 128, 30_522, False), _texts(4, 128, 30_522)),
        TrainingCase("resnet18", lambda: ResNet18(64, 1000), _images(8, 224, 1000)),
        TrainingCase("gpt2-4", lambda: LanguageModel(768, 12, 4, 128, 50_257, True), _texts(4, 128, 50_257)),
    ),
    "tiny": (
        TrainingCase("bert-4", lambda: LanguageModel(32, 2, 1, 16, 100, False), _texts(2, 16, 100)),
        TrainingCase("resnet18", lambda: ResNet18(4, 10), _images(2, 32, 10)),
        TrainingCase("gpt2-4", lambda: LanguageModel(32, 2, 1, 16, 100, True), _texts(2, 16, 100)),
    ),
}
"""`tiny` is for trying the benchmark itself; its figures say nothing."""
