"""Models of real sizes, built from configurations of `transformers` with random weights; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from foretune.compiler.workloads.models import ModelCase

IMAGE, TOKENS, VOCABULARY = 224, 128, 30_000
_CALIBRATION_RUNS = 3


class FirstOutput(nn.Module):
    """A model of transformers that takes one tensor, and of whose outputs the first one counts."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The first output."""
        return self.model(x).to_tuple()[0]


class NextToken(nn.Module):
    """A step of a decoder: one token more, beside keys and values of those before it, which are random numbers."""

    def __init__(self, model: nn.Module, length: int) -> None:
        super().__init__()
        self.model = model
        config: Any = model.config
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.register_buffer("past", torch.randn(config.num_hidden_layers, 2, 1, heads, length, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The token's hidden state."""
        from transformers import DynamicCache

        past = self.past.expand(-1, -1, len(x), -1, -1, -1)
        cache = DynamicCache([(keys, values) for keys, values in past])
        return self.model(x, cache=cache, use_cache=True).to_tuple()[0]


@dataclass(frozen=True)
class RealModel:
    """An architecture.

    Attributes:
        name: of the case.
        architecture: class of transformers.
        config: class of its configuration; the defaults are the published base model.
        settings: of the configuration that differ from the defaults.
        make_input: batch size -> input.
        part: attribute of the model that is used; all of it, if empty.
        past: tokens before the one of a decoder's step; none, if whole texts are read.
    """

    name: str
    architecture: str
    config: str
    settings: dict[str, Any]
    make_input: Callable[[int], torch.Tensor]
    part: str = ""
    past: int = 0

    def make(self) -> nn.Module:
        """The model with random weights; statistics of batch norms are those of random inputs."""
        import transformers

        config = getattr(transformers, self.config)(**self.settings)
        config.use_cache = False
        model = getattr(transformers, self.architecture)(config)
        if self.past:
            return NextToken(model, self.past).eval()
        made = FirstOutput(getattr(model, self.part) if self.part else model)
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in made.modules()):
            made.train()
            with torch.no_grad():
                for _ in range(_CALIBRATION_RUNS):
                    made(self.make_input(2))
        return made.eval()


class UnderAutocast(nn.Module):
    """A model whose products are in bf16, as autocast says."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As the model's, with bf16 inside."""
        with torch.autocast("cpu", torch.bfloat16):
            return self.model(x)


PRECISIONS = ("float32", "bf16", "autocast")


def cases() -> list[ModelCase]:
    """Each architecture at each batch size and precision, under the names that `case_name` gives."""
    return [
        ModelCase(
            case_name(model.name, batch, precision),
            lambda model=model, precision=precision: _in_precision(model.make(), precision),
            lambda model=model, batch=batch, precision=precision: (_input_in(model.make_input(batch), precision),),
        )
        for model in REAL_MODELS
        for batch in (1, 8)
        for precision in PRECISIONS
    ]


def case_name(model: str, batch: int, precision: str) -> str:
    """The name of a case."""
    return f"{model}-{batch}" + ("" if precision == "float32" else f"-{precision}")


def _in_precision(model: nn.Module, precision: str) -> nn.Module:
    if precision == "autocast":
        return UnderAutocast(model)
    return model.bfloat16() if precision == "bf16" else model


def _input_in(x: torch.Tensor, precision: str) -> torch.Tensor:
    return x.bfloat16() if precision == "bf16" and x.is_floating_point() else x


def image(batch: int) -> torch.Tensor:
    """Images of random numbers."""
    return torch.randn(batch, 3, IMAGE, IMAGE)


def tokens(batch: int, length: int = TOKENS) -> torch.Tensor:
    """Texts of random tokens."""
    return torch.randint(VOCABULARY, (batch, length))


def token(batch: int) -> torch.Tensor:
    """One random token for each text."""
    return tokens(batch, 1)


def _llama_like(name: str, architecture: str, **settings: Any) -> RealModel:
    sizes = {"num_hidden_layers": 4, "vocab_size": 32_000, **settings}  # of the published layers, the first four
    return RealModel(name, f"{architecture}Model", f"{architecture}Config", sizes, tokens)


_VIT_S = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536}
_SMALL_RESNET = {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}
_1B = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8}
_QWEN = {"hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14, "num_key_value_heads": 2}
_GEMMA = {"hidden_size": 1152, "intermediate_size": 6912, "num_attention_heads": 4, "num_key_value_heads": 1}

REAL_MODELS = (
    RealModel("bert-base", "BertModel", "BertConfig", {}, tokens),
    RealModel("distilbert", "DistilBertModel", "DistilBertConfig", {}, tokens),
    RealModel("gpt2-prompt", "GPT2Model", "GPT2Config", {}, tokens),
    RealModel("gpt2-step", "GPT2Model", "GPT2Config", {}, token, past=TOKENS - 1),
    RealModel("t5-small-encoder", "T5EncoderModel", "T5Config", {}, tokens),
    _llama_like("llama-prompt", "Llama", **_1B),
    replace(_llama_like("llama-step", "Llama", **_1B), make_input=token, past=TOKENS - 1),
    _llama_like("mistral-prompt", "Mistral", **_1B),
    _llama_like("qwen2-prompt", "Qwen2", **_QWEN),
    _llama_like("gemma3-prompt", "Gemma3Text", head_dim=256, **_GEMMA),
    RealModel(
        "mamba", "MambaModel", "MambaConfig", {"num_hidden_layers": 2, "vocab_size": 30_000}, lambda n: tokens(n, 32)
    ),
    RealModel("resnet18", "ResNetModel", "ResNetConfig", _SMALL_RESNET, image),
    RealModel("resnet50", "ResNetModel", "ResNetConfig", {}, image),
    RealModel("mobilenet-v2", "MobileNetV2Model", "MobileNetV2Config", {}, image),
    RealModel("efficientnet-b0", "EfficientNetModel", "EfficientNetConfig",
              {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280, "image_size": IMAGE}, image),
    RealModel("regnet-y", "RegNetModel", "RegNetConfig", {}, image),
    RealModel("convnext-tiny", "ConvNextModel", "ConvNextConfig", {}, image),
    RealModel("vit-small", "ViTModel", "ViTConfig", _VIT_S, image),
    RealModel("dinov2-small", "Dinov2Model", "Dinov2Config",
              {"hidden_size": 384, "num_attention_heads": 6, "image_size": IMAGE, "patch_size": 14}, image),
    RealModel("swin-tiny", "SwinModel", "SwinConfig", {}, image),
    RealModel("detr-resnet50", "DetrModel", "DetrConfig",
              {"backbone_config": {"model_type": "resnet", "out_features": ["stage4"]}, "use_timm_backbone": False},
              image),
    RealModel("segformer-b0", "SegformerModel", "SegformerConfig", {}, image),
    RealModel("clip-vision", "CLIPVisionModel", "CLIPVisionConfig", {}, image),
    RealModel("whisper-tiny-encoder", "WhisperModel", "WhisperConfig",
              {"d_model": 384, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536},
              lambda n: torch.randn(n, 80, 3000), part="encoder"),
    RealModel("wav2vec2-base", "Wav2Vec2Model", "Wav2Vec2Config", {"num_hidden_layers": 4},
              lambda n: torch.randn(n, 16_000)),
)  # fmt: skip
