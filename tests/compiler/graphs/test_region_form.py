"""Regions that are the same program are found, whatever their nodes are called."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from foretune.compiler.graphs.region_form import form_of
from foretune.compiler.pytorch import regions
from foretune.compiler.pytorch.graph_report import compile_reports


def graph(run, *inputs):
    return make_fx(run, tracing_mode="fake")(*inputs).graph


def renamed(original):
    made = torch.fx.Graph()
    known = {}
    for number, node in enumerate(original.nodes):
        known[node] = made.node_copy(node, known.__getitem__)
        known[node].name = f"other_{number}"
    return made


X, Y = torch.zeros(2, 3), torch.zeros(2, 3)


def test_names_do_not_matter():
    first = graph(lambda x, y: torch.relu(x + 2 * y), X, Y)
    assert form_of(first) == form_of(renamed(first)) is not None


@pytest.mark.parametrize(
    "other",
    [
        graph(lambda x, y: torch.relu(y + 2 * x), X, Y),
        graph(lambda x, y: torch.relu(x + 3 * y), X, Y),
        graph(lambda x, y: torch.tanh(x + 2 * y), X, Y),
        graph(lambda x, y: torch.relu(x + 2 * y), X, torch.zeros(1, 3)),
        graph(lambda x, y: torch.relu(x + 2 * y), X, torch.zeros(3, 2).t()),
        graph(lambda x, y: torch.relu(x + 2 * y), X.double(), Y.double()),
        graph(lambda x, y: (torch.relu(x + 2 * y), x + 2), X, Y),
    ],
)
def test_all_else_does(other):
    assert form_of(graph(lambda x, y: torch.relu(x + 2 * y), X, Y)) != form_of(other)


def test_constants_are_not_compared():
    assert form_of(graph(lambda x: x + torch.ones(2, 3), X)) is not None  # made in the graph
    with_constant = torch.fx.Graph()
    with_constant.output(with_constant.get_attr("weight"))
    assert form_of(with_constant) is None


def test_equal_layers_are_built_once_and_keep_their_own_weights(tmp_path, monkeypatch):
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.scale = nn.LayerNorm(16), nn.Parameter(torch.rand(16) + 0.5)

        def forward(self, x):
            return torch.cumsum(torch.tanh(self.norm(x) @ torch.diag(self.scale)), 0)  # cumsum stays with PyTorch

    built = []
    build = regions.build
    monkeypatch.setattr(regions, "build", lambda mod, target: built.append(mod) or build(mod, target))
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = nn.Sequential(*(Layer() for _ in range(3))).eval()
    for parameter in model.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    x = torch.randn(8, 16)
    options = {"trials": 0, "database": str(tmp_path / "records.db"), "progress": False, "guard": False}
    with torch.no_grad():
        compiled = torch.compile(model, backend="foretune", options=options)
        for _ in range(3):
            torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
            model[1].norm.weight.mul_(1.5)
    report = compile_reports()[-1]
    assert report.num_regions == 3 and len(built) < 3
