"""`foretune.tune`: a model object, tuned into a file that `foretune.load` runs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import foretune
from foretune import OptionError, UnsupportedError


class Scaled(nn.Module):
    """A small model with dropout, which only its evaluation mode leaves out, and a keyword argument."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.dropout = nn.Linear(24, 24), nn.Dropout(0.9)

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.dropout(self.linear(x))) * scale


class Branches(nn.Module):
    """Cannot be exported whole: what it does goes by a value."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1 if x.sum() > 0 else x - 1


def test_tune_and_load(tmp_path):
    torch.manual_seed(0)
    model, inputs, scale = Scaled(), (torch.randn(8, 24),), torch.tensor(2.0)
    model.dropout.eval()
    model.linear.eval()
    report = foretune.tune(
        model,
        inputs,
        {"scale": scale},
        out=tmp_path / "model.foretune",
        trials=1,
        database=tmp_path / "records.db",
        progress=False,
    )
    assert report.out.is_file() and model.training and not model.dropout.training
    expected = model.eval()(*inputs, scale=scale)
    torch.testing.assert_close(foretune.load(report.out)(*inputs, scale=scale), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "inputs", "options", "message"),
    [
        (nn.ReLU(), (torch.ones(2),), {"trails": 3}, r"unknown options \['trails'\]"),
        (torch.relu, (torch.ones(2),), {}, "model must be a torch.nn.Module, but got builtin"),
        (nn.ReLU(), torch.ones(2), {}, r"inputs must be a tuple .* got Tensor; one tensor is written \(tensor,\)"),
        (nn.ReLU(), (torch.ones(2),), {"background": True}, "ends before its file is written; leave it out"),
    ],
)
def test_wrong_use(model, inputs, options, message, tmp_path):
    with pytest.raises(OptionError, match=message):
        foretune.tune(model, inputs, out=tmp_path / "never", **options)
    assert not (tmp_path / "never").exists()


def test_what_cannot_be_exported_says_what_to_do(tmp_path):
    with pytest.raises(
        UnsupportedError,
        match=r"cannot export Branches whole .*; torch\.compile\(model, backend=\"foretune\"\) takes models in parts",
    ):
        foretune.tune(Branches(), (torch.ones(3),), out=tmp_path / "never")
