"""Low-rank adaptation of a language model on questions and answers; the loss is on the answers alone.

Only the last blocks are adapted. What the blocks below make of an example never changes then, and is computed once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from foretune.costmodel.language.causal_lm import CausalLm, Projection, import_gguf
from foretune.costmodel.latent.checkpoint import Checkpoint
from foretune.errors import OptionError
from foretune.support.cache import RecentCache
from foretune.support.files import write_atomically

_STEPS_BETWEEN_CHECKPOINTS = 10
_KEPT_EXAMPLES = 256
_WARM_UP = 0.1  # of the steps


@dataclass(frozen=True)
class LowRankConfig:
    """How a model is adapted.

    Attributes:
        rank: of each change.
        strength: the changes are scaled by this over the rank; LoRA's alpha.
        blocks: the last so many are adapted.
        steps: of training, one example each.
        learning_rate: at its highest.
        seed: of the first weights and of the order.
    """

    rank: int = 8
    strength: float = 16.0
    blocks: int = 8
    steps: int = 60
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rank", "blocks", "steps"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise OptionError(f"`{name} >= 1` must hold and be an integer, but got {name}={getattr(self, name)!r}")
        for name in ("strength", "learning_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise OptionError(f"`{name} > 0` must hold and be finite, but got {name}={getattr(self, name)!r}")


@dataclass(frozen=True)
class TokenExample:
    """A question and its answer, in the model's tokens; the answer ends with the token that ends it."""

    question: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def inputs(self) -> tuple[int, ...]:
        """What the model sees: all but the last token."""
        return (*self.question, *self.answer[:-1])


def attach(model: CausalLm, config: LowRankConfig) -> None:
    """Puts changes that do nothing yet beside the matrices of the last blocks.

    Raises:
        OptionError: the model has fewer blocks.
    """
    if config.blocks > len(model.blocks):
        raise OptionError(
            f"the last {config.blocks} blocks shall be adapted, but the language model has {len(model.blocks)}"
        )
    generator = torch.Generator().manual_seed(config.seed)
    for projection in _adapted(model, config.blocks).values():
        out, width = projection.weight.shape
        projection.a = nn.Parameter(torch.randn(config.rank, width, generator=generator) / math.sqrt(width))
        projection.b = nn.Parameter(torch.zeros(out, config.rank))
        projection.scale = config.strength / config.rank


def adapt(
    model: CausalLm, examples: Sequence[TokenExample], config: LowRankConfig, checkpoint: Path | None = None,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> list[float]:  # fmt: skip
    """Trains the changes that `attach` put there.

    Args:
        model: with changes.
        examples: to learn.
        config: as in `attach`.
        checkpoint: file of the state, written now and then; if it is there, training goes on from it.
        report: called after each step with its number and its loss.

    Returns:
        The loss of each step: mean negative log-likelihood of the answer's tokens.

    Raises:
        ModelError: the checkpoint is damaged, or of other examples or another configuration.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.0, fused=True)
    warm_up = max(1, round(_WARM_UP * config.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, (config.steps - step) / max(1, config.steps - warm_up), 1.0)
    )
    identity = hashlib.sha256(
        json.dumps([asdict(config), asdict(model.config), [asdict(e) for e in examples]]).encode()
    ).hexdigest()
    state = Checkpoint(model, optimizer, schedule, np.random.default_rng(config.seed), identity)
    if checkpoint is not None and checkpoint.exists():
        state.load(checkpoint)
    below: RecentCache[Tensor] = RecentCache(_KEPT_EXAMPLES)
    first = len(model.blocks) - config.blocks
    for step in range(len(state.history), config.steps):
        epoch, place = divmod(step, len(examples))
        example = examples[np.random.default_rng((config.seed, epoch)).permutation(len(examples))[place]]
        x = below.get(example, lambda example=example: _below(model, example, first))
        loss = _loss(model, x, example, first)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        state.add({"loss": loss.item()}, float(step))
        if checkpoint is not None and ((step + 1) % _STEPS_BETWEEN_CHECKPOINTS == 0 or step + 1 == config.steps):
            state.save(checkpoint)
        report(step + 1, loss.item())
    return [figures["loss"] for figures in state.history]


@torch.no_grad()
def _below(model: CausalLm, example: TokenExample, first: int) -> Tensor:
    return model.run(model.enter(example.inputs), 0, first)[0]


def _loss(model: CausalLm, x: Tensor, example: TokenExample, first: int) -> Tensor:
    x, _ = model.run(x, first)
    return -model.log_likelihoods(x[len(example.question) - 1 :], example.answer).mean()


@torch.inference_mode()
def answer_likelihoods(model: CausalLm, question: Sequence[int], answers: Sequence[Sequence[int]]) -> list[float]:
    """Mean log-likelihood of the tokens of each answer to a question; higher is better."""
    x, past = model.run(model.enter(question))
    found = []
    for answer in answers:
        rest = model.run(model.enter(answer[:-1]), past=past)[0] if len(answer) > 1 else x[:0]
        found.append(model.log_likelihoods(torch.cat([x[-1:], rest]), answer).mean().item())
    return found


def write_adapter(model: CausalLm, config: LowRankConfig, folder: Path) -> tuple[Path, Path]:
    """Writes the changes as `adapter.safetensors` and as `adapter.gguf`, which llama.cpp reads; each whole or not at
    all.
    """
    from safetensors.torch import save_file

    gguf = import_gguf()
    tensors = {
        f"{name}.weight.lora_{part}": getattr(p, part).detach().contiguous()
        for name, p in _adapted(model, config.blocks).items()
        for part in "ab"
    }
    header = {
        "schema": "foretune-adapter-1",
        "architecture": model.config.architecture,
        "config": json.dumps(asdict(config)),
    }

    def write_gguf(path: Path) -> None:
        writer = gguf.GGUFWriter(path, model.config.architecture)
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", config.strength)
        for name, tensor in tensors.items():
            writer.add_tensor(name, tensor.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    paths = folder / "adapter.safetensors", folder / "adapter.gguf"
    write_atomically(paths[0], lambda path: save_file(tensors, path, header))
    write_atomically(paths[1], write_gguf)
    return paths


def _adapted(model: CausalLm, num_blocks: int) -> dict[str, Projection]:
    first = len(model.blocks) - num_blocks
    return {
        f"blk.{first + i}.{name}": block.projection(name)
        for i, block in enumerate(model.blocks[first:])
        for name in block.projections
    }
