"""Heavy products that leave TVM's regions for PyTorch's libraries."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from foretune.compiler.contest.guard import Choice
from foretune.compiler.pytorch import regions
from foretune.compiler.pytorch.backend import MIXED, TVM, Backend, compile_reports
from foretune.compiler.pytorch.options import BackendOptions
from foretune.compiler.pytorch.products import ProductTimes


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    torch.manual_seed(0)


def test_only_products_that_gain_more_than_a_hand_over_leave():
    assert ProductTimes("mm", "mm", 100e-6, {"PyTorch": 80e-6, "MKL, packed": 95e-6}).leaves
    assert not ProductTimes("mm", "mm", 100e-6, {"PyTorch": 95e-6}).leaves
    assert str(ProductTimes("mm", "mm 2x3 3x4", 1e-4, {"PyTorch": 8e-5})) == "mm 2x3 3x4: TVM 100 us, PyTorch 80 us"


def test_heavy_products_leave_unseen_where_tvm_was_not_measured():
    assert ProductTimes("mm", "mm", None, {"PyTorch": 800e-6}).leaves
    light = ProductTimes("mm", "mm 2x3 3x4", None, {"PyTorch": 2e-6})
    assert not light.leaves and str(light) == "mm 2x3 3x4: TVM not measured, PyTorch 2 us"


class Mixer(nn.Module):
    """Two gated projections that TVM calls in another order, and two products of computed tensors."""

    def __init__(self):
        super().__init__()
        self.qkv, self.gate, self.up = nn.Linear(16, 48), nn.Linear(16, 32), nn.Linear(16, 32)
        self.down = nn.Linear(32, 16, bias=False)

    def forward(self, x):
        query, key, value = self.qkv(x).view(2, 6, 3, 2, 8).permute(2, 0, 3, 1, 4)
        mixed = ((query @ key.transpose(-1, -2)).softmax(-1) @ value).transpose(1, 2).reshape(2, 6, 16) + x
        return self.down(nn.functional.silu(self.gate(mixed)) * self.up(mixed))


@pytest.mark.parametrize("freeze", [False, True])
def test_a_product_is_matched_to_its_own_kernel(options, monkeypatch, freeze):
    graphs = []
    made = regions.RegionGraph
    monkeypatch.setattr(regions, "RegionGraph", lambda *args: graphs.append(made(*args)) or graphs[-1])
    backend = Backend(BackendOptions.from_dict({**options, "trials": 0, "looks": 0, "freeze": freeze}), only=TVM)
    with torch.no_grad():
        torch.compile(Mixer().eval(), backend=backend.compile)(torch.randn(2, 6, 16))
    (graph,) = graphs
    names = {task.workload.hash: task.workload.name for task in graph.tasks}
    found = {node: names[kernel] for node, kernel in graph.kernels_of_products.items()}
    assert len(set(found.values())) == len(found) == 6
    assert "silu" in found["addmm_1"] and "silu" not in found["addmm_2"]  # gate and up are of one size


def test_up_and_down_projection_have_kernels_of_their_own(options):
    """Both multiply tensors of the same numbers of elements."""
    model = nn.Sequential(nn.Linear(32, 128), nn.GELU(), nn.Linear(128, 32)).eval()
    backend = Backend(BackendOptions.from_dict(options), only=MIXED)
    with torch.no_grad():
        torch.compile(model, backend=backend.compile)(torch.randn(8, 32))
    report = compile_reports()[-1]
    kernels = {f"{kernel.secs * 1e6:.4g} us" for kernel in report.kernels if "matmul" in kernel.name}
    told = [product.split("TVM ")[1].split(",")[0] for product in report.products]
    assert len(kernels) == len(told) == 2 and set(told) == kernels


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.up, self.down = nn.Linear(8, 64), nn.Linear(64, 4, bias=False)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x))).mean((2, 3))
        return torch.softmax(self.down(torch.nn.functional.gelu(self.up(x))), -1)


@pytest.fixture
def options(tmp_path):
    return {"trials": 1, "looks": 0, "database": str(tmp_path / "records.db"), "progress": False}


def test_a_graph_with_its_products_in_libraries(options, monkeypatch):
    monkeypatch.setattr(ProductTimes, "leaves", True)
    model, x = Model().eval(), torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        backend = Backend(BackendOptions.from_dict(options), only=MIXED)
        graphs = []
        made = regions.RegionGraph
        monkeypatch.setattr(regions, "RegionGraph", lambda *args: graphs.append(made(*args)) or graphs[-1])
        compiled = torch.compile(model, backend=backend.compile)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
        around = graphs[-1]
        assert len(graphs) == 2 and not any(
            "matmul" in task.workload.name or "conv" in task.workload.name for task in around.tasks
        )
        left = [node.target for node in around.source.nodes if node.op == "call_module"]
        assert len(left) == 3
        model.up.weight.mul_(-3)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)


def test_gradients_with_products_in_libraries(options, monkeypatch):
    monkeypatch.setattr(ProductTimes, "leaves", True)
    model, x = Model().train(), torch.randn(4, 3, 8, 8)
    compiled = torch.compile(model, backend=Backend(BackendOptions.from_dict(options), only=MIXED).compile)
    compiled(x).square().sum().backward()
    actual = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(x).square().sum().backward()
    for a, p in zip(actual, model.parameters()):
        torch.testing.assert_close(a, p.grad, rtol=1e-3, atol=1e-4)


def test_nothing_to_leave(options):
    class Pointwise(nn.Module):
        def forward(self, x):
            return torch.sigmoid(x) * 2

    backend = Backend(BackendOptions.from_dict({**options, "trials": 0, "looks": 0}), only=MIXED)
    x = torch.randn(64)
    torch.testing.assert_close(torch.compile(Pointwise(), backend=backend.compile)(x), torch.sigmoid(x) * 2)
    assert compile_reports()[-1].choice == Choice(TVM, refused={MIXED: "there is no heavy product"})


def test_without_trials_heavy_products_are_in_libraries(options):
    model = nn.Sequential(nn.Linear(256, 512), nn.GELU(), nn.Linear(512, 256)).eval()
    x = torch.randn(64, 256)
    backend = Backend(BackendOptions.from_dict({**options, "trials": 0, "looks": 0}), only=MIXED)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(model, backend=backend.compile)(x), model(x), rtol=1e-4, atol=1e-5)
    report = compile_reports()[-1]
    assert report.choice == Choice(MIXED) and report.num_trials == 0
    assert len(report.products) == 2 and all("TVM not measured" in product for product in report.products)


def test_attention_stays_whole_beside_the_libraries(options):
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(16, 48)

        def forward(self, x):
            query, key, value = self.qkv(torch.tanh(x)).view(2, 6, 3, 2, 8).permute(2, 0, 3, 1, 4)
            return torch.relu(nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)) + 1

    model, x = Attend().eval(), torch.randn(2, 6, 16)
    with torch.no_grad():
        compiled = torch.compile(
            model, backend=Backend(BackendOptions.from_dict({**options, "trials": 0, "looks": 0}), only=MIXED).compile
        )
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)
    report = compile_reports()[-1]
    assert report.choice == Choice(MIXED) and report.num_regions == 1  # those of the whole; attention splits the other


def test_equal_kernels_of_several_regions_may_name_their_blocks_differently(options):
    class Blocks(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(3))

        def forward(self, x):
            for i, norm in enumerate(self.norms):
                query = norm(torch.sigmoid(x) if i == 1 else x).view(2, 6, 2, 8).transpose(1, 2)
                x = x + nn.functional.scaled_dot_product_attention(query, query, query).transpose(1, 2).reshape(
                    2, 6, 16
                )
            return x

    model, x = Blocks().eval(), torch.randn(2, 6, 16)
    with torch.no_grad():
        compiled = torch.compile(
            model, backend=Backend(BackendOptions.from_dict({**options, "trials": 8}), only=MIXED).compile
        )
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-5)


def test_products_in_libraries_live_when_tvm_fails_on_another_region(options, monkeypatch):
    """A schedule that does not apply, and a region that TVM cannot build, concern nobody else."""

    class TwoRegions(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Linear(256, 512)

        def forward(self, x):
            y = torch.fft.rfft(torch.tanh(x) * 2).real.contiguous()  # TVM has no Fourier transforms
            return torch.sigmoid(nn.functional.gelu(self.up(x)).mean(-1)) + y.mean(-1)

    build, calls = regions.build, []

    def fails_on_tanh(mod, target):
        calls.append(any("tanh" in name.name_hint for name in mod.get_global_vars()))
        if calls[-1]:
            raise RuntimeError("the compiler is out of order")
        return build(mod, target)

    monkeypatch.setattr(regions, "build", fails_on_tanh)
    model, x = TwoRegions().eval(), torch.randn(64, 256)
    with torch.no_grad():
        backend = Backend(BackendOptions.from_dict({**options, "trials": 0, "looks": 0}), only=MIXED)
        torch.testing.assert_close(torch.compile(model, backend=backend.compile)(x), model(x), rtol=1e-4, atol=1e-5)
    report = compile_reports()[-1]
    assert report.choice.name == MIXED and len(report.products) == 1 and True in calls and False in calls
    assert any("out of order" in operator for operator in report.eager_operators)


def test_a_schedule_that_does_not_apply_leaves_the_kernel_at_the_default(target):
    from foretune.compiler.pytorch import importer
    from foretune.trace import Action, Trace

    class Two(nn.Module):
        def forward(self, x, y):
            return x @ y

    (task,) = importer.module_tasks(Two(), (torch.randn(8, 8), torch.randn(8, 8)), target)
    strange = Trace((Action("GetSBlock", (), ("no_such_block", "main"), ("b0",)),))
    database = importer.schedule_database([task], {task.task.workload.hash: strange}, target)
    assert not database.get_all_tuning_records()


def test_pointwise_operators_between_products_are_computed_with_them(options, monkeypatch):
    """oneDNN's way is taken here, whatever this machine measures."""
    monkeypatch.setattr(ProductTimes, "best", "oneDNN")
    graphs = []
    made = regions.RegionGraph
    monkeypatch.setattr(regions, "RegionGraph", lambda *args: graphs.append(made(*args)) or graphs[-1])
    model = nn.Sequential(
        nn.Linear(256, 512), nn.GELU(approximate="tanh"), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 256)
    ).eval()
    x = torch.randn(2, 32, 256)
    with torch.no_grad():
        backend = Backend(BackendOptions.from_dict({**options, "trials": 0, "looks": 0}), only=MIXED)
        torch.testing.assert_close(torch.compile(model, backend=backend.compile)(x), model(x), rtol=1e-4, atol=1e-5)
    names = [str(node.target) for node in graphs[-1].source.nodes]
    assert sum(name.startswith("library_product") for name in names) == 3
    assert "aten.gelu.default" not in names and "aten.relu.default" in names  # oneDNN's relu loses NaN
