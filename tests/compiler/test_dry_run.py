"""What tuning would do is told without doing it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import foretune
from foretune import OptionError
from foretune.compiler import dry_run as module
from foretune.compiler.pytorch.options import EFFORTS, BackendOptions


class Odd(nn.Module):
    """Two regions around an operator that TVM does not take."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.after(torch.linalg.inv(torch.relu(self.before(x)) + 20 * torch.eye(16)))


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch.compiler.reset()


def test_regions_refusals_and_tasks_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(module.TvmGraph, "_build", None)  # what would tune and build
    database = tmp_path / "records.db"
    with torch.no_grad():
        plan = foretune.dry_run(Odd().eval(), (torch.randn(16, 16),), trials=3, database=str(database))
    [graph] = plan.graphs
    assert len(graph.regions) == 2 and any("relu.default" in region.operators for region in graph.regions)
    assert any("linalg_inv" in name for name in graph.left) and not graph.refused
    assert plan.most_measurements == 3 * len(plan.tasks) > 0 and not database.exists()
    text = str(plan)
    assert f"2 regions, {len(plan.tasks)} tasks to tune, at most {plan.most_measurements} measurements" in text
    assert "left with PyTorch: " in text and plan.to_json()["num_tasks"] == len(plan.tasks)


def test_what_is_not_measured_and_what_is_left_whole_is_told(tmp_path):
    def program(x):
        return torch.relu(x) * 2

    x, options = torch.randn(4, 4), {"database": str(tmp_path / "records.db")}
    plan = foretune.dry_run(program, (x,), ops=["conv2d"], **options)
    assert plan.most_measurements == 0 and ", not measured" in str(plan)
    plan = foretune.dry_run(lambda x: torch.rand_like(x) + x, (x,), **options)
    assert plan.graphs[0].refused and "stays with PyTorch and Inductor: " in str(plan) and not plan.tasks


def test_graphs_backward_are_told_too(tmp_path):
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh())
    plan = foretune.dry_run(model, (torch.randn(4, 8),), database=str(tmp_path / "records.db"))
    operators = {name for region in plan.graphs[0].regions for name in region.operators}
    assert "tanh.default" in operators and len(plan.graphs[0].regions) >= 2


def test_efforts():
    assert BackendOptions.from_dict({"effort": "none"}).trials == 0
    quick = BackendOptions.from_dict({"effort": "quick", "trials": 5})
    assert (quick.trials, quick.seconds) == (5, EFFORTS["quick"]["seconds"])
    assert BackendOptions.from_dict({"effort": "full"}).trials > BackendOptions().trials
    assert BackendOptions.from_dict({"effort": None}) == BackendOptions()
    with pytest.raises(OptionError, match=r"effort must be one of \['none', 'quick', 'full'\], but got 'much'"):
        BackendOptions.from_dict({"effort": "much"})
    with pytest.raises(OptionError, match="unknown options"):
        foretune.dry_run(nn.ReLU(), (torch.ones(2),), efort="none")


def test_the_command_line_tells_a_plan(tmp_path, monkeypatch, capsys):
    from foretune.cli.app import tune

    (tmp_path / "planned.py").write_text(
        "import torch\n\ndef make():\n    return torch.nn.Linear(4, 4), (torch.ones(2, 4),)\n"
    )
    monkeypatch.chdir(tmp_path)
    tune("planned:make", dry_run=True, effort="quick", database=str(tmp_path / "records.db"))
    told = capsys.readouterr().out
    assert "addmm.default" in told and "1 regions, 1 tasks to tune, at most 8 measurements; nothing was tuned" in told
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["planned.py"]
