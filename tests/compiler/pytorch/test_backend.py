"""The torch.compile backend: right answers, reuse, fallbacks, options and errors."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from torch import nn

from foretune.compiler.pytorch.backend import compile_reports
from foretune.compiler.workloads.models import DEMO_MODELS, ZOO_MODELS, ResNet
from foretune.datasets.records.database import Database


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch._dynamo.reset()
    torch.manual_seed(0)


@pytest.fixture
def options(tmp_path):
    return {"trials": 0, "looks": 0, "database": str(tmp_path / "records.db"), "progress": False}


def agree(model: nn.Module, inputs, options, tolerance=1e-3) -> None:
    compiled = torch.compile(model, backend="foretune", options=options)
    with torch.no_grad():
        expected = model(*inputs)
        for _ in range(2):  # the first call checks itself against PyTorch, the second does not
            actual = compiled(*inputs)
            for e, a in zip(*([x] if isinstance(x, torch.Tensor) else x for x in (expected, actual))):
                assert (e - a).abs().max() <= tolerance * e.abs().max()


def small_mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 8)).eval()


@pytest.mark.parametrize("case", DEMO_MODELS, ids=lambda c: c.name)
def test_demo_models_without_measuring(case, options):
    agree(case.make().eval(), case.inputs(), options)
    report = compile_reports()[-1]
    assert (
        report.num_trials == 0
        and report.num_regions == 1
        and report.eager_operators == []
        and report.num_static_inputs > 10
    )
    with Database(options["database"]) as database:
        assert database.num_records() == 0


@pytest.mark.slow
@pytest.mark.parametrize("case", ZOO_MODELS, ids=lambda c: c.name)
def test_zoo_models_without_measuring(case, options):
    agree(case.make().eval(), case.inputs(), options)


def test_tuning_measures_and_a_second_compile_measures_nothing(options):
    options = {**options, "trials": 6}
    model, x = small_mlp(), torch.randn(16, 32)
    agree(model, (x,), options)
    first = compile_reports()[-1]
    assert 0 < first.num_trials <= 6 * first.num_tasks
    torch._dynamo.reset()
    agree(model, (x,), options)
    second = compile_reports()[-1]
    assert second.num_trials == 0 and second.num_reused >= first.num_trials - first.num_tasks


def test_weights_changed_in_place_are_seen(options):
    model, x = small_mlp(), torch.randn(16, 32)
    compiled = torch.compile(model, backend="foretune", options=options)
    with torch.no_grad():
        compiled(x)
        for parameter in model.parameters():
            parameter.mul_(-0.5)
        assert torch.allclose(compiled(x), model(x), atol=1e-5)


def test_unsupported_operators_split_the_graph_and_are_named_once(options, caplog):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.before, self.after = nn.Linear(16, 16), nn.Linear(16, 16)

        def forward(self, x):
            return self.after(torch.linalg.inv(torch.relu(self.before(x)) + 20 * torch.eye(16)))

    with caplog.at_level(logging.WARNING, "foretune"):
        agree(Odd().eval(), (torch.randn(16, 16),), options)
    warnings = [r.message for r in caplog.records if "left with PyTorch" in r.message]
    assert len(warnings) == 1 and "linalg_inv" in warnings[0]
    assert compile_reports()[-1].num_regions == 2


def test_dynamic_shapes_and_other_dtypes_fall_back(options):
    model = small_mlp()
    compiled = torch.compile(model, backend="foretune", options=options)
    with torch.no_grad():
        for rows in (4, 5, 7):
            x = torch.randn(rows, 32)
            assert torch.allclose(compiled(x), model(x), atol=1e-5)
    half = small_mlp().to(torch.bfloat16)
    agree(half, (torch.randn(4, 32, dtype=torch.bfloat16),), options, 2e-2)


def test_views_between_operands_of_two_shapes_do_not_go_back_and_forth(options):
    left, right = nn.Linear(8, 8), nn.Linear(8, 8)

    def program(x):
        return torch.relu(left(x.view(-1, 8)).view(2, 3, 8) + right(x.view(2, 3, 8)))

    compiled = torch.compile(program, backend="foretune", options={**options, "guard": False})
    x = torch.randn(2, 3, 8)
    with torch.no_grad():
        assert torch.allclose(compiled(x), program(x), atol=1e-5)


def test_an_operator_that_tvm_refuses_leaves_its_region(options):
    def program(x, i):
        y = torch.relu(x * 2 + 1)
        return torch.zeros_like(y).index_add(0, i, y) * 3 + y

    compiled = torch.compile(program, backend="foretune", options={**options, "guard": False})
    x, i = torch.randn(6, 4), torch.tensor([0, 0, 1, 5, 2, 2])
    with torch.no_grad():
        assert torch.allclose(compiled(x, i), program(x, i), atol=1e-5)
    report = compile_reports()[-1]
    assert report.num_regions >= 1 and len(report.eager_operators) == 1


def test_a_region_that_tvm_cannot_build_stays_with_pytorch(options, caplog, monkeypatch):
    def build(mod, target):
        raise RuntimeError("no machine code")

    monkeypatch.setattr("foretune.compiler.pytorch.regions.build", build)
    x = torch.randn(8, 8)
    with torch.no_grad(), caplog.at_level(logging.WARNING, "foretune"):
        found = torch.compile(lambda x: x + 1, backend="foretune", options={**options, "guard": False})(x)
    assert torch.equal(found, x + 1)
    assert "a region stays with PyTorch, because TVM cannot build it" in caplog.text
    report = compile_reports()[-1]
    assert not report.num_regions and not report.kernels
    assert "add.Tensor (TVM cannot build it" in report.eager_operators[-1]


@pytest.mark.parametrize(
    "program",
    [
        nn.functional.selu,
        lambda x: nn.functional.avg_pool2d(x, 2, divisor_override=3),
        lambda x: torch.native_layer_norm(x, (8,), None, None, 0.5),
        lambda x: torch.log1p(1e-6 * x.abs()),
        lambda x: nn.functional.grid_sample(
            x, x[:, 1:, :, :2].permute(0, 2, 3, 1).repeat(1, 1, 1, 2), align_corners=False
        ),
    ],
    ids=["selu", "avg_pool2d", "layer_norm", "log1p", "grid_sample"],
)
def test_what_tvm_translates_in_part_stays_with_pytorch(program, options, caplog):
    x = torch.randn(1, 2, 8, 8)
    with torch.no_grad(), caplog.at_level(logging.WARNING, "foretune"):
        found = torch.compile(lambda x: program(x + 1), backend="foretune", options={**options, "guard": False})(x)
    torch.testing.assert_close(found, program(x + 1))
    assert "differs from PyTorch" not in caplog.text


def test_pooling_with_indices(options):
    def halves(x):
        pooled, indices = nn.functional.max_pool2d(x, 2, return_indices=True)
        return nn.functional.max_unpool2d(2 * pooled, indices, 2) + 1, indices

    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        found = torch.compile(halves, backend="foretune", options={**options, "guard": False})(x)
    torch.testing.assert_close(found, halves(x))


@pytest.mark.parametrize("function", [torch.sinh, torch.cosh])
def test_functions_without_machine_code_in_tvm(options, function):
    x = torch.randn(64)
    with torch.no_grad():
        torch.testing.assert_close(
            torch.compile(lambda x: function(2 * x) + 1, backend="foretune", options={**options, "guard": False})(x),
            function(2 * x) + 1,
        )


def test_ten_thousand_calls_leave_no_memory_behind(options):
    compiled, x = (
        torch.compile(small_mlp(), backend="foretune", options={**options, "guard": False}),
        torch.randn(64, 32),
    )
    with torch.no_grad():
        for _ in range(2000):
            compiled(x)
        before = psutil.Process().memory_info().rss
        for _ in range(10_000):
            compiled(x)
    assert psutil.Process().memory_info().rss - before < 4 << 20


def test_strided_and_unaligned_inputs(options):
    compiled = torch.compile(lambda x: torch.relu(x) * 2 + 1, backend="foretune", options=options)
    base = torch.randn(64, 33)
    for x in (base[:, 1:], base.t(), base[1:, :]):
        torch._dynamo.reset()
        assert torch.allclose(compiled(x), torch.relu(x) * 2 + 1)


def test_training_works(options):
    model, x = small_mlp(), torch.randn(16, 32)
    compiled = torch.compile(model, backend="foretune", options=options)
    compiled(x).sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(x).sum().backward()
    assert all(torch.allclose(g, p.grad, atol=1e-4) for g, p in zip(gradients, model.parameters()))


def test_views_sink_so_that_activations_fuse(options):
    from foretune.compiler.workloads.models import TransformerEncoder

    agree(TransformerEncoder(32, 2, 1).eval(), (torch.randn(1, 8, 32),), options)
    assert compile_reports()[-1].num_tasks <= 17


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"trials": -1}, r"`trials >= 0` must hold"),
        ({"trials": "many"}, r"trials='many'"),
        (
            {"trails": 3},
            r"unknown options \['trails'\] of backend 'foretune'; known are \['effort', 'trials', 'database'",
        ),
        ({"target": "llvm -mcpu=pentium9"}, r"unknown processor mcpu='pentium9'"),
        ({"target": "nonsense!"}, r"a target kind must be a word"),
        ({"database": "/proc/nothing/records.db"}, r"choose another path"),
        ({"cost_model": "/nowhere.safetensors"}, r"cannot be read"),
    ],
)
def test_bad_options(options, bad, message):
    with pytest.raises(Exception, match=message):
        torch.compile(small_mlp(), backend="foretune", options={**options, **bad})(torch.randn(4, 32))


def test_corrupt_database_is_refused_and_left_alone(options, tmp_path):
    (tmp_path / "records.db").write_bytes(b"garbage" * 1000)
    with pytest.raises(Exception, match="left as it is"):
        torch.compile(small_mlp(), backend="foretune", options=options)(torch.randn(4, 32))
    assert (tmp_path / "records.db").read_bytes() == b"garbage" * 1000


def test_a_forward_that_fails_says_why(options):
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("the user's own mistake")

    with pytest.raises(RuntimeError, match="the user's own mistake"):
        torch.compile(Broken(), backend="foretune", options=options)(torch.randn(4))


def test_unknown_mode():
    with pytest.raises(Exception, match="mode must be one of"):
        torch.compile(small_mlp(), backend="foretune", mode="warp-speed")(torch.randn(4, 32))


def test_entry_point_needs_no_import():
    code = "import torch; assert 'foretune' in torch._dynamo.list_backends(exclude_tags=())"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_kill_in_the_middle_of_tuning_loses_nothing(tmp_path):
    script = (
        "import sys, torch\nfrom foretune.compiler.workloads.models import ResNet\ntorch.manual_seed(0)\nmodel ="
        " ResNet(8, 2).eval()\nwith torch.no_grad():\n    torch.compile(model, backend='foretune', options={'trials':"
        " 4, 'database': sys.argv[1], 'progress': False, 'guard': False})(torch.ones(1, 3, 16, 16))\nfrom"
        " foretune.compiler.pytorch.backend import compile_reports\nprint(compile_reports()[-1].num_trials,"
        " compile_reports()[-1].num_reused)\n"
    )
    path = tmp_path / "records.db"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.2)
        if path.exists():
            with Database(path) as database:
                if database.num_records() >= 5:
                    break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with Database(path) as database:
        kept = database.num_records()
    assert kept >= 5
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    _, reused = map(int, done.stdout.split())
    assert reused == kept


def test_models_with_one_stage_more():
    assert ResNet(8, 4)(torch.randn(1, 3, 32, 32)).shape == (1, 10)
