"""PiecewiseLayer: telling constant features once changes nothing."""

from __future__ import annotations

import numpy as np
import torch

from foretune.costmodel.latent.piecewise import PiecewiseLayer


def test_constant_features_are_told_once():
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    layer = PiecewiseLayer(12, 4, 8)
    layer.fit(rng.standard_normal((200, 12)).astype(np.float32))
    x = torch.from_numpy(rng.standard_normal((30, 12)).astype(np.float32))
    x[:, [0, 3, 4, 9]] = x[0, [0, 3, 4, 9]]
    expected = layer(x).detach()
    with torch.inference_mode():
        assert torch.allclose(layer(x), expected, atol=1e-5)
        assert torch.allclose(layer(x[:1]), expected[:1], atol=1e-5)
        assert torch.allclose(layer(x[:1].expand(5, -1)), expected[:1].expand(5, -1), atol=1e-5)


def test_features_without_spread_are_ignored():
    layer = PiecewiseLayer(2, 4, 3)
    layer.fit(np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]], np.float32))
    assert torch.equal(layer(torch.tensor([[1.5, 5.0]])), layer(torch.tensor([[1.5, -70.0]])))
