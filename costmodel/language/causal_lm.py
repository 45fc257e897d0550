"""A language model as its GGUF file has it: read, dequantised, and run in PyTorch, to adapt it and to score answers.

It serves the architectures `llama` and `qwen2` (RMSNorm, rotary positions, grouped attention, SwiGLU). Weights keep the
file's own names and order of rows, so that low-rank changes can be written back under those names. All weights are
frozen; what is trained are the low-rank changes beside them (Hu et al., "LoRA: Low-Rank Adaptation of Large Language
Models", 2021).

T tokens, P tokens before them, D width, H heads, G groups of keys and values, C width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from foretune.errors import ModelError, UnsupportedError
from foretune.support.optional import require

ARCHITECTURES = ("llama", "qwen2")
PROJECTIONS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
Past = list[tuple[Tensor, Tensor]]
"""Keys and values of each block, [G, P, C] float32."""


@dataclass(frozen=True)
class CausalLmConfig:
    """What a file says of its model.

    Attributes:
        architecture: of `ARCHITECTURES`.
        blocks, width, heads, groups: of the network.
        frequency, epsilon: of the rotary positions and of the norms.
        context: most tokens.
        end: token that ends an answer.
    """

    architecture: str
    blocks: int
    width: int
    heads: int
    groups: int
    frequency: float
    epsilon: float
    context: int
    end: int


class Projection(nn.Module):
    """A frozen matrix, and the low-rank change beside it, if there is any."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)  # [out, in]
        self.register_buffer("bias", bias, persistent=False)
        self.a: nn.Parameter | None = None  # [R, in]
        self.b: nn.Parameter | None = None  # [out, R]
        self.scale = 1.0

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight, self.bias)  # [T, out]
        return y if self.a is None or self.b is None else y + self.scale * F.linear(F.linear(x, self.a), self.b)


class Block(nn.Module):
    """Attention and a gated network."""

    attn_norm: Tensor
    ffn_norm: Tensor

    def __init__(self, tensors: dict[str, Tensor], prefix: str, config: CausalLmConfig) -> None:
        super().__init__()
        self._config = config
        self.projections = nn.ModuleDict(
            {
                name: Projection(tensors.pop(f"{prefix}{name}.weight"), tensors.pop(f"{prefix}{name}.bias", None))
                for name in PROJECTIONS
            }
        )
        for name in ("attn_norm", "ffn_norm"):
            self.register_buffer(name, tensors.pop(f"{prefix}{name}.weight"), persistent=False)

    def projection(self, name: str) -> Projection:
        """One of `PROJECTIONS`."""
        return cast("Projection", self.projections[name])

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        p, config = self.projections, self._config
        y = _normed(x, self.attn_norm, config.epsilon)  # [T, D]
        q, k, v = (
            p[name](y).unflatten(1, (n, -1)).transpose(0, 1)
            for name, n in (("attn_q", config.heads), ("attn_k", config.groups), ("attn_v", config.groups))
        )
        q, k = _turned(q, turn, config.architecture), _turned(k, turn, config.architecture)  # [H, T, C], [G, T, C]
        mask = None
        if past is not None:
            k, v = torch.cat([past[0], k], 1), torch.cat([past[1], v], 1)  # [G, P + T, C]
            mask = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(k.shape[1] - q.shape[1])
        shared = config.heads // config.groups
        keys, values = (t.repeat_interleave(shared, 0)[None] for t in (k, v))  # [1, H, P + T, C]
        seen = F.scaled_dot_product_attention(q[None], keys, values, attn_mask=mask, is_causal=mask is None)[
            0
        ]  # [H, T, C]
        x = x + p["attn_output"](seen.transpose(0, 1).flatten(1))  # [T, D]
        y = _normed(x, self.ffn_norm, config.epsilon)
        return x + p["ffn_down"](F.silu(p["ffn_gate"](y)) * p["ffn_up"](y)), (k, v)


class CausalLm(nn.Module):
    """The network.

    Args:
        config: of the file.
        tensors: by the file's names; float32. They are taken out.

    Raises:
        UnsupportedError: there are tensors that it has no use for, so that its answers would be wrong.
    """

    embedding: Tensor
    norm: Tensor
    head: Tensor
    blocks: Sequence[Block]

    def __init__(self, config: CausalLmConfig, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.config = config
        try:
            self.register_buffer("embedding", tensors.pop("token_embd.weight"), persistent=False)
            self.register_buffer("norm", tensors.pop("output_norm.weight"), persistent=False)
            self.register_buffer("head", tensors.pop("output.weight", self.embedding), persistent=False)
            blocks = nn.ModuleList(Block(tensors, f"blk.{i}.", config) for i in range(config.blocks))
            self.blocks = cast("Sequence[Block]", blocks)
        except KeyError as error:
            raise ModelError(f"the language model lacks the tensor {error}") from error
        if tensors:
            raise UnsupportedError(
                f"models of architecture {config.architecture} with the tensor {next(iter(tensors))!r} cannot be"
                " adapted"
            )

    def enter(self, tokens: Sequence[int]) -> Tensor:
        """Tokens as the first block gets them: [T, D]."""
        return self.embedding[torch.tensor(tokens)]

    def run(self, x: Tensor, first: int = 0, last: int | None = None, past: Past | None = None) -> tuple[Tensor, Past]:
        """Runs some of the blocks.

        Args:
            x: [T, D] float32.
            first, last: which blocks.
            past: keys and values of the tokens before.

        Returns:
            ([T, D], keys and values of these blocks, those before among them).
        """
        start = past[0][0].shape[1] if past else 0
        turn = self._turn(start, x.shape[0])
        found: Past = []
        for i, block in enumerate(self.blocks[first:last]):
            x, kept = block(x, turn, past[i] if past else None)
            found.append(kept)
        return x, found

    def log_likelihoods(self, x: Tensor, following: Sequence[int]) -> Tensor:
        """Log-likelihood of the token that follows each position: [T, D] after the last block -> [T]; higher is
        better.
        """
        logits = F.linear(_normed(x, self.norm, self.config.epsilon), self.head)  # [T, V]
        return -F.cross_entropy(logits, torch.tensor(following), reduction="none")

    def _turn(self, start: int, num: int) -> tuple[Tensor, Tensor]:
        width = self.blocks[0].projection("attn_q").weight.shape[0] // self.config.heads
        rates = self.config.frequency ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)  # [C / 2]
        angles = torch.outer(torch.arange(start, start + num, dtype=torch.float64), rates)  # [T, C / 2]
        return angles.cos().float(), angles.sin().float()


def _normed(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return F.rms_norm(x, weight.shape, weight, epsilon)


def _turned(x: Tensor, turn: tuple[Tensor, Tensor], architecture: str) -> Tensor:
    """Rotary positions; GGUF has the rows of `llama` ordered so that neighbours turn together, those of others so that
    halves do.
    """
    cos, sin = turn
    if architecture == "llama":
        u, v = x[..., 0::2], x[..., 1::2]  # [H, T, C / 2]
        return torch.stack([u * cos - v * sin, u * sin + v * cos], -1).flatten(-2)
    u, v = x.chunk(2, -1)
    return torch.cat([u * cos - v * sin, u * sin + v * cos], -1)


def read_gguf(path: Path) -> CausalLm:
    """Reads a model, dequantised.

    Raises:
        UnsupportedError: the `gguf` package is missing, or the model is of another architecture.
        ModelError: the file is none, or damaged.
    """
    gguf = import_gguf()
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"GGUF":
                raise ModelError(f"{path} is no GGUF file")
        reader = gguf.GGUFReader(path)
        config = _config(
            path,
            {
                name: field.contents()
                for name, field in reader.fields.items()
                if not name.startswith(("tokenizer.ggml.t", "tokenizer.ggml.m"))
            },
        )
        tensors = {
            t.name: torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors
        }
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnsupportedError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, NotImplementedError) as error:
        raise ModelError(f"{path} is damaged or holds no language model: {type(error).__name__}: {error}") from error
    return CausalLm(config, tensors)


def _config(path: Path, fields: dict[str, Any]) -> CausalLmConfig:
    architecture = fields["general.architecture"]
    if architecture not in ARCHITECTURES or fields.get("general.type", "model") != "model":
        raise UnsupportedError(
            f"a language model of architecture {' or '.join(ARCHITECTURES)} can be adapted, but {path} is a"
            f" {fields.get('general.type', 'model')} of {architecture!r}"
        )
    own = {name.removeprefix(f"{architecture}."): value for name, value in fields.items()}
    heads, width = int(own["attention.head_count"]), int(own["embedding_length"])
    scaling, turned = own.get("rope.scaling.type", "none"), own.get("rope.dimension_count", width // heads)
    if scaling != "none" or turned != own.get("attention.key_length", width // heads):
        raise UnsupportedError(
            f"{path} has rotary positions of another kind (scaling {scaling!r}, {turned} dimensions)"
        )
    return CausalLmConfig(
        architecture,
        int(own["block_count"]),
        width,
        heads,
        int(own.get("attention.head_count_kv", heads)),
        float(own.get("rope.freq_base", 10_000.0)),
        float(own["attention.layer_norm_rms_epsilon"]),
        int(own["context_length"]),
        int(fields["tokenizer.ggml.eos_token_id"]),
    )


def import_gguf() -> Any:
    """The `gguf` package.

    Raises:
        UnsupportedError: it is missing.
    """
    return require("gguf", "the fine-tuning of a language model")
