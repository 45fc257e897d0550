"""Small models of real architectures that the backend is measured on; none of them is in the training data.

The query model answers logical queries over a knowledge graph by embedding them, after Ren and Leskovec, "Beta
Embeddings for Multi-Hop Logical Reasoning in Knowledge Graphs" (2020), with the fuzzy connectives of Chen, Hu and Sun,
"Fuzzy Logic Based Logical Query Answering on Knowledge Graphs" (2022).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from foretune.compiler.workloads.models import (
    DLRM,
    Attention,
    DiffusionBlock,
    InvertedResidual,
    LSTMStep,
    MLPMixer,
    ModelCase,
    ResNet,
    TransformerBlock,
    ViT,
)


class MobileNetV2(nn.Module):
    """Seven inverted residuals."""

    def __init__(self) -> None:
        super().__init__()
        plan = ((16, 24, 2), (24, 24, 1), (24, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 96, 1))
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.body = nn.Sequential(*[InvertedResidual(*row) for row in plan])
        self.head = nn.Linear(96, 100)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.stem(x)).mean((2, 3)))


class DeepUNet(nn.Module):
    """Two levels down and up, with skip connections and batch norm."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width]
        self.down = nn.ModuleList(self._block(a, b) for a, b in zip([3, *widths], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, 2) for w in widths[:-1])
        self.merge = nn.ModuleList(self._block(2 * w, w) for w in widths[:-1])
        self.out = nn.Conv2d(width, 2, 1)

    @staticmethod
    def _block(channels_in: int, channels_out: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels_in, channels_out, 3, 1, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for i, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if i else x)
            skips.append(x)
        for i in reversed(range(len(self.up))):
            x = self.merge[i](torch.cat([skips[i], self.up[i](x)], 1))
        return self.out(x)


class Bert(nn.Module):
    """Token and position embeddings, padding mask, encoder blocks, pooled output."""

    def __init__(self, width: int = 128, heads: int = 4, layers: int = 3, words: int = 1000, length: int = 64) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Parameter(torch.randn(length, width) * 0.02)
        layer = {
            "d_model": width,
            "nhead": heads,
            "dim_feedforward": 4 * width,
            "activation": "gelu",
            "batch_first": True,
        }
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(**layer) for _ in range(layers))
        self.pool = nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        x = self.words(tokens) + self.places
        mask = torch.zeros_like(padding, dtype=x.dtype).masked_fill(padding, float("-inf"))
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=mask)
        return torch.tanh(self.pool(x[:, 0]))


class CachedAttention(nn.Module):
    """Attention of one new token to a cache of keys and values, which it is written into."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        batch, _, width = x.shape
        query, key, value = self.qkv(x).view(batch, 1, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        keys.index_copy_(2, place, key)
        values.index_copy_(2, place, value)
        seen = torch.arange(keys.shape[2]) <= place
        return self.out(
            F.scaled_dot_product_attention(query, keys, values, attn_mask=seen[None])
            .transpose(1, 2)
            .reshape(batch, 1, width)
        )


class GptStep(nn.Module):
    """A GPT-style decoder that makes one token, with a cache of keys and values changed in place."""

    def __init__(self, width: int = 128, heads: int = 4, layers: int = 3, words: int = 1000) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.norms = nn.ModuleList(nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)]) for _ in range(layers))
        self.attention = nn.ModuleList(CachedAttention(width, heads) for _ in range(layers))
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)) for _ in range(layers)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words, bias=False)
        self.head.weight = self.words.weight

    def forward(
        self, token: torch.Tensor, place: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        x = self.words(token)
        for i, (norms, attention, mlp) in enumerate(zip(self.norms, self.attention, self.mlps)):
            before, between = cast("nn.ModuleList", norms)
            x = x + attention(before(x), keys[i], values[i], place)
            x = x + mlp(between(x))
        return self.head(self.norm(x))


class Lstm(nn.Module):
    """An LSTM over a sequence, unrolled, and a classifier."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.step, self.head = LSTMStep(width), nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = cell = x.new_zeros(x.shape[0], x.shape[2])
        for i in range(x.shape[1]):
            hidden, cell = self.step(x[:, i], hidden, cell)
        return self.head(hidden)


class Mixer(nn.Module):
    """Three mixer layers on patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 80, 8, 8)
        self.layers, self.head = nn.Sequential(*[MLPMixer(49, 80) for _ in range(3)]), nn.Linear(80, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layers(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


class GraphIsomorphismLayer(nn.Module):
    """Sums messages along the edges of a sparse graph."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        messages = F.relu(x[edges[0]])
        return self.norm(x + self.mlp(x + torch.zeros_like(x).index_add(0, edges[1], messages)))


class Gnn(nn.Module):
    """Two layers of a graph isomorphism network and a readout."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.first, self.second, self.head = (
            GraphIsomorphismLayer(width),
            GraphIsomorphismLayer(width),
            nn.Linear(width, 4),
        )

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(x, edges), edges).mean(0))


class DiffusionUNetBlock(nn.Module):
    """Two residual blocks with time embedding, and attention over the picture between them."""

    def __init__(self, width: int = 40) -> None:
        super().__init__()
        self.first, self.second = DiffusionBlock(width, 64), DiffusionBlock(width, 64)
        self.norm, self.attention = nn.GroupNorm(8, width), Attention(width, 4)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        x = self.first(x, time)
        pixels = self.norm(x).flatten(2).transpose(1, 2)
        x = x + self.attention(pixels).transpose(1, 2).reshape(x.shape)
        return self.second(x, time)


class QueryAnswering(nn.Module):
    """Scores all entities as answers to queries `(e1 -r1-> and e2 -r2-> and not e3 -r3->) -r4-> or e4 -r5->`."""

    def __init__(self, entities: int = 2000, relations: int = 40, width: int = 96) -> None:
        super().__init__()
        self.entities, self.relations = nn.Embedding(entities, width), nn.Embedding(relations, width)
        self.project_mlp = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, width), nn.LayerNorm(width)
        )
        self.weigh = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def project(self, query: torch.Tensor, relation: torch.Tensor) -> torch.Tensor:
        """Follows a relation from a fuzzy set of entities."""
        return torch.sigmoid(self.project_mlp(torch.cat([query, self.relations(relation)], -1)))

    def intersect(self, queries: torch.Tensor) -> torch.Tensor:
        """Weighted product of fuzzy sets [N, batch, width]."""
        weights = torch.softmax(self.weigh(queries), 0)
        return torch.exp((weights * torch.log(queries.clamp_min(1e-6))).sum(0))

    def forward(self, anchors: torch.Tensor, relations: torch.Tensor) -> torch.Tensor:
        starts = torch.sigmoid(self.entities(anchors))
        first, second, third = (self.project(starts[:, i], relations[:, i]) for i in range(3))
        both = self.project(self.intersect(torch.stack([first, second, 1 - third])), relations[:, 3])
        other = self.project(starts[:, 3], relations[:, 4])
        union = both + other - both * other
        return union @ torch.sigmoid(self.entities.weight).t()


class CausalLanguageModel(nn.Module):
    """A GPT-style decoder over a whole prompt."""

    def __init__(self, width: int = 144, heads: int = 4, layers: int = 2, words: int = 500) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.blocks = nn.Sequential(*[TransformerBlock(width, heads, causal=True) for _ in range(layers)])
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, words)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.words(tokens))))


def _gpt_step_inputs() -> tuple[torch.Tensor, ...]:
    keys, values = torch.randn(2, 3, 1, 4, 96, 32)
    return torch.randint(1000, (1, 1)), torch.tensor([40]), keys, values


BENCHMARK_MODELS = (
    ModelCase("resnet", lambda: ResNet(20, 4, 100), lambda: (torch.randn(1, 3, 64, 64),)),
    ModelCase("mobilenet", MobileNetV2, lambda: (torch.randn(1, 3, 128, 128),)),
    ModelCase("unet", DeepUNet, lambda: (torch.randn(1, 3, 72, 72),)),
    ModelCase("vit", lambda: ViT(144, 8), lambda: (torch.randn(1, 3, 72, 72),)),
    ModelCase("bert", Bert, lambda: (torch.randint(1000, (1, 64)), torch.arange(64)[None] >= 50)),
    ModelCase("gpt_step", GptStep, _gpt_step_inputs),
    ModelCase("gpt_prompt", CausalLanguageModel, lambda: (torch.randint(500, (1, 56)),)),
    ModelCase("lstm", Lstm, lambda: (torch.randn(4, 12, 96),)),
    ModelCase("mixer", Mixer, lambda: (torch.randn(1, 3, 56, 56),)),
    ModelCase("dlrm", lambda: DLRM(6, 2000, 24), lambda: (torch.randn(48, 13), torch.randint(0, 2000, (48, 6)))),
    ModelCase("gnn", Gnn, lambda: (torch.randn(200, 64), torch.randint(200, (2, 800)))),
    ModelCase("diffusion", DiffusionUNetBlock, lambda: (torch.randn(1, 40, 20, 20), torch.randn(1, 64))),
    ModelCase("queries", QueryAnswering, lambda: (torch.randint(2000, (8, 4)), torch.randint(40, (8, 5)))),
)
