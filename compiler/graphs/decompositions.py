"""Decompositions of ATen operators, chosen so that TVM fuses well.

Two matter most: batch norm becomes a scale and a shift, which fuse into the convolution before it, and attention
becomes two matrix products around a softmax.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

_aten = torch.ops.aten

# TVM, or PyTorch, has good kernels of its own for these; decompositions would only hide what they are.
_KEPT_WHOLE = (
    "native_layer_norm",
    "softmax",
    "upsample",
    "pool",
    "silu.",
    "hardswish.",
    "hardsigmoid",
    "hardtanh",
    "leaky_relu.",
    "elu.",
    "sigmoid",
    "embedding.",
    "addmm.",
    "baddbmm.",
    "index_select",
    "index_add",
    "index_copy",
    "nll_loss",
    "take.",
    "std.",
    "index_fill",
    "_unsafe_masked_index",
    "native_group_norm",
)


def decompositions(attention: bool = True) -> dict:
    """The table that graphs are decomposed with before they reach Relax.

    Args:
        attention: whether attention, too, is; it stays with PyTorch otherwise.
    """
    from foretune.compiler.torch_private import core_aten_decompositions, get_decompositions

    table = get_decompositions(
        [_aten._native_batch_norm_legit_functional, _aten._native_batch_norm_legit]
    )  # Relax's own translation leaves the statistics out
    table |= {
        op: fn for op, fn in core_aten_decompositions().items() if not any(name in str(op) for name in _KEPT_WHOLE)
    }
    table[_aten._native_batch_norm_legit_no_training.default] = _batch_norm_inference
    if attention:
        table[_aten._scaled_dot_product_flash_attention_for_cpu.default] = _attention
    table[_aten._transformer_encoder_layer_fwd.default] = _encoder_layer
    table[_aten.select.int] = _select
    return table


def _batch_norm_inference(x, weight, bias, mean, variance, momentum, eps):
    shape = [1, -1] + [1] * (x.dim() - 2)
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight
    shift = -mean * scale
    if bias is not None:
        shift = shift + bias
    return x * scale.view(shape) + shift.view(shape), x.new_empty(0), x.new_empty(0)


def _attention(query, key, value, dropout_p=0.0, is_causal=False, *, attn_mask=None, scale=None):
    """Attention; fewer heads of keys than of queries are shared by groups of them (grouped queries)."""
    if dropout_p:
        return NotImplemented
    batch, heads, length, width = query.shape
    key_heads, key_length = key.shape[1], key.shape[2]
    rows = heads // key_heads * length  # of all queries that share a key
    scale = 1 / math.sqrt(width) if scale is None else scale
    scores = torch.matmul((query * scale).reshape(batch, key_heads, rows, width), key.transpose(-2, -1))
    scores = scores.view(batch, heads, length, key_length)
    if is_causal:
        places = torch.arange(length, device=query.device).unsqueeze(1)
        columns = torch.arange(key_length, device=query.device).unsqueeze(0)
        scores = torch.where(columns <= places, scores, float("-inf"))
    if attn_mask is not None:
        scores = scores + attn_mask
    weights = _aten._safe_softmax(scores, -1).view(batch, key_heads, rows, key_length)
    mixed = torch.matmul(weights, value).view(batch, heads, length, value.shape[-1])
    return mixed, query.new_empty(query.shape[:-1])


def _encoder_layer(
    x,
    width,
    heads,
    qkv_weight,
    qkv_bias,
    out_weight,
    out_bias,
    use_gelu,
    norm_first,
    eps,
    norm_weight_1,
    norm_bias_1,
    norm_weight_2,
    norm_bias_2,
    up_weight,
    up_bias,
    down_weight,
    down_bias,
    mask=None,
    mask_type=None,
):
    """PyTorch's fast path of `nn.TransformerEncoderLayer`, which is one operator; a mask hides where it is not zero."""
    if mask is not None:
        hidden = mask.to(torch.bool)
        mask = hidden[:, None, None, :] if mask_type == 1 else hidden  # 1: of keys [batch, length]; else of scores

    def attend(y):
        batch, length, _ = y.shape
        query, key, value = (
            F.linear(y, qkv_weight, qkv_bias)
            .view(batch, length, 3, heads, width // heads)
            .permute(2, 0, 3, 1, 4)
            .unbind(0)
        )
        scores = torch.matmul(query / math.sqrt(width // heads), key.transpose(-2, -1))
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        mixed = torch.matmul(torch.softmax(scores, -1), value)
        return F.linear(mixed.transpose(1, 2).reshape(batch, length, width), out_weight, out_bias)

    def perceive(y):
        y = F.linear(y, up_weight, up_bias)
        return F.linear(F.gelu(y) if use_gelu else F.relu(y), down_weight, down_bias)

    def norm_1(y):
        return F.layer_norm(y, (width,), norm_weight_1, norm_bias_1, eps)

    def norm_2(y):
        return F.layer_norm(y, (width,), norm_weight_2, norm_bias_2, eps)

    if norm_first:
        x = x + attend(norm_1(x))
        return x + perceive(norm_2(x))
    x = norm_1(x + attend(x))
    return norm_2(x + perceive(x))


def _select(x, dim, index):
    index = index + x.shape[dim] if index < 0 else index
    return _aten.squeeze.dims(_aten.slice.Tensor(x, dim, index, index + 1), [dim])
