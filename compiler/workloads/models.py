"""Small models of real architectures, with random weights: the demo's, the zoo's and the benchmarks'."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (ResNet v1)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels_out)
        self.shortcut = nn.Identity()
        if stride != 1 or channels_in != channels_out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """A ResNet with one block a stage."""

    def __init__(self, width: int = 32, stages: int = 3, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        widths = [width * 2**i for i in range(stages)]
        blocks = [ResidualBlock(widths[max(0, i - 1)], w, 1 if i == 0 else 2) for i, w in enumerate(widths)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.out(y.transpose(1, 2).reshape(batch, length, width))


class TransformerBlock(nn.Module):
    """Pre-norm attention and a two-layer perceptron."""

    def __init__(self, width: int, heads: int, causal: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TransformerEncoder(nn.Module):
    """A stack of transformer blocks on embedded inputs."""

    def __init__(self, width: int = 128, heads: int = 4, layers: int = 2, causal: bool = False) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*[TransformerBlock(width, heads, causal) for _ in range(layers)])
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.blocks(x))


class InvertedResidual(nn.Module):
    """Expansion, depthwise and projection convolutions (MobileNet v2)."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, expand: int = 4) -> None:
        super().__init__()
        hidden = channels_in * expand
        self.residual = stride == 1 and channels_in == channels_out
        self.body = nn.Sequential(
            nn.Conv2d(channels_in, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(),
            nn.Conv2d(hidden, channels_out, 1, bias=False), nn.BatchNorm2d(channels_out),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x) if self.residual else self.body(x)


class MobileNet(nn.Module):
    """A short MobileNet v2."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6(),
            InvertedResidual(16, 24, 2), InvertedResidual(24, 24, 1), InvertedResidual(24, 48, 2),
        )  # fmt: skip
        self.head = nn.Linear(48, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean((2, 3)))


class UNet(nn.Module):
    """One level down, one up, with a skip connection."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, width, 3, 1, 1), nn.ReLU())
        self.middle = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(width, 2 * width, 3, 1, 1), nn.ReLU())
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.out = nn.Conv2d(2 * width, 2, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skip = self.down(x)
        return self.out(torch.cat([skip, self.up(self.middle(skip))], 1))


class ViT(nn.Module):
    """Patch embedding and a transformer."""

    def __init__(self, width: int = 96, patch: int = 8) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.encoder = TransformerEncoder(width, 3, 1)
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class MLPMixer(nn.Module):
    """One mixer layer: perceptrons over tokens, then over channels."""

    def __init__(self, tokens: int = 64, width: int = 96) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.over_tokens = nn.Sequential(nn.Linear(tokens, 2 * tokens), nn.GELU(), nn.Linear(2 * tokens, tokens))
        self.over_channels = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.over_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.over_channels(self.norm2(x))


class DLRM(nn.Module):
    """Embedding tables, a bottom perceptron and pairwise interactions."""

    def __init__(self, tables: int = 4, rows: int = 1000, width: int = 32) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(rows, width) for _ in range(tables))
        self.bottom = nn.Sequential(nn.Linear(13, 64), nn.ReLU(), nn.Linear(64, width), nn.ReLU())
        self.top = nn.Sequential(nn.Linear(width + (tables + 1) ** 2, 64), nn.ReLU(), nn.Linear(64, 1), nn.Sigmoid())

    def forward(self, dense: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        x = self.bottom(dense)
        features = torch.stack([x, *[table(indices[:, i]) for i, table in enumerate(self.tables)]], 1)
        pairs = torch.bmm(features, features.transpose(1, 2)).flatten(1)
        return self.top(torch.cat([x, pairs], 1))


class GraphLayer(nn.Module):
    """A graph convolution with a dense normalised adjacency."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.message, self.own = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, adjacency: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return F.relu(torch.matmul(adjacency, self.message(x)) + self.own(x))


class DiffusionBlock(nn.Module):
    """Group norm, SiLU and convolutions with a time embedding (denoising U-Net)."""

    def __init__(self, width: int = 32, time_width: int = 64) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, width), nn.GroupNorm(8, width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)
        self.time = nn.Linear(time_width, width)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        y = self.conv1(F.silu(self.norm1(x))) + self.time(F.silu(time))[:, :, None, None]
        return x + self.conv2(F.silu(self.norm2(y)))


class LSTMStep(nn.Module):
    """One step of an LSTM cell, written out."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.inputs, self.recurrent = nn.Linear(width, 4 * width), nn.Linear(width, 4 * width)

    def forward(self, x: torch.Tensor, hidden: torch.Tensor, cell: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        i, f, g, o = (self.inputs(x) + self.recurrent(hidden)).chunk(4, 1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(cell), cell


@dataclass(frozen=True)
class ModelCase:
    """A model to build and inputs to call it with.

    Attributes:
        name: for reports.
        make: builds the model; seed torch first.
        inputs: makes the inputs.
    """

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[], tuple[torch.Tensor, ...]]


DEMO_MODELS = (
    ModelCase("resnet", lambda: ResNet(32, 3), lambda: (torch.randn(1, 3, 32, 32),)),
    ModelCase("encoder", lambda: TransformerEncoder(64, 4, 4), lambda: (torch.randn(1, 32, 64),)),
)

ZOO_MODELS = (
    ModelCase("resnet", lambda: ResNet(24, 4), lambda: (torch.randn(2, 3, 48, 48),)),
    ModelCase("mobilenet", MobileNet, lambda: (torch.randn(1, 3, 96, 96),)),
    ModelCase("unet", UNet, lambda: (torch.randn(1, 3, 64, 64),)),
    ModelCase("vit", ViT, lambda: (torch.randn(1, 3, 64, 64),)),
    ModelCase("bert", lambda: TransformerEncoder(192, 6, 1), lambda: (torch.randn(1, 48, 192),)),
    ModelCase("gpt", lambda: TransformerEncoder(160, 5, 1, causal=True), lambda: (torch.randn(1, 80, 160),)),
    ModelCase("mixer", MLPMixer, lambda: (torch.randn(1, 64, 96),)),
    ModelCase("dlrm", DLRM, lambda: (torch.randn(32, 13), torch.randint(0, 1000, (32, 4)))),
    ModelCase("gnn", GraphLayer, lambda: (torch.rand(128, 128), torch.randn(128, 64))),
    ModelCase("diffusion", DiffusionBlock, lambda: (torch.randn(1, 32, 32, 32), torch.randn(1, 64))),
    ModelCase("lstm", LSTMStep, lambda: (torch.randn(8, 128), torch.randn(8, 128), torch.randn(8, 128))),
)
