"""PyTorch's ahead-of-time files of graphs that Foretune compiled: loaded, nothing is measured or compiled."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
import torch
from torch import nn

from foretune.compiler.metaschedule import tuner as tuner_module
from foretune.compiler.pytorch import backend as backend_module
from foretune.compiler.pytorch import serialized
from foretune.compiler.pytorch.backend import INDUCTOR, TVM, Backend
from foretune.compiler.pytorch.graph_report import compile_reports
from foretune.compiler.pytorch.options import BackendOptions
from foretune.compiler.pytorch.serialized import KernelGraph
from foretune.compiler.tir import openmp
from foretune.errors import DataError, UnsupportedError


class Plain(nn.Module):
    """One region; of its own class, since PyTorch takes modules of its own library another way."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Mixed(nn.Module):
    """An index, two regions around an operator that TVM does not take, a constant, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.before, self.after = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, i: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.relu(self.before(self.table(i))) + torch.tensor([0.5, float("-inf")])[0]
        y = torch.sort(x + 20 * torch.eye(8), -1)[0]
        return self.after(y), torch.softmax(y, -1)


@pytest.fixture(autouse=True)
def fresh_dynamo():
    torch.compiler.reset()
    torch.manual_seed(0)


@pytest.fixture
def options(tmp_path):
    return BackendOptions(0, tmp_path / "records.db", progress=False, looks=0)


def saved(model: nn.Module, inputs, options: BackendOptions, only: str | None):
    """What PyTorch compiles ahead of time."""
    backend = Backend(options, only=only)
    with torch.no_grad():
        return torch.compile(model, fullgraph=True, backend=backend.compile).forward.aot_compile((inputs, {}))


def loaded(compiled, path):
    """The same, from a file that PyTorch writes and reads."""
    compiled.save_compiled_function(str(path))
    torch.compiler.reset()
    with open(path, "rb") as file:
        return torch.compiler.load_compiled_function(file)


def agree(run, model, inputs) -> None:
    with torch.no_grad():
        torch.testing.assert_close(run(model, *inputs), model(*inputs), rtol=1e-4, atol=1e-5)


@pytest.fixture
def no_work(monkeypatch):
    """Whoever measures or compiles from here on fails."""

    def forbid() -> None:
        for module, name in ((serialized, "build"), (tuner_module, "Tuner"), (backend_module, "TvmGraph")):
            monkeypatch.setattr(module, name, None)

    return forbid


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Plain(), (torch.randn(4, 16),)),
        (Mixed(), (torch.tensor([0, 3, 8, 1, 2, 4, 4, 0]),)),
    ],
    ids=["one region", "several"],
)
def test_kernels_go_into_the_file_and_out(model, inputs, options, tmp_path, no_work):
    compiled = saved(model.eval(), inputs, options, TVM)
    assert compile_reports()[-1].num_regions and isinstance(compiled._artifacts.compiled_fn, KernelGraph)
    agree(compiled, model, inputs)
    no_work()
    run = loaded(compiled, tmp_path / "model.bin")
    agree(run, model, inputs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(-0.5)
    agree(run, model, inputs)  # weights are those of the model that is given


def test_an_index_out_of_range_is_pytorchs_error_after_loading(options, tmp_path):
    model, i = Mixed().eval(), torch.arange(8)
    run = loaded(saved(model, (i,), options, TVM), tmp_path / "model.bin")
    agree(run, model, (i,))
    with pytest.raises(IndexError), torch.no_grad():
        run(model, i + 5)


@pytest.mark.parametrize("changed", ["cpu", "tvm", "target"])
def test_for_another_processor_kernels_are_built_from_their_schedules(changed, options, monkeypatch):
    model, x = Plain().eval(), torch.randn(4, 16)
    compiled = saved(model, (x,), options, TVM)
    graph, built = compiled._artifacts.compiled_fn, []
    data = altered(graph._data, changed)
    monkeypatch.setattr(
        serialized, "build", lambda *given, build=serialized.build: built.append(build(*given)) or built[-1]
    )
    graph._run = KernelGraph.deserialize_compile_artifacts(data)
    agree(compiled, model, (x,))
    assert len(built) == 1


def altered(data: bytes, name: str) -> bytes:
    """The same graph as another machine or release would have written it."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(made, "w") as target:
        for member in source.namelist():
            content = source.read(member)
            if member == "manifest.json":
                content = json.dumps({**json.loads(content), name: "another"}).encode()
            elif member.endswith(".so"):
                content = b"machine code of another processor"
            target.writestr(member, content)
    return made.getvalue()


@pytest.mark.parametrize("only", [INDUCTOR, "pytorch"])
def test_what_others_run_is_written_by_pytorch(only, options, tmp_path):
    model, x = Plain().eval(), torch.randn(4, 16)
    compiled = saved(model, (x,), options, only)
    assert not isinstance(compiled._artifacts.compiled_fn, KernelGraph)
    assert compile_reports()[-1].choice.name == only
    agree(loaded(compiled, tmp_path / "model.bin"), model, (x,))


def test_gradients_are_left_to_others(options):
    model, x = Plain(), torch.randn(4, 16)
    backend = Backend(options, only=TVM)
    with pytest.raises(Exception, match="what AOTAutograd does around its graph") as caught:
        torch.compile(model, fullgraph=True, backend=backend.compile).forward.aot_compile(((x,), {}))
    assert isinstance(caught.value, UnsupportedError) or "UnsupportedError" in str(caught.value)


def test_wrong_answers_are_not_kept(options, caplog, monkeypatch):
    monkeypatch.setattr(serialized, "largest_error", lambda *_: 0.5)
    model, x = Plain().eval(), torch.randn(4, 16)
    compiled = saved(model, (x,), options, TVM)
    assert not isinstance(compiled._artifacts.compiled_fn, KernelGraph)
    assert "differs from PyTorch's by 0.5" in caplog.text and compile_reports()[-1].choice.name == "pytorch"
    agree(compiled, model, (x,))


def test_the_launcher_comes_out_of_the_file(monkeypatch):
    binary = openmp.launcher_binary()
    assert binary
    monkeypatch.setattr(openmp, "_built", [])
    monkeypatch.setattr(openmp.subprocess, "run", None)  # a C compiler
    openmp.offer_launcher(binary)
    assert openmp.launcher() is not None and openmp.launcher_binary() == binary


@pytest.mark.parametrize("data", [b"", b"\x80\x04cos\nsystem\n.", b"PK\x05\x06" + 18 * b"\0"])
def test_damaged_bytes(data):
    with pytest.raises(DataError, match="a compiled graph is damaged"):
        KernelGraph.deserialize_compile_artifacts(data)
