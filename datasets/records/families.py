"""Operator families, read off the names that TVM's operator library gives to kernels and blocks."""

from __future__ import annotations

import re

_PATTERNS = (
    ("conv2d_transpose|conv1d_transpose|conv_transpose", "conv_transpose"),
    ("depthwise", "depthwise_conv2d"),
    ("group_conv2d", "group_conv2d"),
    ("conv3d", "conv3d"),
    ("conv2d", "conv2d"),
    ("conv1d", "conv1d"),
    ("softmax", "softmax"),
    ("layer_norm|group_norm|rms_norm", "norm"),
    ("matmul", "dense"),
    ("pool", "pooling"),
    ("take|gather|embedding", "gather"),
    ("mean|sum|max$|min$|argmax|variance|prod", "reduction"),
    ("transpose|reshape|concat|slice|pad|broadcast|split|flip|tile|expand", "layout"),
)


def family_of(name: str) -> str:
    """Operator family of a kernel by its name; `elementwise` if nothing more is known."""
    return next((family for pattern, family in _PATTERNS if re.search(pattern, name)), "elementwise")
